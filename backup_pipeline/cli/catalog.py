"""`backup-pipeline catalog check`, `show` and `init`: are the catalogs right, what do they say, and a first draft."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import invoked_settings, print_json, print_line
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, CatalogError, RefusedError, UsageError
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.operations.doctor import CatalogReport

with lazily():
    from backup_pipeline import catalogs as catalog_files
    from backup_pipeline.operations import doctor as operations_catalogs
    from backup_pipeline.postgres import source as postgres_source
    from backup_pipeline.presentation import health as presentation_health
    from backup_pipeline.wiring import addresses, embedded, ports


catalog_app = typer.Typer(
    name="catalog",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Check, show and draft catalogs: the YAML files that say what is backed up.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@catalog_app.command()
def check(
    target: Annotated[
        str | None,
        typer.Argument(help="A catalog's name or file; default: all of BACKUP_CATALOGS.", metavar="[NAME|FILE]"),
    ] = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Read the files only; ask no database.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            help="The database's URL; default: BACKUP_SOURCE_URL_NAME (NAME: the catalog's, in capitals), "
            "else BACKUP_SOURCE_URL."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check catalogs: is the file right, does it fit its database, and what of the database does it leave out?

    Each mistake is told with file, line, field and what is allowed. Against the database: tables that can not be
    exported, tables that are neither listed nor excluded (a backup warns of them), columns that look like secrets.
    Nothing is exported and no row is read.

    Examples:

        backup-pipeline catalog check --offline

        backup-pipeline catalog check isp

        backup-pipeline catalog check shop.yaml --source postgresql://backup:secret@db/shop

    Exit codes: 0 right (there may be warnings); 1 the database can not be read; 2 a catalog is wrong or does not fit.
    """
    settings = invoked_settings()
    catalogs = _chosen(settings, target, offline=offline)
    if offline:
        _tell_offline(catalogs, as_json=as_json)
        return
    reports = [_compare(settings, catalog, source) for catalog in catalogs.values()]
    if as_json:
        print_json([{**_described(report), "fits": report.fits} for report in reports])
    else:
        for report in reports:
            draw(presentation_health.check_document(report))
    wrong = [report.catalog for report in reports if not report.fits]
    if wrong:
        message = f"Catalogs that do not fit their database: {', '.join(wrong)}."
        raise CatalogError(message, do="Correct the catalog, or the rights of the backup role, as told above.")


@catalog_app.command()
def show(
    target: Annotated[str, typer.Argument(help="A catalog's name or file.", metavar="NAME|FILE")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what a catalog declares: its tables, their sheets and columns, and what is left out and why.

    It reads the file only; what the database really has is told by `catalog check`.

    Examples:

        backup-pipeline catalog show isp

        backup-pipeline catalog show isp --json

    Exit codes: 0 shown; 2 the catalog is wrong; 10 there is no such catalog.
    """
    (catalog,) = _chosen(invoked_settings(), target, offline=True).values()
    if as_json:
        print_json(catalog.model_dump(mode="json", by_alias=True))
        return
    draw(presentation_health.catalog_document(catalog))


@catalog_app.command()
def init(
    *,
    source: Annotated[
        str | None,
        typer.Option(help="The database's URL: postgresql://user:password@host:5432/name. Default: BACKUP_SOURCE_URL."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: standard output.")] = None,
    name: Annotated[str | None, typer.Option(help="The catalog's name; default: the database's.")] = None,
    timezone: Annotated[str, typer.Option(help="Of dates, sheets and the schedule: an IANA name.")] = "UTC",
    businesses: Annotated[
        str | None, typer.Option(help="Where many businesses share the database: their table's key, businesses.id.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a working catalog for any PostgreSQL database, for you to read and correct.

    Every table is in it, with its foreign keys shown as names on the sheets. Columns that look like secrets are left
    out, and so are tables that the role may not read, each with the reason. Only the system catalog is read, no row.

    A password in --source shows in the process list: BACKUP_SOURCE_URL does not.

    Examples:

        backup-pipeline catalog init --source postgresql://backup@db/shop --out catalogs/shop.yaml

        BACKUP_CATALOGS=catalogs backup-pipeline backup --catalog shop

    Exit codes: 0 written; 1 the database can not be read; 2 wrong request; 10 there is no table to back up; 21 the file
    is there already.
    """
    if out is not None and out.exists() and not force:
        message = f"{out} is there already."
        raise RefusedError(message, do="Choose another name, or overwrite it with --force.")
    result = operations_catalogs.init_catalog(
        postgres_source.PostgresSource(source or _source(invoked_settings())),
        name=name,
        timezone=timezone,
        businesses=businesses,
        instead=_there(out),
    )
    _write(out, result.text)
    secrets = sum(len(spec.exclude) for spec in result.catalog.tables.values())
    where = f"Wrote {out}" if out else "Catalog"
    note_console().print(
        f"{where}: {len(result.catalog.tables)} tables, {len(result.catalog.excluded)} left out, "
        f"{secrets} columns that look like secrets left out.",
        markup=False,
    )


def _source(settings: Settings) -> str:
    if settings.source_url is None:
        message = "No database is given."
        raise UsageError(message, do="Give its URL with --source or in BACKUP_SOURCE_URL.")
    return settings.source_url.get_secret_value()


def _there(out: Path | None) -> Catalog | None:
    """The catalog in the file that is to be written; None for a file that is not there, or holds none."""
    if out is None:
        return None
    with suppress(BackupError, OSError):
        return catalog_files.load_catalog(out)
    return None


def _write(out: Path | None, text: str) -> None:
    if out is None:
        print_line(text.rstrip("\n"))
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{out} can not be written: {error.strerror or error}."
        raise UsageError(message, do="Choose a folder that exists and that you may write to, with --out.") from error


def _chosen(settings: Settings, target: str | None, *, offline: bool) -> Mapping[str, Catalog]:
    if target is not None and (target.endswith((".yaml", ".yml")) or "/" in target):
        catalog = catalog_files.load_catalog(Path(target))
        return {catalog.catalog: catalog}
    catalogs = catalog_files.load_catalogs(settings.catalogs)
    if target is None:
        return catalogs if offline else addresses.declared_catalogs(settings)
    return {target: catalog_files.named_catalog(target, catalogs, settings.catalogs)}


def _compare(settings: Settings, catalog: Catalog, source: str | None) -> CatalogReport:
    if source is not None:
        return operations_catalogs.check_catalog(catalog, postgres_source.PostgresSource(source))
    with embedded.source_ready(settings, catalog.catalog):
        return operations_catalogs.check_catalog(catalog, ports.open_source(settings, catalog.catalog))


def _tell_offline(catalogs: Mapping[str, Catalog], *, as_json: bool) -> None:
    if as_json:
        print_json([{"catalog": name, "tables": list(catalog.tables)} for name, catalog in catalogs.items()])
        return
    for name, catalog in catalogs.items():
        print_line(f"{name}: right, {len(catalog.tables)} tables")


def _described(report: CatalogReport) -> dict[str, object]:
    return {
        "catalog": report.catalog,
        "database": report.database,
        "tables": dict(report.ready),
        "failed": {name: {"message": error.what, "what_to_do": error.do} for name, error in report.failed.items()},
        "excluded": dict(report.excluded),
        "unlisted": report.unlisted,
        "unreadable": report.unreadable,
        "not_held": [asdict(column) for column in report.not_held],
        "refused": report.refused.what if report.refused else None,
    }
