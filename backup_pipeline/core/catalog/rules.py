"""Where a sheet column's values come from: a column, a chain of foreign keys, or the rows that point back here.

name                                    a column of the table itself
area_id.name                            through the foreign key of `area_id`, the `name` found there
customer_id.area_id.name                the same, twice
mikrotik_users[customer_id].username    the rows of `mikrotik_users` whose `customer_id` is this row's key
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_core import PydanticCustomError

from backup_pipeline.core.names import (
    FORBIDDEN_IN_FILE_NAMES,
    LONGEST_FILE_NAME,
    bundle_path,
    local_name,
    table_folder,
    windows_device,
)
from backup_pipeline.core.relations import split_reference, split_relation
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import acts

_PLAIN = r"(?:[A-Za-z_]|[^\x00-\x7f\s])(?:[A-Za-z0-9_$]|[^\x00-\x7f\s])*"  # as PostgreSQL: Bangla needs no quotes
_NAME = rf'(?:{_PLAIN}|"(?:[^"]|"")+")'
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*")
_BACK = re.compile(rf"(?P<relation>{_NAME}(?:\.{_NAME})?)\[(?P<column>{_NAME})\]\.(?P<value>{_NAME})")
GRAMMAR = "`column`, `fk_column.column` (through a foreign key, also several times), or `relation[fk_column].column`"


@dataclass(frozen=True)
class Through:
    """The value of `column`, found by following the foreign keys of `keys` one by one (none: the table's own)."""

    keys: tuple[str, ...]
    column: str


@dataclass(frozen=True)
class Back:
    """The values of `column` in the rows of `relation` whose `key` equals this row's key, joined with `; `."""

    relation: str
    key: str
    column: str


SheetSource = Through | Back


def parse_sheet_source(text: str) -> SheetSource:
    """The source written as `text`; ValueError, saying what is allowed, when it is none."""
    if match := _BACK.fullmatch(text):
        return Back(match["relation"], _bare(match["column"]), _bare(match["value"]))
    if _PATH.fullmatch(text):
        *keys, column = (_bare(name) for name in re.findall(_NAME, text))
        return Through(tuple(keys), column)
    message = f"{text!r} is not a sheet source. Allowed: {GRAMMAR}. Put odd names in double quotes."
    raise ValueError(message)


def quote_name(name: str) -> str:
    """`name` as the grammar wants it: in double quotes when it is not a plain word."""
    return name if re.fullmatch(_PLAIN, name) else '"' + name.replace('"', '""') + '"'


def _bare(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


BUNDLE = "bundle"
"""The asset of the bundle; no table may have this name."""

_ANY_TIME = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)  # what a template looks like when it is filled in
CRON_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
"""The fields of a cron line, in order, with the least and the most each may be."""
_CRON_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_CRON_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]+))?")


