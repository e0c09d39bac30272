"""How a table is walked: which stretch comes next, given what was read so far. Three orders, one protocol.

Sizes follow from the measured bytes of the rows alone, never from time, so the same data gives the same pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from backup_pipeline.core.plans import Order, TablePlan
from backup_pipeline.postgres.page_sql import Stretch, after_key, between_blocks, order_by_key

_GROWTH = 8
# A usual number, for the first range. The server's estimate would be better, and would change with every ANALYZE.
_ROWS_A_BLOCK = 64


@dataclass(frozen=True)
class PageSize:
    """How large pages get: bytes of Arrow data aimed at, rows of the first page, and the most rows of any."""

    page_bytes: int
    first_rows: int
    most_rows: int


class Walk(Protocol):
    """The way through one table."""

    def next(self) -> Stretch | None:
        """The stretch to read now: after a lost connection the rest of the one under way; None at the end."""

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """A page of the stretch was handed out: its rows, bytes, and the key of its last row."""

    def finished(self) -> None:
        """The stretch has no more rows."""

    @property
    def resumable(self) -> bool:
        """Whether `next` would go on exactly behind the last page that was handed out."""


def walk_of(plan: TablePlan, size: PageSize, blocks: int | None) -> Walk:
    """The walk that the plan's order asks for. `blocks` is the relation's size; None: ranges of blocks are no use."""
    if plan.order is Order.KEY:
        return KeyWalk(plan, size, size.first_rows)
    if plan.order is Order.CTID and blocks is not None:
        return BlockWalk(size, blocks, max(1, size.first_rows // _ROWS_A_BLOCK))
    return ScanWalk()


@dataclass
class _Measure:
    """Bytes a unit (a row, a block) took so far."""

    units: int = 0
    size: int = 0

    def add(self, units: int, size: int) -> None:
        self.units += units
        self.size += size

    def units_for(self, wanted: int, now: int) -> int:
        """How many units make `wanted` bytes; at most some times as many as now, for what comes may differ."""
        enough = wanted * self.units // self.size if self.size else now * _GROWTH
        return max(1, min(enough, now * _GROWTH))


@dataclass
class KeyWalk:
    """Pages follow each other by an enforced unique key."""

    plan: TablePlan
    size: PageSize
    rows: int
    after: tuple[str, ...] = ()
    taken: int = 0
    measured: _Measure = field(default_factory=_Measure)
    ended: bool = False

    def next(self) -> Stretch | None:
        """The rows behind the last key, as many as this stretch still lacks."""
        if self.ended:
            return None
        where = after_key(self.plan, self.after) if self.after else ""
        return Stretch(where, order_by_key(self.plan), self.rows - self.taken)

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """Go on behind `key`."""
        self.after = key
        self.taken += rows
        self.measured.add(rows, size)

    def finished(self) -> None:
        """Fewer rows than asked for means that there are no more."""
        self.ended = self.taken < self.rows
        self.rows = min(self.measured.units_for(self.size.page_bytes, self.rows), self.size.most_rows)
        self.taken = 0

    @property
    def resumable(self) -> bool:
        """A key says exactly where to go on."""
        return True


@dataclass
class BlockWalk:
    """Pages are ranges of blocks on disk; the last one is open-ended."""

    size: PageSize
    blocks: int
    step: int
    start: int = 0
    bytes_taken: int = 0
    measured: _Measure = field(default_factory=_Measure)
    ended: bool = False

    def next(self) -> Stretch | None:
        """The next range of blocks."""
        return None if self.ended else Stretch(between_blocks(self.start, self._stop()))

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """Note how many bytes this range holds."""
        del rows, key
        self.bytes_taken += size

    def finished(self) -> None:
        """Go on with the following blocks."""
        stop = self._stop()
        self.measured.add(self.step, self.bytes_taken)
        self.ended, self.start, self.bytes_taken = stop is None, stop or self.blocks, 0
        self.step = self.measured.units_for(self.size.page_bytes, self.step)

    def _stop(self) -> int | None:
        stop = self.start + self.step
        return stop if stop < self.blocks else None

    @property
    def resumable(self) -> bool:
        """Only between ranges: inside one, nothing says where the last page ended."""
        return self.bytes_taken == 0


@dataclass
class ScanWalk:
    """Everything in one pass."""

    rows: int = 0
    ended: bool = False

    def next(self) -> Stretch | None:
        """The whole table, once."""
        return None if self.ended else Stretch()

    def took(self, rows: int, size: int, key: tuple[str, ...]) -> None:
        """Note that rows were handed out."""
        del size, key
        self.rows += rows

    def finished(self) -> None:
        """One pass is all."""
        self.ended = True

    @property
    def resumable(self) -> bool:
        """Only while nothing was handed out."""
        return self.rows == 0
