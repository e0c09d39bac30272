"""The calendar as people see it: a row for each table, a letter for each day, a legend."""

from __future__ import annotations

from datetime import date, timedelta

from backup_pipeline.core.due import Calendar, Day
from backup_pipeline.presentation.health import calendar_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.presentation.drawing import in_terminal

FIRST = date(2026, 11, 20)


def grid(*days: Day) -> Calendar:
    """A calendar of two tables that fared alike."""
    dates = tuple(FIRST + timedelta(days=number) for number in range(len(days)))
    return Calendar("shop", dates, (("goods", days), ("sold", days)))


def test_as_markdown_it_is_a_table_with_a_legend() -> None:
    text = markdown(calendar_document(grid(Day.MISSED, Day.GOOD)))
    assert text.splitlines()[:4] == [
        "| 2026-11-20 to 2026-11-21 | 20 | 21 |",
        "|---|---|---|",
        "| goods | **M** | G |",
        "| sold | **M** | G |",
    ]
    assert "- **M** missed: due, and not there" in text
    assert "verified:" not in text


def test_in_a_terminal_it_is_a_grid_with_the_same_legend() -> None:
    lines = in_terminal(calendar_document(grid(Day.VERIFIED, Day.MISSED))).splitlines()
    assert lines == [
        "shop, 2026-11-20 to 2026-11-21",
        "      20 21",
        "goods  V  M",
        "sold   V  M",
        "",
        f"V verified: {Day.VERIFIED.meaning}",
        "M missed: due, and not there",
    ]


def test_a_month_in_a_narrow_terminal_is_broken_into_parts() -> None:
    lines = in_terminal(calendar_document(grid(*[Day.GOOD] * 30)), width=40).splitlines()
    assert max(map(len, lines[:-1])) <= 40
    assert [row for row in lines if row.startswith("shop")] == [
        "shop, 2026-11-20 to 2026-11-30",
        "shop, 2026-12-01 to 2026-12-11",
        "shop, 2026-12-12 to 2026-12-19",
    ]
    assert sum(row.count("G") for row in lines if row.startswith("goods")) == 30
