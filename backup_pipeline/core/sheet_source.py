"""Where a sheet column's values come from: a column, a chain of foreign keys, or the rows that point back here.

name                                    a column of the table itself
area_id.name                            through the foreign key of `area_id`, the `name` found there
customer_id.area_id.name                the same, twice
mikrotik_users[customer_id].username    the rows of `mikrotik_users` whose `customer_id` is this row's key
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
