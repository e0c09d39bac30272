"""How a list of backups looks in a terminal: a line each, or two facts above each other where it is narrow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.show import STATUS_STYLES, expires, marks, verified
from backup_pipeline.core.ledger import Attempt

_LAST = "Reason / error"
_BESIDE = (
    *(("ID (UTC)",), ("Catalog",), ("Kind",), ("Date",), ("Status",)),
    *(("Rows",), ("Size",), ("Verified",), ("Expires",), ("By",), ("Marks",), (_LAST,)),
)
_STACKED = (
    *(("ID (UTC)", "Verified", "Marks"), ("Catalog", "Kind", "Expires"), ("Date", "Status"), ("Rows", "Size")),
    ("By", _LAST),
)
_NUMBERS = {"Rows", "Size"}
_WHOLE = {"ID (UTC)", "Catalog", "Rows"}
"""Never wrapped, however narrow it is: what is copied, and what is compared."""

_NARROW = 180
"""Columns of a terminal below which facts are stacked."""
_LONGEST = 40
"""Letters of a reason or an error: more is cut."""


def backup_list(
    rows: Sequence[Attempt], width: int, now: datetime, copies: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """The table of `rows` for a terminal of `width` columns, seen `now`; ids are never cut or wrapped.

    `copies` says of a backup what to tell of its copy in the second store.
    """
    groups: Sequence[tuple[str, ...]] = _STACKED if width < _NARROW else _BESIDE
    if not any(expires(row, now) for row in rows):
        groups = [group for group in groups if group != ("Expires",)]
    table = Table(box=None, pad_edge=False)
    for group in groups:
        stays = group[0] in _WHOLE or (width >= _NARROW and group[0] != _LAST)
        justify: Literal["left", "right"] = "right" if group[0] in _NUMBERS else "left"
        table.add_column("\n".join(group), justify=justify, no_wrap=stays, overflow="fold")
    for row in rows:
        facts = _facts(row, now, copies.get(row.backup_id, ""))
        table.add_row(*(Text("\n").join(facts[name] for name in group) for group in groups))
    return table


def outcome_in_short(attempt: Attempt) -> str:
    """The first sentence of what went wrong; where nothing did, the reason that was given. At most 40 letters."""
    told = first_sentence(attempt.error_message) if attempt.error_message else " ".join(attempt.reason.split())
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1].rstrip() + "…"


def first_sentence(text: str) -> str:
    """The first sentence of `text`, which ends at a full stop before a space, or with the line."""
    line = text.strip().partition("\n")[0]
    return re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]


def _verified(row: Attempt, now: datetime) -> Text:
    """Level and age; of a failure the day alone, `show` says more."""
    whole = verified(row, now)
    return Text(whole.plain.partition(" after ")[0], style=whole.style)


def _facts(row: Attempt, now: datetime, copy: str) -> Mapping[str, Text]:
    return {
        "ID (UTC)": Text(row.backup_id),
        "Catalog": Text(row.catalog),
        "Kind": Text(row.kind),
        "Date": Text(row.partition_date.isoformat()),
        "Status": Text(row.status.replace("_", " "), style=STATUS_STYLES.get(row.status, "")),
        "Rows": Text(f"{row.record_count:,}" if row.record_count is not None else ""),
        "Size": Text(decimal(row.file_size_bytes) if row.file_size_bytes is not None else ""),
        "Verified": _verified(row, now),
        "Expires": expires(row, now),
        "By": Text(row.created_by),
        "Marks": Text(", ".join(mark for mark in (marks(row), copy) if mark)),
        _LAST: Text(outcome_in_short(row), style="red" if row.error_message else ""),
    }
