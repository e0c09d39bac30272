"""What a catalog declares of a database that many businesses share: the registry, how often, how full, how much room.

`businesses:` stands once in the file; each table then says with `business` how a row finds the business that it is of:

business_id                a column of the table with the registry's key
sale_id.business_id        the same, of the row that `sale_id` points to (the paths that sheets have)
shared                     of no business: in no business's backup, and never written by its restore
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backup_pipeline.core.catalog import rules
from backup_pipeline.core.catalog.rules import Through, parse_sheet_source
from backup_pipeline.core.retention import Rule

SHARED = "shared"
_SECONDS = {"s": 1, "second": 1, "minute": 60, "hour": 3600}
_DURATION = re.compile(r"([1-9][0-9]{0,4}) (s|(?:second|minute|hour)s?)")
_BYTES = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SIZE = re.compile(r"([1-9][0-9]{0,5}) (kB|MB|GB|TB)")
_MINUTES_OF_AN_HOUR = 60
USUAL_RULE = Rule(keep_within="48 hours", keep_hourly=168, keep_daily=30, keep_monthly=12)
"""What stays of up to 288 backups a day of each business, and with each of these the chain that it needs."""

ColumnName = Annotated[str, StringConstraints(strip_whitespace=False)]


def parse_duration(text: str) -> timedelta:
    """The time written as `240 s`, `5 minutes`, `24 hours`; ValueError when it is none."""
    if match := _DURATION.fullmatch(text):
        unit = match[2] if match[2] == "s" else match[2].removesuffix("s")
        return timedelta(seconds=int(match[1]) * _SECONDS[unit])
    message = f"{text!r} is not a time. Write a number and s, minutes or hours, such as 5 minutes"
    raise ValueError(message)


def parse_size(text: str) -> int:
    """The bytes written as `50 MB`, thousands as the sources count them; ValueError when it is none."""
    if match := _SIZE.fullmatch(text):
        return int(match[1]) * _BYTES[match[2]]
    message = f"{text!r} is not a size. Write a number and kB, MB, GB or TB, such as 50 MB"
    raise ValueError(message)


def parse_business(text: str) -> Through | None:
    """The path written as `text`, None for `shared`; ValueError for what leads to many rows, or is no path."""
    if text == SHARED:
        return None
    source = parse_sheet_source(text)
    if not isinstance(source, Through):
        message = f"{text!r} leads to many rows. A row is of one business: `column`, `fk_column.column`, or {SHARED}"
        raise ValueError(message)  # noqa: TRY004 - a text is judged, not a type
    return source


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a text, or with nothing."""

    column: str
    operator: Literal["=", "<>", "is null", "is not null", "true", "false"]
    value: str | None = None


_NAME = r'(?P<column>[A-Za-z_][A-Za-z0-9_]*|"[^"]+")'
_COMPARED = re.compile(rf"{_NAME}\s*(?P<operator>=|<>)\s*'(?P<value>[^']*)'", re.IGNORECASE)
_NULL = re.compile(rf"{_NAME}\s+is\s+(?P<no>not\s+)?null", re.IGNORECASE)
_BOOLEAN = re.compile(rf"(?P<no>not\s+)?{_NAME}", re.IGNORECASE)


def parse_active(text: str) -> Sequence[Condition]:
    """The comparisons, all of which hold for an active business; ValueError, saying what is allowed, for anything else.

    No SQL of the catalog's author reaches the database: what is compared with what is all that is taken from it.
    """
    return tuple(_condition(part.strip(), text) for part in re.split(r"\s+and\s+", text, flags=re.IGNORECASE))


def _condition(part: str, text: str) -> Condition:
    if match := _COMPARED.fullmatch(part):
        operator = cast("Literal['=', '<>']", match["operator"])
        return Condition(match["column"].strip('"'), operator, match["value"])
    if match := _NULL.fullmatch(part):
        return Condition(match["column"].strip('"'), "is not null" if match["no"] else "is null")
    if match := _BOOLEAN.fullmatch(part):
        return Condition(match["column"].strip('"'), "false" if match["no"] else "true")
    allowed = "`column = 'text'`, `column <> 'text'`, `column is null`, `column`, `not column`, joined with `and`"
    message = f"{text!r} is not a condition. Allowed: {allowed}"
    raise ValueError(message)


def checked_by(parse: Callable[[str], object]) -> AfterValidator:
    """The text as it was written, once it was parsed."""

    def checked(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(checked)


Duration = Annotated[str, checked_by(parse_duration)]
Size = Annotated[str, checked_by(parse_size)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, defer_build=True)


class FullRule(_Part):
    """When a business gets everything again, instead of what changed: after this time, or so many in a chain."""

    every: Duration = "24 hours"
    chain: int = Field(default=24, ge=0, le=24)


class Quota(_Part):
    """How much room one business may take before people are told: one file, and all that is stored of it."""

    file: Size = "50 MB"
    total: Size = "5 GB"


class Businesses(_Part):
    """The businesses of a database: where they stand, and how they are backed up."""

    registry: Annotated[str, AfterValidator(rules.relation)] = Field(description="the table with a row for each")
    key: ColumnName = Field(default="id", description="its column that rows of other tables lead to")
    name: ColumnName | None = Field(default=None, description="its column by which people know a business")
    active: Annotated[str, checked_by(parse_active)] | None = Field(
        default=None, description="which businesses are backed up; without it all"
    )
    every: Duration = "5 minutes"
    full: FullRule = FullRule()
    deadline: Duration = "240 s"
    quota: Quota = Quota()
    runs: int = Field(
        default=1, ge=1, le=64, description="how many runs of Dagster make the backups of a tick together"
    )
    retention: Rule = Field(default=USUAL_RULE, description="what stays of what ticks make of each")

    @model_validator(mode="after")
    def _ticks_fit_into_an_hour(self) -> Businesses:
        seconds = self.interval.total_seconds()
        if seconds % 60 or _MINUTES_OF_AN_HOUR % (seconds // 60):
            message = f"{self.every!r} does not divide an hour. Use a whole number of minutes, such as 5 or 15"
            raise rules.contradiction(("every",), message)
        if parse_duration(self.deadline) >= self.interval:
            message = f"{self.deadline!r} is not before the next tick, which comes after {self.every}. Give it less"
            raise rules.contradiction(("deadline",), message)
        return self

    @property
    def interval(self) -> timedelta:
        """The time from one tick to the next."""
        return parse_duration(self.every)

    @property
    def cron(self) -> str:
        """The cron line of the ticks."""
        minutes = int(self.interval.total_seconds()) // 60
        return "0 * * * *" if minutes == _MINUTES_OF_AN_HOUR else f"*/{minutes} * * * *"

    @property
    def conditions(self) -> Sequence[Condition]:
        """What holds for a business that is backed up."""
        return parse_active(self.active) if self.active else ()
