"""What a business got at each scheduled time, where ticks, misses and gaps meet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_pipeline.core.businesses.strips import Slot, TickWindow, counts_of, last_due, strips
from backup_pipeline.core.businesses.ticks import BusinessMiss, Miss, Tick, TickStatus

FIVE = timedelta(minutes=5)
NEWEST = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
LONG_AGO = NEWEST - timedelta(days=9)


def tick(ago: int, status: TickStatus = TickStatus.SUCCESS, number: int = 1, **more: Any) -> Tick:
    """A tick so many times before the newest."""
    return Tick("retail", NEWEST - ago * FIVE, status, number, **more)


def counts(*ticks: Tick, before: bool = True, registered_at: datetime = LONG_AGO, **more: Any) -> Mapping[Slot, int]:
    made = strips(TickWindow(ticks, NEWEST, FIVE, known_before=before), {"a": registered_at}, **more)["a"]
    assert sum(each.count for each in made) == 288
    return counts_of(made)


def missed(of: str, outcome: Miss) -> tuple[BusinessMiss, ...]:
    return (BusinessMiss(of, outcome, "why"),)


@pytest.mark.parametrize(
    ("ticks", "slot"),
    [
        ([tick(0)], Slot.PROTECTED),
        ([tick(0, TickStatus.PARTIAL, misses=missed("b", Miss.FAILED))], Slot.PROTECTED),
        ([tick(0, TickStatus.PARTIAL, misses=missed("a", Miss.FAILED))], Slot.FAILED),
        ([tick(0, TickStatus.PARTIAL, misses=missed("a", Miss.SKIPPED))], Slot.SKIPPED),
        ([tick(0, left_out=("a",))], Slot.LEFT_OUT),
        ([tick(0, TickStatus.FAILED)], Slot.FAILED),
        ([tick(0, TickStatus.SKIPPED), tick(0, number=2)], Slot.PROTECTED),
        ([tick(0, TickStatus.FAILED), tick(0, TickStatus.RUNNING, 2)], Slot.FAILED),
        ([tick(0, TickStatus.RUNNING)], Slot.NONE),
        ([tick(0, TickStatus.MISSED, missed_count=1, missed_until=NEWEST)], Slot.MISSED),
        ([], Slot.MISSED),
        ([tick(0, by_hand=True)], Slot.MISSED),
    ],
)
def test_a_time_is_the_best_of_its_ticks_and_a_gap_without_any(ticks: list[Tick], slot: Slot) -> None:
    rest = [tick(ago, number=100 + ago) for ago in range(1, 288)]
    expected = {Slot.PROTECTED: 287}
    expected[slot] = expected.get(slot, 0) + 1
    assert counts(*ticks, *rest) == expected


def test_before_the_first_tick_and_before_it_was_registered_nothing_is_missing() -> None:
    assert counts(before=False) == {Slot.NONE: 288}
    assert counts() == {Slot.MISSED: 288}, "there were ticks before, and now there are none"
    assert counts(tick(9), before=False) == {Slot.NONE: 278, Slot.PROTECTED: 1, Slot.MISSED: 9}
    ticks = [tick(ago, number=ago + 1) for ago in range(288)]
    assert counts(*ticks, registered_at=NEWEST - 3 * FIVE) == {Slot.NONE: 284, Slot.PROTECTED: 4}
    assert counts(*ticks, never={"a"}) == {Slot.NONE: 288}


def test_a_long_gap_reaches_in_from_before_the_window() -> None:
    first = 400
    gap = tick(first, TickStatus.MISSED, missed_count=first - 9, missed_until=NEWEST - 10 * FIVE)
    ticks = [tick(ago, number=ago + 2) for ago in range(10)]
    assert counts(gap, *ticks, before=False) == {Slot.MISSED: 278, Slot.PROTECTED: 10}


def test_the_window_ends_with_a_time_whose_tick_has_had_its_time() -> None:
    assert last_due(NEWEST + timedelta(minutes=4), FIVE) == NEWEST - FIVE
    assert last_due(NEWEST + timedelta(minutes=5), FIVE) == NEWEST
