"""The rules of retention, as a catalog declares them: what is kept, by type of backup, and when the clean-up runs."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from backup_pipeline.core import catalog_rules

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

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

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

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    automatic: Rule = Rule(keep_within="30 days")
    manual: ManualRule = ManualRule(keep_within=FOREVER)
    schedule: Annotated[str, AfterValidator(catalog_rules.cron)] | None = "0 3 * * 0"

    def of(self, how: str) -> Rule:
        """The rule of a type of backup. One of an unknown type was made by somebody, and is kept as such."""
        return self.automatic if how == "automatic" else self.manual

    @property
    def grace(self) -> timedelta:
        """The age below which nothing at all is removed, be it a backup or not."""
        return max(self.automatic.grace, self.manual.grace)


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
