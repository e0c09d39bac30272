"""What became of a business at each scheduled time: derived of ticks and whom they missed, as no row says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

from backup_pipeline.core.businesses.ticks import BusinessMiss, Tick, TickStatus, scheduled_before

DAY = timedelta(hours=24)


class Slot(StrEnum):
    """What a business got at a scheduled time."""

    PROTECTED = "protected"
    """It got a backup, or its newest one was confirmed."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """The deadline came first, or another tick was at work."""
    MISSED = "missed"
    """Nothing ran."""
    LEFT_OUT = "left out"
    """It was paused, or not active."""
    NONE = "nothing yet"
    """Before its first tick, or the tick is at work or about to come."""

    @property
    def is_gap(self) -> bool:
        """Whether it should have been protected, and was not."""
        return self in {Slot.FAILED, Slot.SKIPPED, Slot.MISSED}


@dataclass(frozen=True)
class SlotStretch:
    """Scheduled times in a row that were alike: the first, the last, how many."""

    slot: Slot
    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True)
class TickWindow:
    """The ticks of a window, each with the misses of whoever is asked about; `until` is the last scheduled time.

    `known_before` is whether there were ticks before the window, so that a time of it without any is a gap.
    """

    ticks: Sequence[Tick]
    until: datetime
    interval: timedelta
    known_before: bool

    @property
    def since(self) -> datetime:
        """The first scheduled time."""
        return self.until - (self.count - 1) * self.interval

    @property
    def count(self) -> int:
        """How many scheduled times there are."""
        return int(DAY / self.interval)

    @property
    def times(self) -> Sequence[datetime]:
        """The scheduled times, the oldest first."""
        return [self.since + number * self.interval for number in range(self.count)]

    @property
    def misses(self) -> Mapping[int, Mapping[str, BusinessMiss]]:
        """Of each tick, by number, whom it missed."""
        return {tick.number: {miss.business: miss for miss in tick.misses} for tick in self.ticks}


def last_due(now: datetime, interval: timedelta) -> datetime:
    """The scheduled time whose tick is over, or late: with the one that just begins no window ends."""
    return scheduled_before(now, interval) - interval


def strips(
    window: TickWindow, businesses: Mapping[str, datetime], never: Collection[str] = ()
) -> Mapping[str, Sequence[SlotStretch]]:
    """Of each business, given with when it was registered, what it got at each time of the window, the oldest first.

    Whoever has no backup (`never`) was not protected by a tick, even by one that counts no miss.
    """
    misses = window.misses
    at: dict[datetime, list[Tick]] = {}
    gaps: set[datetime] = set()
    for tick in window.ticks:
        if tick.status is TickStatus.MISSED:
            gaps |= {tick.scheduled_at + number * window.interval for number in range(tick.missed_count)}
        elif not tick.by_hand:
            at.setdefault(tick.scheduled_at, []).append(tick)
    begins = window.since if window.known_before else min([*at, *gaps], default=None)
    by_business: dict[str, Sequence[SlotStretch]] = {}
    for business, registered_at in businesses.items():
        slots = []
        for time in window.times:
            if begins is None or time < begins or time + window.interval <= registered_at:
                slots.append((time, Slot.NONE))
            else:
                slot = _best([_slot(tick, business, misses) for tick in at.get(time, ())])
                slots.append((time, Slot.NONE if slot is Slot.PROTECTED and business in never else slot))
        by_business[business] = _stretches(slots)
    return by_business


def _slot(tick: Tick, business: str, misses: Mapping[int, Mapping[str, BusinessMiss]]) -> Slot:
    if tick.status in {TickStatus.SUCCESS, TickStatus.PARTIAL}:
        miss = misses.get(tick.number, {}).get(business)
        if miss is not None:
            return Slot(miss.outcome.value)
        return Slot.LEFT_OUT if business in tick.left_out else Slot.PROTECTED
    return {TickStatus.FAILED: Slot.FAILED, TickStatus.SKIPPED: Slot.SKIPPED}.get(tick.status, Slot.NONE)


def _best(slots: Sequence[Slot]) -> Slot:
    """Several ticks may have been for one time, such as one that a person ran again; none: nothing ran."""
    order = (Slot.PROTECTED, Slot.LEFT_OUT, Slot.FAILED, Slot.SKIPPED, Slot.NONE)
    return min(slots, key=order.index, default=Slot.MISSED)


def _stretches(slots: Sequence[tuple[datetime, Slot]]) -> Sequence[SlotStretch]:
    stretches = []
    for slot, alike in groupby(slots, key=lambda each: each[1]):
        times = [time for time, _ in alike]
        stretches.append(SlotStretch(slot, times[0], times[-1], len(times)))
    return stretches


def counts_of(stretches: Sequence[SlotStretch]) -> Mapping[Slot, int]:
    """How many scheduled times there were of each sort that occurs."""
    counts = {slot: sum(each.count for each in stretches if each.slot is slot) for slot in Slot}
    return {slot: count for slot, count in counts.items() if count}
