"""The rules of retention, as a catalog declares them: what is kept, by type of backup, and when the clean-up runs."""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from backup_pipeline.core.catalog import rules as catalog_rules
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.retention.chains import OF_BUSINESSES, Chains
from backup_pipeline.core.schedule import is_future
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, depth_of, has_failed

FOREVER = "forever"
_SPAN = re.compile(r"(?P<count>[1-9][0-9]{0,4}) (?P<unit>hour|day|week|month|year)s?")
_MONTHS = {"month": 1, "year": 12}
_LAST_YEAR = 9999


def span(text: str) -> str:
    """A time for which backups are kept: `30 days`, `6 months`, `forever`."""
    if text == FOREVER or _SPAN.fullmatch(text):
        return text
    message = f"{text!r} is not a time to keep. Write a number and hours, days, weeks, months or years, or {FOREVER}"
    raise ValueError(message)


Span = Annotated[str, AfterValidator(span)]
Count = Annotated[int, Field(ge=0, le=10_000)]


class Rule(BaseModel):
    """What is kept of one type of backup: whatever any `keep_` field asks for. Days and weeks are the catalog's own.

    `keep_hourly` to `keep_yearly` keep the newest backup of each of so many hours (… years) that have one. At least
    `min_keep` backups stay whatever the others say, and every one younger than `grace_minutes`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, defer_build=True)

    keep_last: Count = 0
    keep_within: Span | None = None
    keep_hourly: Count = 0
    keep_daily: Count = 0
    keep_weekly: Count = 0
    keep_monthly: Count = 0
    keep_yearly: Count = 0
    min_keep: Count = 3
    grace_minutes: int = Field(default=60, ge=0, le=60 * 24 * 366)

    @model_validator(mode="after")
    def _keeps_something(self) -> Rule:
        """A rule that forgets everything is a mistake, never a wish."""
        counts = (self.keep_last, self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly)
        if not (any(counts) or self.keep_yearly or self.keep_within):
            message = f"no `keep_` field asks for anything. To keep every backup, write keep_within: {FOREVER}"
            raise catalog_rules.contradiction(("keep_within",), message)
        return self

    @property
    def grace(self) -> timedelta:
        """The age below which nothing is removed."""
        return timedelta(minutes=self.grace_minutes)


class ManualRule(Rule):
    """The rule of what people made by hand: without a floor, unless one is asked for, so that they can delete it."""

    min_keep: Count = 0


class Retention(BaseModel):
    """The rules of a catalog, and when the clean-up runs (a cron line in the catalog's timezone; None: never)."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, defer_build=True)

    automatic: Rule = Rule(keep_within="30 days")
    manual: ManualRule = ManualRule(keep_within=FOREVER)
    schedule: Annotated[str, AfterValidator(catalog_rules.cron)] | None = "0 3 * * 0"

    def of(self, trigger: Trigger) -> Rule:
        """The rule of a type of backup."""
        return self.automatic if trigger is Trigger.AUTOMATIC else self.manual

    @property
    def grace(self) -> timedelta:
        """The age below which nothing at all is removed, be it a backup or not."""
        return max(self.automatic.grace, self.manual.grace)


@lru_cache(maxsize=2**15)  # one plan asks thrice for each row, and a forecast makes a plan for each clean-up
def kept_until(at: datetime, within: str, timezone: str) -> datetime | None:
    """The instant, in UTC, until which `within` keeps a backup of the instant `at`; None is for ever.

    Days, weeks, months and years are those of the calendar in `timezone`: a change of clocks moves nothing. A date that
    a month does not have (31 January and a month) is the end of that month.
    """
    match = _SPAN.fullmatch(within)
    if match is None:
        return None
    count, unit = int(match["count"]), match["unit"]
    if unit == "hour":
        return at.astimezone(UTC) + timedelta(hours=count)
    local = at.astimezone(ZoneInfo(timezone)).replace(fold=0)
    months = count * _MONTHS.get(unit, 0)
    try:
        moved = _months_later(local, months) if months else local + timedelta(days=count * (7 if unit == "week" else 1))
        return moved.astimezone(UTC)
    except (OverflowError, ValueError):  # beyond the year 9999
        return None


def _months_later(local: datetime, months: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    if year > _LAST_YEAR:
        raise OverflowError
    last = monthrange(year, month + 1)[1]
    if local.day <= last:
        return local.replace(year=year, month=month + 1)
    midnight = local.replace(year=year, month=month + 1, day=last, hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1)


def expiry(rule: Rule, *, at: datetime, finished: datetime, timezone: str) -> datetime | None:
    """The earliest instant at which `rule` lets a backup of `at` go, in UTC; None: never, or that depends on others.

    Counted fields (`keep_last`, `keep_daily` …) and everything that protects a backup may keep it longer.
    """
    until = kept_until(at, rule.keep_within, timezone) if rule.keep_within else None
    return max(until, finished.astimezone(UTC) + rule.grace) if until else None


"""The kind that has no bundle: its partitions were checked when they were written, so it is as good as verified."""


HEAD = "the next incremental backup goes on from it"
"""Why the newest automatic backup of a business stays."""


ALONE = "no backup that stays has all of its tables"
"""Why a backup stays that nothing stands in for."""


@dataclass(frozen=True)
class RetentionBasis:
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
    """The backups that one rule counts together, in the order they came.

    Every backup of a business is all of it, once its chain is added: full and incremental ones count as one kind.
    """
    found: dict[tuple[Scope, Kind, Trigger], list[Attempt]] = {}
    for row in good:
        kind = Kind.FULL if row.kind is Kind.INCREMENTAL else row.kind
        found.setdefault((row.scope, kind, row.type), []).append(row)
    return list(found.values())


def counts(row: Attempt, basis: RetentionBasis) -> bool:
    """Whether a backup counts as one: not when its verification failed, it is broken, or its clock was wrong."""
    return not has_failed(row.verification) and row.backup_id not in basis.broken and taken_at(row) <= basis.now


def floor(group: Sequence[Attempt], rule: Rule, basis: RetentionBasis, kept: set[str]) -> Sequence[Attempt]:
    """The newest of those that nothing keeps, as many as `min_keep` lacks."""
    counted = [row for row in group if counts(row, basis)]
    spare = [row for row in counted if row.backup_id not in kept]
    return spare[: max(0, rule.min_keep - (len(counted) - len(spare)))]


def asked_for(group: Sequence[Attempt], rule: Rule, basis: RetentionBasis) -> Iterator[tuple[str, str]]:
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


def _within(row: Attempt, within: str, basis: RetentionBasis) -> bool:
    until = kept_until(taken_at(row), within, basis.timezone)
    return until is None or basis.now < until


def let_go(row: Attempt, basis: RetentionBasis) -> str:
    """Why no rule keeps the backup."""
    rule = basis.retention.of(row.type)
    counted = [name for name in ("keep_last", *_PERIODS) if getattr(rule, name)]
    parts = []
    if rule.keep_within and (until := kept_until(taken_at(row), rule.keep_within, basis.timezone)):
        parts.append(f"keep_within: {rule.keep_within} were over at {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    if has_failed(row.verification):
        parts.append("its verification failed, so it counts for no other rule")
    elif counted:
        parts.append(f"{', '.join(counted)} {'ask' if len(counted) > 1 else 'asks'} for others")
    return "; ".join(parts) or "no rule asks for it"


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


def plan_retention(rows: Sequence[Attempt], basis: RetentionBasis) -> tuple[Verdict, ...]:
    """A verdict for each good row of a catalog, newest first; rows of any other status are no backups.

    A backup is kept when a rule of its type asks for it, when it must not be removed (see `objections`), or when one
    that is kept goes on from it. Of a business, the newest automatic one is kept: the next tick goes on from it.
    """
    good = _newest_first(rows)
    chains = Chains(good, basis.broken)
    basis = replace(basis, broken=chains.broken())
    reasons = {row.backup_id: list(_guards(at, good, basis)) for at, row in enumerate(good)}
    for group in groups(good):
        rule = basis.retention.of(group[0].type)
        for backup_id, reason in asked_for(group, rule, basis):
            reasons[backup_id].append(reason)
        for row in floor(group, rule, basis, {backup_id for backup_id, found in reasons.items() if found}):
            reasons[row.backup_id].append(f"min_keep: {rule.min_keep} {row.type} backups always stay")
    for backup_id in chains.heads():
        reasons[backup_id].append(HEAD)
    for backup_id, kept in chains.needs(row for row in good if reasons[row.backup_id]).items():
        reasons[backup_id].append(f"{kept} goes on from it")
    return tuple(_verdict(row, reasons[row.backup_id], basis) for row in good)


def objections(wanted: Attempt, rows: Sequence[Attempt], basis: RetentionBasis) -> tuple[str, ...]:
    """Why `wanted`, one of `rows`, must not be removed, whoever asks: none when it may be.

    It is held; something is at it; it is younger than the grace; it is the newest good one of its kind; the one that
    comes after it is not verified; another one goes on from it, or the next one will; or fewer than `min_keep` would be
    left. One of the future, which a wrong clock has dated, has no age: it may go as soon as there is another one.
    """
    good = _newest_first(rows)
    chains = Chains(good, basis.broken)
    basis = replace(basis, broken=chains.broken())
    at = next((at for at, row in enumerate(good) if row.backup_id == wanted.backup_id), None)
    if at is None:
        return ()
    rule = basis.retention.of(wanted.type)
    group = next(group for group in groups(good) if good[at] in group)
    left = [row for row in group if row != good[at] and counts(row, basis)]
    if is_future(taken_at(good[at]), basis.now):
        others = [row for row in good if counts(row, basis) and (row.kind, row.scope) == (wanted.kind, wanted.scope)]
        only = () if others else ("the only good backup",)
        return (*_claimed(good[at], basis), *only, *_chained(wanted, good, chains))
    reasons = [*_guards(at, good, basis), *_chained(wanted, good, chains)]
    if counts(good[at], basis) and len(left) < rule.min_keep:
        reasons.append(f"min_keep: {rule.min_keep} {wanted.type} backups always stay, and {len(left)} would be left")
    return tuple(reasons)


def _chained(wanted: Attempt, good: Sequence[Attempt], chains: Chains) -> Iterator[str]:
    """What goes on from a backup, or will."""
    following = [row for row in good if wanted.backup_id in {link.backup_id for link in chains.of(row).links[1:]}]
    if following:
        yield f"later backups of its business go on from it: {len(following)}, up to {following[0].backup_id}"
    if wanted.backup_id in chains.heads():
        yield HEAD


def grace_until(row: Attempt, basis: RetentionBasis) -> datetime | None:
    """Until when the backup stays because it is so young; None when it is older than the grace."""
    until = (row.finished_at or row.started_at) + basis.retention.of(row.type).grace
    return until if until > basis.now else None


class StandIns:
    """Of `kept` those that stand in for a backup once it is gone; found by their order, however many ask."""

    def __init__(self, kept: Sequence[Attempt], basis: RetentionBasis) -> None:
        newest_first = _newest_first(kept)
        self._chains = Chains(newest_first, basis.broken)
        self._basis = replace(basis, broken=self._chains.broken())
        self._oldest_first = newest_first[::-1]
        self._orders = [_order(row) for row in self._oldest_first]

    def of(self, wanted: Attempt) -> Iterator[Attempt]:
        """Those of one backup, the nearest first, of a business's the newest first; looked for as they are taken.

        Of a business there are hundreds, each as good as the other: so the same few are looked at for all of them.
        """
        places = range(bisect_right(self._orders, _order(wanted)), len(self._oldest_first))
        for place in places if wanted.scope.business is None else reversed(places):
            if _stands_in(row := self._oldest_first[place], wanted, self._basis):
                yield row

    def needed(self, row: Attempt) -> Sequence[Attempt]:
        """What one of them is restored from: itself, and all that it goes on from."""
        return self._chains.of(row).links

    def any_of(self, wanted: Attempt) -> bool:
        """Whether a backup has one."""
        return next(self.of(wanted), None) is not None


def expires_at(row: Attempt, basis: RetentionBasis) -> datetime | None:
    """The earliest instant at which the rules let the backup go; see `retention.expiry`."""
    rule = basis.retention.of(row.type)
    return expiry(rule, at=taken_at(row), finished=row.finished_at or row.started_at, timezone=basis.timezone)


def _newest_first(rows: Sequence[Attempt]) -> list[Attempt]:
    good = (row for row in rows if row.status.good)
    return sorted(good, key=_order, reverse=True)


def _order(row: Attempt) -> tuple[datetime, str]:
    return taken_at(row), row.backup_id


def _verdict(row: Attempt, reasons: Sequence[str], basis: RetentionBasis) -> Verdict:
    if reasons:
        return Verdict(row, removed=False, reasons=tuple(reasons), expires_at=expires_at(row, basis))
    return Verdict(row, removed=True, reasons=(let_go(row, basis),), expires_at=expires_at(row, basis))


def _guards(at: int, good: Sequence[Attempt], basis: RetentionBasis) -> Iterator[str]:
    """Why the backup must not be removed, whatever the rules say. The floor is not among them: it depends on others."""
    row = good[at]
    yield from _claimed(row, basis)
    if taken_at(row) > basis.now:
        yield f"taken at {taken_at(row):%Y-%m-%d %H:%M} UTC, which is yet to come: check the clocks"
    if (until := grace_until(row, basis)) is not None:
        minutes = basis.retention.of(row.type).grace.total_seconds() / 60
        yield f"younger than the grace of {minutes:g} minutes: it stays until {until:%Y-%m-%d %H:%M} UTC"
    nearest_first = (good[place] for place in range(at - 1, -1, -1))  # no copy: there may be thousands
    successors = (newer for newer in nearest_first if _stands_in(newer, row, basis))
    successor = next(successors, None)
    if row.scope.business is not None and successor is not None and not _proven(successor):
        # of a business any later one will do: else what waits for one that goes would only go with the next prune
        successor = next(filter(_proven, successors), successor)
    if successor is None:
        yield "the newest good backup" if row.kind in OF_BUSINESSES else "the newest good backup of its tables"
        lost = next((newer for newer in good[:at] if replaces(newer, row, basis)), None)
        if lost is not None:
            yield f"{lost.backup_id}, which comes after it, is no good backup: {basis.broken[lost.backup_id]}"
    elif not _proven(successor):
        yield f"{successor.backup_id}, which comes after it, is not verified"


def _claimed(row: Attempt, basis: RetentionBasis) -> Iterator[str]:
    """Who needs the backup."""
    if row.hold is not None and row.hold.lasts(basis.now):
        yield str(row.hold)
    if row.backup_id in basis.claims:
        yield basis.claims[row.backup_id]


def _stands_in(newer: Attempt, row: Attempt, basis: RetentionBasis) -> bool:
    return newer.backup_id not in basis.broken and replaces(newer, row, basis)


def replaces(newer: Attempt, row: Attempt, basis: RetentionBasis) -> bool:
    """Whether people who lose `row` still have the later `newer`, if it is good: it has all of the tables."""
    if newer.scope != row.scope or taken_at(newer) > basis.now:
        return False
    if Kind.INCREMENTAL in {newer.kind, row.kind}:
        return newer.kind in OF_BUSINESSES and row.kind in OF_BUSINESSES
    if row.kind is Kind.FULL:
        return newer.kind is Kind.FULL
    if row.kind.bundled and not newer.kind.bundled:
        return False
    return _tables(newer) >= _tables(row)


def _tables(row: Attempt) -> frozenset[str]:
    return frozenset(row.table_counts or row.tables_wanted)


def _proven(row: Attempt) -> bool:
    sound = depth_of(row.verification) >= Level.BYTES and not has_failed(row.verification)
    return not row.kind.bundled or sound
