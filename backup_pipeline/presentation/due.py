"""Whether every backup is there that is due, and how old the newest copies are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.due import DueState, Freshness
from backup_pipeline.core.verification import age, ago
from backup_pipeline.presentation.document import (
    Item,
    Minute,
    Part,
    ReportDocument,
    Span,
    Table,
    Tone,
    document,
    item,
    numbers,
    texts,
)

_TONES = {
    DueState.FRESH: Tone.GOOD,
    DueState.OVERDUE: Tone.FAILURE,
    DueState.WAITING: Tone.WARNING,
    DueState.UNSCHEDULED: Tone.QUIET,
}
_COLUMNS = (
    *texts("Catalog", "State", "Newest good", "Began", "Was due", "Due next"),
    *numbers("Missed", "Failed"),
)


def freshness_document(catalogs: Sequence[Freshness], copies: Sequence[CopyAge] = ()) -> ReportDocument:
    """A row for each catalog, then a line for each one's newest good copy."""
    return document(Table(_COLUMNS, tuple(map(_row, catalogs))), *map(_copy, copies))


def _row(catalog: Freshness) -> tuple[Part, ...]:
    return (
        catalog.catalog,
        Span(catalog.state, _TONES[catalog.state]),
        catalog.newest,
        age(catalog.newest_at, catalog.at) if catalog.newest_at else None,
        _minute(catalog.due),
        _minute(catalog.next_due),
        len(catalog.missed),
        catalog.failed,
    )


def _minute(at: datetime | None) -> Minute | None:
    return Minute(at) if at else None


def _copy(copy: CopyAge) -> Item:
    newest = f"{copy.newest.backup_id} began {ago(copy.age)}" if copy.newest and copy.age else "no good copy"
    state = Span("fresh", Tone.GOOD) if copy.newest else Span("none", Tone.QUIET)
    if copy.stale:
        state = Span("STALE", Tone.FAILURE)
    return item(f"Second store, {copy.catalog}: ", state, f", {newest} ({copy.store})")
