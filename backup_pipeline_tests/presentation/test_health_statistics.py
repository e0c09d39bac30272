"""Statistics as people see them: facts, then a row for each table, the same in a terminal and on a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import Growth
from backup_pipeline.operations.health import catalog_statistics
from backup_pipeline.presentation import text_of
from backup_pipeline.presentation.health import per_day, statistics_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.core.entries import AT
from backup_pipeline_tests.core.test_statistics import days
from backup_pipeline_tests.presentation.drawing import in_terminal

STATISTICS = catalog_statistics(days(10), Scope("isp"), None, now=AT + timedelta(days=10), days=90)


def test_a_page_of_markdown_has_a_line_for_each_table() -> None:
    text = markdown(statistics_document(STATISTICS))
    assert "| orders | 1,900 | +100 | 5.0 kB | 0 bytes |" in text
    assert "| Success rate | 100.0% |" in text
    assert "| In 30 days |" in text


def test_a_terminal_shows_the_same() -> None:
    lines = in_terminal(statistics_document(STATISTICS)).splitlines()
    assert lines[0] == "isp"
    assert ["orders", "1,900", "+100", "5.0", "kB", "0", "bytes"] in [row.split() for row in lines]
    assert ["Success", "rate", "100.0%"] in [row.split() for row in lines]


def test_of_very_many_tables_the_rest_is_counted() -> None:
    many = replace(STATISTICS, tables={f"t{n}": Growth(n, None, None, None) for n in range(33)})
    assert "and 3 more tables" in markdown(statistics_document(many, most=30))
    assert "more tables" not in markdown(statistics_document(many))
    assert "Table" not in markdown(statistics_document(replace(STATISTICS, tables={})))


@pytest.mark.parametrize(
    ("growth", "in_bytes", "text"),
    [(None, False, ""), (-3.5, False, "-3.5"), (120.0, False, "+120"), (1_200_000, True, "+1.2 MB")],
)
def test_growth_reads_well(growth: float | None, in_bytes: bool, text: str) -> None:
    assert text_of(per_day(growth, in_bytes=in_bytes)) == text
