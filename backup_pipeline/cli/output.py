"""What commands print: results on stdout, everything else on stderr, so that a result can be piped."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import IntEnum
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from backup_pipeline.core.visible import acts, visible_lines

_NOT_PLAIN = re.compile(r"[^\n\x20-\x7e]")
_WIDE = 200
"""Columns where nobody watches: a line of a table stays one line for grep."""


class SafeConsole(Console):
    r"""A console for texts that others chose: they neither style themselves nor reach the terminal's own commands.

    What is printed has no markup and no emoji codes; styles are given by objects. Controls and marks that turn the
    direction of a text show as `\x1b`, `\u202e`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is shown, piece by piece; pieces that are not text, such as moves of the cursor, are rich's own."""
        for piece in super().render(renderable, options):
            clean = piece.text if piece.control else visible_lines(piece.text)
            yield piece if clean == piece.text else Segment(clean, piece.style)


def result_console() -> Console:
    """Where results go."""
    return SafeConsole(width=None if sys.stdout.isatty() else _WIDE)


def note_console() -> Console:
    """Where notes and progress go."""
    return SafeConsole(stderr=True, soft_wrap=True)


def print_line(text: str) -> None:
    """One line of the result, exactly as it is."""
    sys.stdout.write(text + "\n")


def print_json(value: object) -> None:
    """The result as JSON: dataclasses as objects, times in ISO 8601 (UTC)."""
    sys.stdout.write(json_text(plain(value), indent=1) + "\n")


def json_text(value: object, *, indent: int | None = None) -> str:
    r"""JSON in which letters of every script are as they are, and what could act on a terminal is `\u001b`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _NOT_PLAIN.sub(lambda found: json.dumps(found[0])[1:-1] if acts(found[0]) else found[0], text)


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
