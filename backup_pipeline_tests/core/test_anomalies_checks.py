"""Tests of the checks of an exported table, at the edges of their rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.anomalies import key_unique, row_count, shrinkage
from backup_pipeline.core.catalog.model import Shrinkage

HALF = Shrinkage(ratio=0.5, floor=100)


@pytest.mark.parametrize(("written", "counted", "passed"), [(0, 0, True), (7, 7, True), (6, 7, False), (8, 7, False)])
def test_the_row_count_must_be_exact_and_blocks(written: int, counted: int, passed: bool) -> None:
    check = row_count(written, counted)
    assert (check.passed, check.blocking) == (passed, True)
    assert check.numbers == {"written": written, "counted": counted}


def test_repeated_keys_fail_without_blocking() -> None:
    check = key_unique(("invoice_id", "line_no"), 1_234)
    assert (check.passed, check.blocking) == (False, False)
    assert check.message == "1,234 keys (invoice_id, line_no) stand more than once."


def test_unique_keys_and_no_key_pass() -> None:
    assert key_unique(("id",), 0).passed
    assert key_unique((), 0).passed


@pytest.mark.parametrize(
    ("before", "now", "passed"),
    [
        (1000, 500, True),  # exactly the ratio is not below it
        (1000, 499, False),
        (1000, 1000, True),
        (1000, 5000, True),
        (200, 99, False),  # 101 lost: one more than the floor
        (200, 100, True),
        (150, 50, True),  # exactly the floor lost
        (150, 49, False),
        (100, 0, True),  # small tables may be emptied
        (101, 0, False),
        (0, 0, True),
        (0, 10, True),
    ],
)
def test_shrinkage_needs_both_the_ratio_and_the_floor(before: int, now: int, passed: bool) -> None:
    check = shrinkage(now, before, HALF)
    assert (check.passed, check.blocking) == (passed, False)
    assert check.numbers == {"rows": now, "before": before, "lost": max(before - now, 0)}


def test_the_first_backup_has_nothing_to_compare_with() -> None:
    check = shrinkage(5, None, HALF)
    assert check.passed
    assert check.numbers == {"rows": 5}


def test_ratio_nought_allows_everything_and_one_nothing_beyond_the_floor() -> None:
    assert shrinkage(0, 10**6, Shrinkage(ratio=0, floor=0)).passed
    assert not shrinkage(10**6 - 1, 10**6, Shrinkage(ratio=1, floor=0)).passed


@given(hundredths=st.integers(0, 100), before=st.integers(0, 10**6).map(lambda n: n * 100))
def test_exactly_the_ratio_is_never_a_failure(hundredths: int, before: int) -> None:
    rule = Shrinkage(ratio=hundredths / 100, floor=0)
    least = before // 100 * hundredths
    assert shrinkage(least, before, rule).passed  # 0.55 of 100 is 55, though not in binary floating point
    assert least == 0 or not shrinkage(least - 1, before, rule).passed


def test_messages_give_the_numbers() -> None:
    assert shrinkage(1, 4000, HALF).message == "1 rows, 0% of the 4,000 of the last good backup."
