"""Samples: a share or a part of the tables, repeatable, and all parts together everything."""

from __future__ import annotations

import pytest

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.verification import parse_sample

TABLES = [f"table_{number}" for number in range(25)]


@pytest.mark.parametrize(("text", "count"), [("10%", 3), ("100%", 25), ("0.5%", 1), ("99.9%", 25), ("4%", 1)])
def test_a_share_is_rounded_up_so_that_it_is_never_nothing(text: str, count: int) -> None:
    chosen = parse_sample(text).chosen(TABLES, of="b1", seed="x")
    assert len(chosen) == count
    assert list(chosen) == [name for name in TABLES if name in chosen]


def test_a_share_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    sample = parse_sample("20%")
    first = sample.chosen(TABLES, of="b1", seed="2026-11-21")
    assert sample.chosen(TABLES, of="b1", seed="2026-11-21") == first
    assert sample.chosen(TABLES, of="b1", seed="2026-11-22") != first
    assert sample.chosen(TABLES, of="b2", seed="2026-11-21") != first


def test_a_larger_share_holds_the_smaller_one() -> None:
    small, large = (set(parse_sample(text).chosen(TABLES, of="b1", seed="s")) for text in ("10%", "50%"))
    assert small < large


@pytest.mark.parametrize("parts", [1, 2, 7, 30])
def test_all_parts_together_are_everything_once_whatever_the_seeds(parts: int) -> None:
    chosen = [
        name
        for part in range(1, parts + 1)
        for name in parse_sample(f"{part}/{parts}").chosen(TABLES, of="b1", seed=f"day {part}")
    ]
    assert sorted(chosen) == sorted(TABLES)


@pytest.mark.parametrize("text", ["", "10", "0%", "101%", "-1%", "0/3", "4/3", "1/0", "a%", "1/2/3", "10 %"])
def test_what_is_no_sample_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_sample(text)
    assert repr(text) in refused.value.what
    assert "10%" in refused.value.do


def test_it_is_told_as_it_was_asked_for() -> None:
    assert [str(parse_sample(text)) for text in ("10%", " 2/7 ")] == ["sample 10%", "sample 2/7"]
