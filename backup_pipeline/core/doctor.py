"""What the doctor says: one line a finding, ok or what to do; and what is made of clocks, disks and ages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.clocks import REFUSED, is_future
from backup_pipeline.core.verified import age

CLOCK_WARNING = timedelta(seconds=5)
ROOM = 3
"""So many times the newest backup should find room: the files in the making, the bundle, and the next one."""
_LITTLE = 1 << 30  # bytes, where no backup says how much is needed


class State(StrEnum):
    """How a finding is to be taken. `skipped`: it does not apply here, or could not be looked at without another."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Line:
    """One finding about `topic`: what was seen, and, unless it is ok, what to do."""

    topic: str
    state: State
    what: str
    do: str = ""


@dataclass(frozen=True)
class Check:
    """One thing that is looked at; whatever `look` raises is a finding too."""

    topic: str
    look: Callable[[], Iterable[Line]]


def ok(topic: str, what: str) -> Line:
    """A finding that is as it should be."""
    return Line(topic, State.OK, what)


def warning(topic: str, what: str, do: str) -> Line:
    """A finding that backups work with, but that somebody should know."""
    return Line(topic, State.WARNING, what, do)


def problem(topic: str, what: str, do: str) -> Line:
    """A finding that keeps a backup, or a restore, from being made."""
    return Line(topic, State.PROBLEM, what, do)


def skipped(topic: str, what: str) -> Line:
    """What was not looked at, and why."""
    return Line(topic, State.SKIPPED, what)


def problems(lines: Sequence[Line]) -> Sequence[Line]:
    """Those that are problems."""
    return [line for line in lines if line.state is State.PROBLEM]


def judge_clock(
    topic: str, whose: str, asked: datetime, theirs: datetime, answered: datetime, *, longest: timedelta = REFUSED
) -> Line:
    """Whether the clock of `whose` agrees with ours, which said `asked` before and `answered` after it was read.

    By more than `longest` nothing can be made.
    """
    off = max(theirs - answered, asked - theirs, timedelta(0))
    ahead = "ahead of" if theirs > answered else "behind"
    if off <= CLOCK_WARNING:
        return ok(topic, f"the clock of {whose} agrees with this machine's")
    what = f"the clock of {whose} is {off.total_seconds():.0f} seconds {ahead} this machine's"
    do = "Let both keep time by NTP (timedatectl status, chronyc tracking): dates, leases and signatures depend on it."
    return problem(topic, what, do) if off > longest else warning(topic, what, do)


def judge_room(topic: str, where: str, free: int, newest: int | None) -> Line:
    """Whether `free` bytes at `where` are room enough, the newest backup being `newest` bytes, where it is known."""
    needed = ROOM * newest if newest else _LITTLE
    told = f"{where} has {_mib(free)} free"
    because = (
        f"{ROOM} times the newest backup is {_mib(needed)}" if newest else "there is no backup yet to compare with"
    )
    if free >= needed:
        return ok(topic, f"{told}; {because}")
    do = f"Free space there, or name a bigger disk; {_mib(needed)} are enough."
    return problem(topic, f"{told}; {because}", do) if newest and free < newest else warning(topic, told, do)


def judge_age(topic: str, what: str, at: datetime | None, now: datetime, longest: timedelta, do: str) -> Line:
    """Whether what was done last `at` is not older than `longest`."""
    if at is None:
        return warning(topic, f"{what}: never", do)
    told = f"{what}: {age(at, now)}"
    return ok(topic, told) if not is_future(at, now) and now - at <= longest else warning(topic, told, do)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
