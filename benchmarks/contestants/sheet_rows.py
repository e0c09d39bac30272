"""The rows that writers of workbooks are given: nine columns of the usual kinds, the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

NAMES = ("id", "name", "email", "amount", "ok", "at", "day", "note", "n")
Row = tuple[int, str, str, float, bool, datetime, date, str, int]
_MIDNIGHT, _NEW_YEAR = datetime(2026, 11, 21), date(2026, 1, 1)  # noqa: DTZ001  a spreadsheet's times have no zone


def rows(count: int) -> Iterator[Row]:
    """So many of them."""
    for n in range(count):
        at, day = _MIDNIGHT + timedelta(seconds=n), _NEW_YEAR + timedelta(days=n % 300)
        note = f"a text of some length, number {n}, with a comma"
        yield n, f"name {n}", f"customer{n}@example.com", 1.5 * n, n % 2 == 0, at, day, note, n * 7
