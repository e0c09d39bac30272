"""What commands print: results on stdout, everything else on stderr, so that a result can be piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import IntEnum

from rich.console import Console

_WIDE = 200
"""Columns where nobody watches: a line of a table stays one line for grep."""


def result_console() -> Console:
    """Where results go."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def note_console() -> Console:
    """Where notes and progress go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_line(text: str) -> None:
    """One line of the result, exactly as it is."""
    sys.stdout.write(text + "\n")


def print_json(value: object) -> None:
    """The result as JSON: dataclasses as objects, times in ISO 8601 (UTC)."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=1) + "\n")


def plain(value: object) -> object:
    """`value` made of what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, IntEnum):
        return value.value
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def moment(at: datetime | None) -> str:
    """A time for people, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
