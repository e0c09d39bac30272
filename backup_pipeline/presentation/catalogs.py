"""Catalogs: what one declares, and how it fits its database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.presentation.document import (
    Note,
    Part,
    ReportDocument,
    Span,
    Table,
    Tone,
    document,
    line,
    prose,
    texts,
)

if TYPE_CHECKING:
    from backup_pipeline.operations.catalogs import CatalogReport

_COLUMNS = (*texts("Table", "Reads", "Sheet"), prose("Sheet columns"), prose("Left out or masked"))


def catalog_document(catalog: Catalog) -> ReportDocument:
    """What the catalog declares: its tables, and what is left out and why."""
    schedule = f"schedule {catalog.schedule}" if catalog.schedule else "no schedule"
    return document(
        line(Span(catalog.catalog, Tone.STRONG), f"  {catalog.title}"),
        line(f"{catalog.timezone}, {schedule}, bundle {catalog.bundle_name}"),
        Table(_COLUMNS, tuple(_row(catalog, name) for name in catalog.tables)),
        *(Note("Left out", Tone.STRONG, rule.reason, about=rule.table) for rule in catalog.excluded),
    )


def check_document(report: CatalogReport) -> ReportDocument:
    """Whether the catalog fits, and each thing that is wrong or left out."""
    state = Span("fits", Tone.GOOD) if report.fits else Span("does NOT fit", Tone.FAILURE)
    counts = f", {len(report.ready)} tables ready, {len(report.excluded)} left out on purpose"
    head = line(Span(report.catalog, Tone.STRONG), " ", state, f" database {report.database}{counts}")
    return document(head, *_notes(report))


def _row(catalog: Catalog, name: str) -> tuple[Part, ...]:
    table = catalog.tables[name]
    hidden = ", ".join((*table.exclude, *(f"{column} (masked)" for column in table.mask)))
    columns = ", ".join(table.columns) or "all"
    return name, ".".join(catalog.relation_of(name)), catalog.sheet_of(name), columns, hidden


def _notes(report: CatalogReport) -> Iterator[Note]:
    for error in (report.refused, *report.failed.values()):
        if error is not None:
            yield Note("Error", Tone.WRONG, error.what, do=error.do)
    for table in report.unlisted:
        locked = " (and the backup role may not read it)" if table in report.unreadable else ""
        text = f"{table} is neither listed nor excluded{locked}; each backup will warn of it."
        yield Note("Warning", Tone.WARNING, text)
    for gap in report.not_held:
        word, tone = ("Warning", Tone.WARNING) if gap.warns else ("Note", Tone.QUIET)
        yield Note(word, tone, gap.message, do=gap.do)
