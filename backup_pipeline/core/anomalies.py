"""Anomalies of a table: its rows, bytes, columns and keys, against those of the good backups before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import median_low

from backup_pipeline.core.anomaly_entries import finding, settled, size_finding
from backup_pipeline.core.anomaly_history import Past
from backup_pipeline.core.anomaly_kinds import AnomalyKind
from backup_pipeline.core.catalog import Anomalies
from backup_pipeline.core.checks import ANOMALY, KEY_UNIQUE, Check
from backup_pipeline.core.manifest import AnomalyEntry, TableEntry

FEWEST = 3
"""Below so many earlier backups only emptiness is judged: two values do not say what is usual."""


def unusual(now: int, before: Sequence[int], *, ratio: float, floor: int) -> int | None:
    """The median of `before` when `now` is far from it, else None.

    Far is `ratio` of the median or less; or so much that the most of `before` is `ratio` of it or less. Nothing is far
    that lies within what was seen, or outside of it by no more than `floor`. Fewer than three values say nothing.
    """
    if len(before) < FEWEST:
        return None
    usual, share = median_low(before), Decimal(str(ratio))  # exactly the ratio as it is written
    fell = now <= usual * share and min(before) - now > floor
    grew = max(before) <= now * share and now - max(before) > floor
    return usual if fell or grew else None


def judge_table(now: TableEntry, past: Past, rule: Anomalies) -> tuple[AnomalyEntry, ...]:
    """What is unusual about the table, by `rule`. A table that no good backup holds yet has nothing to differ from."""
    if past.backup_id is None or not rule.trailing:
        return ()
    found = [*_sizes(now, past, rule), *_columns(now, past), *_keys(now, past)]
    return tuple(settled(one, past) for one in found if AnomalyKind(one.kind) not in rule.allow)


def anomaly_check(findings: Sequence[AnomalyEntry], past: Past) -> Check:
    """The check of a table that tells its findings."""
    message = " ".join(one.message for one in findings)
    if not findings:
        message = f"As in the {len(past.rows)} good backups before." if past.rows else "No earlier good backup."
    return Check(ANOMALY, not findings, blocking=False, message=message, numbers={"findings": len(findings)})


def _sizes(now: TableEntry, past: Past, rule: Anomalies) -> Iterator[AnomalyEntry]:
    """One finding at most: fewer rows are fewer bytes too, and other columns are other bytes."""
    if now.row_count == 0 and past.rows and min(past.rows) > 0:
        yield size_finding(now.name, AnomalyKind.EMPTIED, 0, median_low(past.rows), len(past.rows))
        return
    usual = unusual(now.row_count, past.rows, ratio=rule.ratio, floor=rule.floor_rows)
    if usual is not None:
        yield size_finding(now.name, AnomalyKind.ROWS, now.row_count, usual, len(past.rows))
    elif past.shape is None or _types(now) == past.shape.columns:
        usual = unusual(now.bytes, past.bytes, ratio=rule.ratio, floor=rule.floor_bytes)
        if usual is not None:
            yield size_finding(now.name, AnomalyKind.BYTES, now.bytes, usual, len(past.bytes))


def _columns(now: TableEntry, past: Past) -> Iterator[AnomalyEntry]:
    """Columns against those of the last backup, and changes that were told before and are still there.

    What the catalog began or ceased to leave out is no anomaly but a decision; what is back as it was, is none either.
    """
    if past.shape is None:
        return
    here, there = _types(now), past.shape.columns
    back = {(one.subject, one.usual) for one in past.open}
    for name, pg_type in here.items():
        if there.get(name) == pg_type or (name, pg_type) in back:
            continue
        if name in there:
            yield _column(now, AnomalyKind.CHANGED_TYPE, name, pg_type, there[name])
        elif name not in past.shape.excluded:
            yield _column(now, AnomalyKind.NEW_COLUMN, name, pg_type, None)
    for name in [name for name in there if name not in here and name not in now.excluded_columns]:
        yield _column(now, AnomalyKind.VANISHED_COLUMN, name, None, there[name])
    yield from (one for one in past.open if _still(one, here, now.excluded_columns))


def _still(one: AnomalyEntry, here: Mapping[str, str], excluded: Mapping[str, str]) -> bool:
    """Whether a change of columns that was told before is still there."""
    match one.kind:
        case AnomalyKind.NEW_COLUMN | AnomalyKind.CHANGED_TYPE:
            return here.get(one.subject) == one.now
        case AnomalyKind.VANISHED_COLUMN:
            return one.subject not in here and one.subject not in excluded
    return False


def _column(table: TableEntry, kind: AnomalyKind, name: str, now: str | None, usual: str | None) -> AnomalyEntry:
    change = {
        AnomalyKind.NEW_COLUMN: f"column {name} ({now}) is new",
        AnomalyKind.VANISHED_COLUMN: f"column {name} ({usual}) is gone",
        AnomalyKind.CHANGED_TYPE: f"column {name} was {usual} and is {now}",
    }[kind]
    return finding(table.name, kind, change, subject=name, now=now, usual=usual)


def _keys(now: TableEntry, past: Past) -> Iterator[AnomalyEntry]:
    """Keys that stand more than once, where each stood once in the last backup, or that is still in doubt."""
    failed = next((check for check in now.checks if check.name == KEY_UNIQUE and not check.passed), None)
    if failed is None:
        return
    was_well = past.shape is not None and past.shape.unique
    if was_well or any(one.kind == AnomalyKind.DUPLICATE_KEYS for one in past.open):
        change = failed.message.rstrip(".")
        yield finding(now.name, AnomalyKind.DUPLICATE_KEYS, change, usual="each key stands once")


def _types(table: TableEntry) -> dict[str, str]:
    return {column.name: column.pg_type for column in table.columns}
