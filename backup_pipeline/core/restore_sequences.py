"""Where a sequence has to stand after a restore, so that the next insert works and nothing is given out twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class SequenceState:
    """What `setval` takes: the last value, and whether it was given out already."""

    last_value: int
    is_called: bool

    def next(self, increment: int) -> int:
        """The value that comes next."""
        return self.last_value + increment if self.is_called else self.last_value


@dataclass(frozen=True)
class SequenceLimits:
    """How a sequence counts, and between which values; `cycles`: it begins again when it comes to its end."""

    increment: int
    smallest: int
    largest: int
    cycles: bool = False


def state_after(
    candidates: Iterable[SequenceState | None], furthest: int | None, limits: SequenceLimits
) -> SequenceState | None:
    """The state that goes furthest: of the `candidates`, earlier ones first where they agree, and past `furthest`.

    `furthest` is the largest value in the column (the smallest, when the sequence counts down). A value outside the
    limits does not count: nobody could have drawn it. None when there is nothing to go by. Of a sequence that cycles no
    number is further than another: it is the last of the `candidates`, what the target has now where it has it.
    """
    known = [state for state in candidates if state is not None]
    if limits.cycles and known:
        return known[-1]
    if furthest is not None and limits.smallest <= furthest <= limits.largest:
        known.append(SequenceState(furthest, is_called=True))
    sign = 1 if limits.increment > 0 else -1
    return max(known, key=lambda state: sign * state.next(limits.increment), default=None)
