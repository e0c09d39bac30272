"""What the `keep_` fields of a rule ask for, and what its floor adds, among the backups that it counts together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.retention import FOREVER, Retention, Rule, kept_until
from backup_pipeline.core.verified import Verified

PARTITIONS_ONLY = "tables"
"""The kind that has no bundle: its partitions were checked when they were written, so it is as good as verified."""


@dataclass(frozen=True)
class Basis:
    """What a plan is made with: rules, the timezone of their calendar, the present, and who needs which backup now.

    `claims` has a sentence for each backup id that something else is at, such as a restore; `broken` one for each that
    the store shows to be no good backup any more, whatever its row says.
    """

    retention: Retention
    timezone: str
    now: datetime
    claims: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)


def taken_at(row: Attempt) -> datetime:
    """The instant that a backup shows."""
    return row.snapshot_at or row.started_at


def groups(good: Sequence[Attempt]) -> Sequence[list[Attempt]]:
    """The backups that one rule counts together, in the order they came."""
    found: dict[tuple[str | None, str, str], list[Attempt]] = {}
    for row in good:
        found.setdefault((row.business, row.kind, row.type), []).append(row)
    return list(found.values())


def verified(row: Attempt) -> Verified:
    """What its last verification came to."""
    return Verified(row.verification_level, row.verified_at)


def counts(row: Attempt, basis: Basis) -> bool:
    """Whether a backup counts as one: not when its verification failed, it is broken, or its clock was wrong."""
    return not verified(row).failed and row.backup_id not in basis.broken and taken_at(row) <= basis.now


def floor(group: Sequence[Attempt], rule: Rule, basis: Basis, kept: set[str]) -> Sequence[Attempt]:
    """The newest of those that nothing keeps, as many as `min_keep` lacks."""
    counted = [row for row in group if counts(row, basis)]
    spare = [row for row in counted if row.backup_id not in kept]
    return spare[: max(0, rule.min_keep - (len(counted) - len(spare)))]


def asked_for(group: Sequence[Attempt], rule: Rule, basis: Basis) -> Iterator[tuple[str, str]]:
    """The backups of a group that a `keep_` field asks for, each with the words that say so."""
    for row in group:
        if rule.keep_within and _within(row, rule.keep_within, basis):
            yield row.backup_id, "kept for ever" if rule.keep_within == FOREVER else f"keep_within: {rule.keep_within}"
    counted = [row for row in group if counts(row, basis)]
    for at, row in enumerate(counted[: rule.keep_last], start=1):
        yield row.backup_id, f"keep_last: {at} of {rule.keep_last}"
    zone = ZoneInfo(basis.timezone)
    for name, period in _PERIODS.items():
        wanted: int = getattr(rule, name)
        seen: set[str] = set()
        for row in counted if wanted else ():
            of = period(taken_at(row).astimezone(zone))
            if of not in seen and len(seen) < wanted:
                seen.add(of)
                yield row.backup_id, f"{name}: the last of {of}, {len(seen)} of {wanted}"


def _hour(local: datetime) -> str:
    """An hour that the clocks show twice is two hours."""
    return f"{local:%Y-%m-%d %H h (UTC%z)}"


def _week(local: datetime) -> str:
    """The ISO week: it begins on Monday, and belongs to the year of its Thursday."""
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02d}"


_PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "keep_hourly": _hour,
    "keep_daily": lambda local: f"{local:%Y-%m-%d}",
    "keep_weekly": _week,
    "keep_monthly": lambda local: f"{local:%Y-%m}",
    "keep_yearly": lambda local: f"{local:%Y}",
}


def _within(row: Attempt, within: str, basis: Basis) -> bool:
    until = kept_until(taken_at(row), within, basis.timezone)
    return until is None or basis.now < until


def let_go(row: Attempt, basis: Basis) -> str:
    """Why no rule keeps the backup."""
    rule = basis.retention.of(row.type)
    counted = [name for name in ("keep_last", *_PERIODS) if getattr(rule, name)]
    parts = []
    if rule.keep_within and (until := kept_until(taken_at(row), rule.keep_within, basis.timezone)):
        parts.append(f"keep_within: {rule.keep_within} were over at {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    if verified(row).failed:
        parts.append("its verification failed, so it counts for no other rule")
    elif counted:
        parts.append(f"{', '.join(counted)} {'ask' if len(counted) > 1 else 'asks'} for others")
    return "; ".join(parts) or "no rule asks for it"
