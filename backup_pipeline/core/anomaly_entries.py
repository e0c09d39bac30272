"""How an anomaly is told: what is now, what is usual, the change, the next step, and which backup it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backup_pipeline.core.anomaly_history import Past
from backup_pipeline.core.anomaly_kinds import ADDITIONS, SIZES, AnomalyKind
from backup_pipeline.core.manifest import AnomalyEntry

_UNITS = {AnomalyKind.ROWS: "rows", AnomalyKind.BYTES: "bytes", AnomalyKind.EMPTIED: "rows"}
_LOOK = "Look at what changed: `backup-pipeline show {held}` tells how it was."
_BACK = " Lost rows come back with `backup-pipeline restore {held} -T {table} --to-source --mode insert-missing`."
_NEXT = {
    AnomalyKind.NEW_COLUMN: "Decide whether it may leave the database: `exclude` or `mask` it in the catalog if not.",
    AnomalyKind.NEW_TABLE: "List it in the catalog, or exclude it with a reason.",
    AnomalyKind.DUPLICATE_KEYS: "Find out what wrote them: a constraint is missing, or the catalog's `key` is wrong.",
    AnomalyKind.ORPHANS: "Find out what removed the rows they refer to: the backup {held} may have them.",
    AnomalyKind.VANISHED_TABLE: "List it in the catalog again, or exclude it with a reason: nobody backs it up now.",
}


def size_finding(table: str, kind: AnomalyKind, now: int, usual: int, backups: int) -> AnomalyEntry:
    """A table that is smaller or larger than usual, the median of so many `backups`."""
    unit = _UNITS[kind]
    told = f"{now:,} {unit}, usually {usual:,} (median of {backups} good backups): {_change(now, usual, unit)}"
    return finding(table, kind, told, now=now, usual=usual, short=_change(now, usual, unit))


def finding(
    table: str,
    kind: AnomalyKind,
    told: str,
    *,
    subject: str = "",
    now: int | str | None = None,
    usual: int | str | None = None,
    short: str | None = None,
) -> AnomalyEntry:
    """A finding that says `told`; which backup it holds, `settled` decides. `short` is the change alone."""
    return AnomalyEntry(
        table=table,
        kind=kind.value,
        subject=subject,
        now=now,
        usual=usual,
        change=short or told,
        message=f"{told[0].upper()}{told[1:]}.",
        do=_NEXT.get(kind, _LOOK),
        severity="info" if kind in ADDITIONS else "warning",
    )


def settled(one: AnomalyEntry, past: Past) -> AnomalyEntry:
    """The finding with the backup that it holds: the last one, or that of a finding not released yet.

    It is `standing` when a backup before told the same.
    """
    return settled_against(one, past.open, past.backup_id)


def settled_against(one: AnomalyEntry, told: Sequence[AnomalyEntry], last: str | None) -> AnomalyEntry:
    """The finding, where the findings `told` are not released yet and `last` is the backup before."""
    same = _first(before for before in told if (before.kind, before.subject) == (one.kind, one.subject))
    alike = same or _first(before for before in told if {one.kind, before.kind} <= SIZES)
    held = alike.held if alike else last
    return one.model_copy(update={"held": held, "standing": same is not None, "do": _step(one, held or "latest")})


def _step(one: AnomalyEntry, held: str) -> str:
    step = _NEXT.get(AnomalyKind(one.kind), _LOOK)
    lost = isinstance(one.now, int) and isinstance(one.usual, int) and one.now < one.usual
    if lost and one.kind in {AnomalyKind.ROWS, AnomalyKind.EMPTIED}:
        step += _BACK
    return step.format(held=held, table=one.table)


def _first(findings: Iterable[AnomalyEntry]) -> AnomalyEntry | None:
    return next(iter(findings), None)


def _change(now: int, usual: int, unit: str) -> str:
    """`52% fewer rows`, `3.1 times the bytes`."""
    if now < usual:
        return f"{1 - now / usual:.0%} {'fewer' if unit == 'rows' else 'less'} {unit}"
    return f"{now / usual:.1f} times the {unit}" if usual else f"{now:,} {unit} where there were none"
