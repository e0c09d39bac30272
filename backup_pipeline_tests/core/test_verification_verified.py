"""What a ledger row keeps of verifications, and what a report says of how far it got."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup_pipeline.core.verification import (
    Finding,
    Level,
    LevelReport,
    Verification,
    VerifyReport,
    age,
    in_short,
    newly_verified,
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
        (None, (good(L0),), Verification(L0, NOW)),
        (Verification(L1, BEFORE), (good(L0), good(L1), good(L2)), Verification(L2, NOW)),
        (Verification(L2, BEFORE), (good(L0), good(L1), good(L2)), Verification(L2, NOW)),
        (Verification(L2, BEFORE), (good(L0), good(L1)), None),
        (Verification(L1, BEFORE), (good(L0), part(L1), part(L2)), None),
        (Verification(L2, BEFORE), (good(L0), bad(L1), good(L2)), Verification(L0, NOW, passed=False)),
        (Verification(L3, BEFORE), (bad(L0),), Verification(None, NOW, passed=False)),
        (Verification(L1, BEFORE), (good(L0), part(L1), bad(L2)), Verification(L0, NOW, passed=False)),
        (Verification(L1, BEFORE, passed=False), (good(L0), good(L1)), None),
        (Verification(L1, BEFORE, passed=False), (good(L0), good(L1), good(L2)), Verification(L2, NOW)),
        (Verification(None, BEFORE, passed=False), (good(L0),), Verification(L0, NOW)),
        (Verification(Level.RESTORED, BEFORE), (good(L0), good(L1), good(L2), good(L3)), None),
    ],
)
def test_what_the_row_keeps(
    before: Verification | None, seen: tuple[LevelReport, ...], kept: Verification | None
) -> None:
    """(None: the row stays as it is.)"""
    assert newly_verified(before, report(*seen), NOW) == kept


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (None, ""),
        (Verification(L2, BEFORE), "2, 3 days ago"),
        (Verification(None, BEFORE, passed=False), "FAILED 2026-11-18"),
        (Verification(L1, BEFORE, passed=False), "FAILED 2026-11-18 after level 1"),
    ],
)
def test_what_people_read(row: Verification | None, text: str) -> None:
    assert in_short(row, NOW) == text


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