def contradiction(loc: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """The error of fields that do not go together; `at` leads to the one to correct, from the model that checks."""
    return PydanticCustomError("contradiction", "{message}", {"message": message, "at": loc})


def catalog_name(text: str) -> str:
    """A catalog's name is a folder in the store and a group in Dagster."""
    return Scope(text).catalog


def table_name(text: str) -> str:
    """A table's name is a folder in the store and an asset in Dagster."""
    if text == BUNDLE:
        message = f"no table may be named {BUNDLE!r}: it is the asset of the bundle. Name it otherwise, with `relation`"
        raise ValueError(message)
    return table_folder(text)


def timezone_name(text: str) -> str:
    """A name of the IANA time zone database."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"{text!r} is not a timezone. Use an IANA name such as Asia/Dhaka"
        raise ValueError(message) from None
    return text


def cron(text: str) -> str:
    """Five fields: minute, hour, day, month, weekday."""
    fields = text.lower().split()
    if len(fields) != len(CRON_FIELDS):
        message = f"{text!r} is not a cron line of five fields. Daily at midnight is `0 0 * * *`"
        raise ValueError(message)
    for (name, (least, most)), field in zip(CRON_FIELDS.items(), fields, strict=True):
        if not all(_is_cron_part(part, name) for part in field.split(",")):
            message = f"{text!r} is not a cron line: the {name} {field!r} is not within {least}-{most}"
            raise ValueError(message)
    return text


def day(text: str) -> str:
    """A date, written YYYY-MM-DD."""
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    message = f"{text!r} is not a date. Write it as 2026-01-31"
    raise ValueError(message)


def owner(text: str) -> str:
    """A person or a team, as Dagster knows them."""
    return _matching(
        text, r"team:\S+|[^@\s]+@[^@\s]+\.[A-Za-z]{2,}", "an owner", "an e-mail address, or `team:` and a name"
    )


def relation(text: str) -> str:
    """A relation: `name` or `schema.name`."""
    split_relation(text)
    return text


def reference(text: str) -> str:
    """A column of a relation: `table.column`."""
    split_reference(text)
    return text


def sheet_source(text: str) -> str:
    """What a sheet column shows (see `sheet_source`)."""
    parse_sheet_source(text)
    return text


def store_folder(text: str) -> str:
    """A folder of the store, without slashes at its ends: `/backups/comprehensive/` is `backups/comprehensive`."""
    folder = text.strip("/")
    if not folder:
        message = f"{text!r} is not a folder of the store: it would be the whole of it"
        raise ValueError(message)
    return bundle_path(folder)


def zip_name(text: str) -> str:
    """A template (strftime) of a bundle's file name."""
    return _file_name(text, ".zip")


def csv_name(text: str) -> str:
    """A template (strftime) of a sheet's file name."""
    return _file_name(text, ".csv")


def _file_name(text: str, ending: str) -> str:
    filled = local_name(text, _ANY_TIME, "UTC")
    bad = [letter for letter in filled if letter in FORBIDDEN_IN_FILE_NAMES or acts(letter)]
    if bad:
        message = f"{text!r} is not a file name: filled in it is {filled!r}, and {bad[0]!r} may not stand in one"
        raise ValueError(message)
    if windows_device(filled) or len(filled.encode()) > LONGEST_FILE_NAME:
        why = "Windows takes it for a device" if windows_device(filled) else f"it has over {LONGEST_FILE_NAME} bytes"
        message = f"{text!r} is not a file name: filled in it is {filled!r}, and {why}"
        raise ValueError(message)
    if not filled.lower().endswith(ending) or not filled[: -len(ending)].strip(". "):
        message = f"{text!r} is not a file name that ends in {ending}"
        raise ValueError(message)
    return text


def _matching(text: str, pattern: str, kind: str, allowed: str) -> str:
    if not re.fullmatch(pattern, text):
        message = f"{text!r} is not {kind}: {allowed}"
        raise ValueError(message)
    return text


def _is_cron_part(part: str, field: str) -> bool:
    match = _CRON_PART.fullmatch(part)
    if match is None or match["step"] == "0":
        return False
    least, most = CRON_FIELDS[field]
    given = [cron_number(name, field) for name in (match["first"], match["last"]) if name]
    return given == sorted(given) and all(least <= number <= most for number in given)


def cron_number(name: str, field: str) -> int:
    """The number of a value in a cron field, given as such or by its English name; -1 when it is neither."""
    names = _CRON_NAMES.get(field, ())
    if name in names:
        return names.index(name) + CRON_FIELDS[field][0]
    return int(name) if name.isascii() and name.isdigit() else -1


class AnomalyKind(StrEnum):
    """What was noticed, against the earlier good backups."""

    ROWS = "rows"
    BYTES = "bytes"
    EMPTIED = "emptied"
    NEW_COLUMN = "new_column"
    VANISHED_COLUMN = "vanished_column"
    CHANGED_TYPE = "changed_type"
    DUPLICATE_KEYS = "duplicate_keys"
    ORPHANS = "orphans"
    NEW_TABLE = "new_table"
    VANISHED_TABLE = "vanished_table"


SIZES = frozenset({AnomalyKind.ROWS, AnomalyKind.BYTES, AnomalyKind.EMPTIED})
"""Those that compare how much there is."""
ADDITIONS = frozenset({AnomalyKind.NEW_COLUMN, AnomalyKind.NEW_TABLE})
"""Those by which nothing can have been lost."""
