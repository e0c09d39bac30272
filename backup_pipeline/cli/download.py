"""`backup-pipeline download` and `url`: take a backup out, whole or rendered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backup_pipeline.cli.options import Backup, FromStore, OfCatalog, Opened, moment, opened, parse_duration, print_line
from backup_pipeline.cli.progress import shown_progress
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.restore import Which
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import note_console

if TYPE_CHECKING:
    from backup_pipeline.core.ledger import Attempt
    from backup_pipeline.operations.download import Destination

with lazily():
    from backup_pipeline.operations import browse, leases
    from backup_pipeline.operations import download as operations_download
    from backup_pipeline.wiring import stores


def download(
    backup: Backup,
    *,
    form: Annotated[
        Literal["zip", "xlsx", "csv", "json"],
        typer.Option("--as", help="zip, the bundle itself; or made from it: xlsx, csv, json."),
    ] = "zip",
    to: Annotated[
        Path, typer.Option(help="A folder, which is made if need be, or a file (a name with an ending); default: here.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    store: FromStore = "first",
    catalog: OfCatalog = None,
) -> None:
    """Download a backup's bundle (a ZIP) from the store, or a rendering of it, compared with its manifest on the way.

    With --as xlsx all sheets come as one Excel workbook, with --as csv as one CSV file, each under a heading
    `### Name ###`, and with --as json the exact rows of all tables as one document. A rendering is for reading, and for
    other programs; to restore, keep the ZIP. Excel takes leading zeros off phone numbers when it opens a CSV by double
    click; in a workbook they stay.

    The file appears when it is whole; what is cut off or damaged leaves nothing. Only you may read it: it holds your
    customers' data. That you took it goes into the audit. Prints the path.

    Examples:

        backup-pipeline download latest

        backup-pipeline download latest --as xlsx

        backup-pipeline download latest --to ~/backups

        backup-pipeline download latest --to /tmp/isp.zip --force

    Exit codes: 0 downloaded; 1 failed, no room or no right to write; 2 that is no backup id, or no form; 10 there is no
    such backup, or it has no bundle; 12 it is encrypted, and no key here opens it (the ZIP comes without); 20 the
    stored bytes are not the manifest's; 21 a file is there already.
    """
    with opened(catalog) as installation:
        attempt = browse.find_sound_backup(backup, installation.ledger, catalog=catalog, store=store)
        path = _taken(installation, attempt, form, operations_download.Destination(to, force), store)
    print_line(str(path))


def url(
    backup: Backup,
    *,
    expires: Annotated[str, typer.Option(help="How long it is good: 90s, 30m, 1h, 7d (the most).")] = "1h",
    store: FromStore = "first",
    catalog: OfCatalog = None,
) -> None:
    """Print a signed URL of a backup's bundle: whoever has it can download it until it expires.

    The bundle is read whole and compared with its manifest and the ledger first; what is downloaded later can be
    compared by the SHA-256 that is printed on stderr.

    Needs an S3 store; a directory has no URLs. It can not be taken back before it expires, so keep it short. That you
    made it goes into the audit.

    Examples:

        backup-pipeline url latest

        curl -o backup.zip "$(backup-pipeline url latest --expires 15m)"

    Exit codes: 0 printed; 1 failed; 2 wrong id or time; 10 there is no such backup, or it has no bundle; 20 ledger,
    manifest and stored bytes are not the same; 21 the store has no URLs.
    """
    time = parse_duration(expires)
    with opened(catalog) as installation:
        attempt = browse.find_sound_backup(backup, installation.ledger, catalog=catalog, store=store)
        audit = installation.audit()
        where = installation.store(store)
        with shown_progress(note_console()) as progress:
            signed, bundle = operations_download.bundle_url(
                attempt, store=where, audit=audit, expires=time, progress=progress
            )
    print_line(signed)
    note_console().print(f"Good until {moment(audit.clock() + time)}, for whoever has it. Its SHA-256 must be:")
    note_console().print(bundle.sha256, soft_wrap=True)


def _taken(installation: Opened, attempt: Attempt, form: str, to: Destination, which: Which) -> Path:
    store, audit = installation.store(which), installation.audit()
    with (
        shown_progress(note_console()) as progress,
        leases.reading(attempt.backup_id, "download", installation.actor, installation.ports),
    ):
        if form == "zip":
            return operations_download.download_bundle(attempt, to, store=store, audit=audit, progress=progress)
        kind = Rendering(form)
        formats = stores.open_formats(installation.settings)
        return operations_download.render_backup(
            attempt, kind, to, store=store, formats=formats, audit=audit, progress=progress
        )
