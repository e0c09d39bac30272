"""Ticks, and how each business is protected, as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backup_pipeline.core.businesses.ticks import Tick, TickStatus
from backup_pipeline.operations.businesses import TickReport
from backup_pipeline.operations.businesses.protection import BusinessProtection
from backup_pipeline.presentation import (
    Part,
    ReportDocument,
    Span,
    Table,
    Tone,
    document,
    facts,
    line,
    numbers,
    prose,
    texts,
)

TICK_TONES = {
    TickStatus.RUNNING: Tone.PLAIN,
    TickStatus.SUCCESS: Tone.GOOD,
    TickStatus.PARTIAL: Tone.WARNING,
    TickStatus.FAILED: Tone.WRONG,
    TickStatus.SKIPPED: Tone.WARNING,
    TickStatus.MISSED: Tone.WRONG,
}
"""How the end of a tick looks."""


def tick_document(report: TickReport) -> ReportDocument:
    """What a tick did, and whom it did not protect."""
    tick = report.tick
    shown = facts(
        (
            ("Tick", f"{tick.scheduled_at:%Y-%m-%d %H:%M} UTC"),
            ("Status", Span(tick.status.value, TICK_TONES[tick.status])),
            ("Businesses", f"{tick.due} due: {tick.changed} backed up ({tick.fulls} full), {tick.unchanged} unchanged"),
            ("Missed", f"{tick.failed} failed, {tick.skipped} left for the next tick" if tick.misses else ""),
            ("Written", f"{tick.rows:,} rows, {tick.bytes:,} bytes"),
            ("Took", f"{tick.seconds:.1f} s" if tick.seconds is not None else ""),
            ("Checked", f"{len(report.audited)} fulls against their chains" if report.audited else ""),
            ("Nothing ran", report.missed.message if report.missed else ""),
            ("Message", tick.message),
        )
    )
    if not tick.misses:
        return document(shown)
    rows = tuple((miss.business, miss.outcome.value, miss.reason) for miss in tick.misses)
    return document(shown, Table((*texts("Business", "Outcome"), prose("Why")), rows))


def ticks_document(ticks: Sequence[Tick]) -> ReportDocument:
    """Ticks, newest first."""
    if not ticks:
        return document(line("No tick has run. `backup-pipeline businesses tick` runs one."))
    columns = (
        *texts("Scheduled (UTC)", "Status"),
        *numbers("Due", "Changed", "Unchanged", "Failed", "Skipped", "Rows", "Seconds"),
        prose("Message"),
    )
    return document(Table(columns, tuple(_tick(tick) for tick in ticks)))


def _tick(tick: Tick) -> tuple[Part, ...]:
    return (
        f"{tick.scheduled_at:%Y-%m-%d %H:%M}",
        Span(f"{tick.status.value}{' (by hand)' if tick.by_hand else ''}", TICK_TONES[tick.status]),
        *(str(n) for n in (tick.due, tick.changed, tick.unchanged, tick.failed, tick.skipped)),
        f"{tick.rows:,}",
        f"{tick.seconds:.1f}" if tick.seconds is not None else "",
        tick.message,
    )


def protection_document(rows: Sequence[BusinessProtection], now: datetime) -> ReportDocument:
    """How each business is protected."""
    if not rows:
        return document(line("No business has a backup. `backup-pipeline businesses tick` makes the first ones."))
    columns = (
        *texts("Business", "Name", "Newest backup", "Kind", "Right until"),
        *numbers("Age (min)", "Backups", "Bytes", "Quota %"),
    )
    return document(Table(columns, tuple(_protected(row, now) for row in rows)))


def _protected(row: BusinessProtection, now: datetime) -> tuple[Part, ...]:
    age = (now - row.confirmed_until).total_seconds() / 60 if row.confirmed_until else None
    return (
        row.business,
        row.name,
        f"{row.snapshot_at:%Y-%m-%d %H:%M}" if row.snapshot_at else Span("none", Tone.WRONG),
        row.kind or "",
        f"{row.confirmed_until:%Y-%m-%d %H:%M}" if row.confirmed_until else "",
        "" if age is None else f"{age:.0f}",
        str(row.backups),
        f"{row.bytes:,}",
        Span(f"{row.quota_share:.0%}", Tone.WARNING if row.quota_share >= 0.8 else Tone.PLAIN),
    )
