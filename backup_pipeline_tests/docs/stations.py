"""The way of a table as docs/architecture.md draws it: a line a function, with its file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "backup_pipeline"
PAGE = PACKAGE.parent / "docs" / "architecture.md"
_STATION = re.compile(r"^ *(\d+|\|)  ([a-z_/]+\.py) +(\w+) ", re.MULTILINE)


class Station(NamedTuple):
    """A function of the package that a table passes."""

    file: str
    function: str


def section(title: str) -> str:
    """The text of the section `title` of the page."""
    page = PAGE.read_text(encoding="utf-8")
    return page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def stations(title: str) -> list[Station]:
    """The stations that the drawings of a section number, in their order."""
    return [Station(file, function) for mark, file, function in _STATION.findall(section(title)) if mark != "|"]


def asides(title: str) -> list[Station]:
    """The functions beside the way: those of lines that begin with a bar instead of a number."""
    return [Station(file, function) for mark, file, function in _STATION.findall(section(title)) if mark == "|"]
