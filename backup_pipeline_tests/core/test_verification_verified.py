"""What a ledger row keeps of verifications, and what a report says of how far it got."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup_pipeline.core.verification import (
    Finding,
    Level,
    LevelReport,
    Verified,
    VerifyReport,
    age,
    newly_verified,
    passed,
    told,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=3)


def good(level: Level) -> LevelReport:
    return LevelReport(level, ("looked",))


def part(level: Level, why: str = "sample 10%") -> LevelReport:
    return LevelReport(level, ("looked",), ("left",), why)


def bad(level: Level) -> LevelReport:
    return LevelReport(level, ("looked",), findings=(Finding(level, "it", "is broken."),))


def report(*levels: LevelReport, wanted: Level = Level.CONTENTS, sample: str | None = None) -> VerifyReport:
    return VerifyReport("b1", "here", wanted, levels, bytes=1, seconds=0.1, sample=sample)


L0, L1, L2, L3 = Level.PRESENT, Level.BYTES, Level.CONTENTS, Level.REFERENCES


@pytest.mark.parametrize(
    ("levels", "level", "reached"),
    [
        ((good(L0), good(L1), good(L2)), L2, "level 2 (contents)"),
        ((good(L0), bad(L1), good(L2)), L0, "level 0 (present)"),
        ((bad(L0),), None, "no level"),
        (
            (good(L0), part(L1, "stopped after 0:30:00")),
            L0,
            "level 0 (present), and a part of level 1 (bytes) (stopped",
        ),
        ((good(L0), good(L1), part(L2, "stopped"), good(L3)), L1, "level 1 (bytes), and a part of level 2"),
    ],
)
def test_the_level_is_the_deepest_one_in_full_and_without_a_finding(
    levels: tuple[LevelReport, ...], level: Level | None, reached: str
) -> None:
    assert report(*levels).level == level
    assert report(*levels).reached.startswith(reached)


def test_a_sample_is_told_as_one_and_is_no_level() -> None:
    sampled = report(good(L0), part(L1), wanted=L1, sample="sample 10%")
    assert (sampled.reached, sampled.level, sampled.whole) == ("level 1 (sample 10%)", L0, False)
    assert sampled.as_json()["reached"] == "level 1 (sample 10%)"


@pytest.mark.parametrize(
    ("before", "seen", "kept"),
    [
        (Verified(None, None), (good(L0),), "0"),
        (Verified("1", BEFORE), (good(L0), good(L1), good(L2)), "2"),
        (Verified("2", BEFORE), (good(L0), good(L1), good(L2)), "2"),
        (Verified("2", BEFORE), (good(L0), good(L1)), ...),
        (Verified("1", BEFORE), (good(L0), part(L1), part(L2)), ...),
        (Verified("2", BEFORE), (good(L0), bad(L1), good(L2)), "0 FAILED"),
        (Verified("3", BEFORE), (bad(L0),), None),
        (Verified("1", BEFORE), (good(L0), part(L1), bad(L2)), "0 FAILED"),
        (Verified("1 FAILED", BEFORE), (good(L0), good(L1)), ...),
        (Verified("1 FAILED", BEFORE), (good(L0), good(L1), good(L2)), "2"),
        (Verified(None, BEFORE), (good(L0),), "0"),
        (Verified("4", BEFORE), (good(L0), good(L1), good(L2), good(L3)), ...),
    ],
)
def test_what_the_row_keeps(before: Verified, seen: tuple[LevelReport, ...], kept: object) -> None:
    """(...: the row stays as it is.)"""
    wanted = None if kept is ... else Verified(kept, NOW)  # type: ignore[arg-type]
    assert newly_verified(before, report(*seen), NOW) == wanted


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Verified(None, None), ""),
        (passed(L2, BEFORE), "2, 3 days ago"),
        (Verified(None, BEFORE), "FAILED 2026-11-18"),
        (Verified("1 FAILED", BEFORE), "FAILED 2026-11-18 after level 1"),
    ],
)
def test_what_people_read(row: Verified, text: str) -> None:
    assert told(row, NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (59, "just now"), (60, "1 minute ago"), (7199, "1 hour ago"), (86_400, "1 day ago")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_every_level_says_what_it_proves_and_what_it_does_not() -> None:
    said = [sentence for level in Level for sentence in (level.proves, level.leaves_open)]
    assert len(set(said)) == 10
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)
