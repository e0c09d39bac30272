"""Which backups retention keeps and which it lets go, each with its reasons: pure, of rows, rules and the present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.core.clocks import is_future
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.retention import expiry
from backup_pipeline.core.retention_rules import (
    PARTITIONS_ONLY,
    Basis,
    asked_for,
    counts,
    floor,
    groups,
    let_go,
    taken_at,
    verified,
)
from backup_pipeline.core.verification import Level


@dataclass(frozen=True)
class Verdict:
    """What becomes of one backup, and why. `expires_at` is as in `retention.expiry`."""

    attempt: Attempt
    removed: bool
    reasons: tuple[str, ...]
    expires_at: datetime | None = None

    def as_json(self) -> dict[str, object]:
        """The verdict as JSON."""
        return {
            "backup_id": self.attempt.backup_id,
            "date": self.attempt.partition_date.isoformat(),
            "type": self.attempt.type,
            "bytes": self.attempt.file_size_bytes,
            "removed": self.removed,
            "reasons": list(self.reasons),
        }


def plan_retention(rows: Sequence[Attempt], basis: Basis) -> tuple[Verdict, ...]:
    """A verdict for each good row of a catalog, newest first; rows of any other status are no backups.

    A backup is kept when a rule of its type asks for it, or when it must not be removed (see `objections`).
    """
    good = _newest_first(rows)
    reasons = {row.backup_id: list(_guards(at, good, basis)) for at, row in enumerate(good)}
    for group in groups(good):
        rule = basis.retention.of(group[0].type)
        for backup_id, reason in asked_for(group, rule, basis):
            reasons[backup_id].append(reason)
        for row in floor(group, rule, basis, {backup_id for backup_id, found in reasons.items() if found}):
            reasons[row.backup_id].append(f"min_keep: {rule.min_keep} {row.type} backups always stay")
    return tuple(_verdict(row, reasons[row.backup_id], basis) for row in good)


def objections(wanted: Attempt, rows: Sequence[Attempt], basis: Basis) -> tuple[str, ...]:
    """Why `wanted`, one of `rows`, must not be removed, whoever asks: none when it may be.

    It is held; something is at it; it is younger than the grace; it is the newest good one of its kind; the one that
    comes after it is not verified; or fewer than `min_keep` would be left. One of the future, which a wrong clock has
    dated, has no age: it may go as soon as there is another one.
    """
    good = _newest_first(rows)
    at = next((at for at, row in enumerate(good) if row.backup_id == wanted.backup_id), None)
    if at is None:
        return ()
    rule = basis.retention.of(wanted.type)
    group = next(group for group in groups(good) if good[at] in group)
    left = [row for row in group if row != good[at] and counts(row, basis)]
    if is_future(taken_at(good[at]), basis.now):
        others = [
            row for row in good if counts(row, basis) and (row.kind, row.business) == (wanted.kind, wanted.business)
        ]
        return (*_claimed(good[at], basis), *(() if others else ("the only good backup",)))
    found = list(_guards(at, good, basis))
    if counts(good[at], basis) and len(left) < rule.min_keep:
        found.append(f"min_keep: {rule.min_keep} {wanted.type} backups always stay, and {len(left)} would be left")
    return tuple(found)


def successors(wanted: Attempt, kept: Sequence[Attempt], basis: Basis) -> tuple[Attempt, ...]:
    """Those of `kept` that stand in for `wanted` once it is gone, the nearest first."""
    newer = [row for row in _newest_first(kept) if _order(row) > _order(wanted)]
    return tuple(row for row in reversed(newer) if _stands_in(row, wanted, basis))


def expires_at(row: Attempt, basis: Basis) -> datetime | None:
    """The earliest instant at which the rules let the backup go; see `retention.expiry`."""
    rule = basis.retention.of(row.type)
    return expiry(rule, at=taken_at(row), finished=row.finished_at or row.started_at, timezone=basis.timezone)


def _newest_first(rows: Sequence[Attempt]) -> list[Attempt]:
    good = (row for row in rows if row.status.good)
    return sorted(good, key=_order, reverse=True)


def _order(row: Attempt) -> tuple[datetime, str]:
    return taken_at(row), row.backup_id


def _verdict(row: Attempt, reasons: Sequence[str], basis: Basis) -> Verdict:
    if reasons:
        return Verdict(row, removed=False, reasons=tuple(reasons), expires_at=expires_at(row, basis))
    return Verdict(row, removed=True, reasons=(let_go(row, basis),), expires_at=expires_at(row, basis))


def _guards(at: int, good: Sequence[Attempt], basis: Basis) -> Iterator[str]:
    """Why the backup must not be removed, whatever the rules say. The floor is not among them: it depends on others."""
    row = good[at]
    yield from _claimed(row, basis)
    if taken_at(row) > basis.now:
        yield f"taken at {taken_at(row):%Y-%m-%d %H:%M} UTC, which is yet to come: check the clocks"
    grace = basis.retention.of(row.type).grace
    if basis.now - (row.finished_at or row.started_at) < grace:
        yield f"younger than the grace of {grace.total_seconds() / 60:g} minutes"
    successor = next((newer for newer in reversed(good[:at]) if _stands_in(newer, row, basis)), None)
    if successor is None:
        yield "the newest good backup" if row.kind == "full" else "the newest good backup of its tables"
        lost = next((newer for newer in good[:at] if replaces(newer, row, basis)), None)
        if lost is not None:
            yield f"{lost.backup_id}, which comes after it, is no good backup: {basis.broken[lost.backup_id]}"
    elif not _proven(successor):
        yield f"{successor.backup_id}, which comes after it, is not verified"


def _claimed(row: Attempt, basis: Basis) -> Iterator[str]:
    """Who needs the backup."""
    if row.hold is not None and row.hold.lasts(basis.now):
        yield str(row.hold)
    if row.backup_id in basis.claims:
        yield basis.claims[row.backup_id]


def _stands_in(newer: Attempt, row: Attempt, basis: Basis) -> bool:
    return newer.backup_id not in basis.broken and replaces(newer, row, basis)


def replaces(newer: Attempt, row: Attempt, basis: Basis) -> bool:
    """Whether people who lose `row` still have the later `newer`, if it is good: it has all of the tables."""
    if newer.business != row.business or taken_at(newer) > basis.now:
        return False
    if row.kind == "full":
        return newer.kind == "full"
    if newer.kind == PARTITIONS_ONLY and row.kind != PARTITIONS_ONLY:
        return False
    return _tables(newer) >= _tables(row)


def _tables(row: Attempt) -> frozenset[str]:
    return frozenset(row.table_counts or row.tables_wanted)


def _proven(row: Attempt) -> bool:
    last = verified(row)
    return row.kind == PARTITIONS_ONLY or (last.depth >= Level.BYTES.value and not last.failed)
