"""The present by the ledger's clock, whatever this machine's says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.wiring.addresses import LedgerClock
from backup_pipeline_tests.doubles.ledgers import faulty

TRUTH = datetime(2026, 11, 21, tzinfo=UTC)
YEARS = timedelta(days=1000)


class Ticking:
    """A ledger and a machine whose clocks go equally fast; `asked` counts how often the ledger's was read."""

    def __init__(self, ahead: timedelta) -> None:
        self.seconds, self.ahead, self.asked, self.down = 0.0, ahead, 0, False
        self.clock = LedgerClock(faulty(cast(Ledger, None), now=self._ledger), self._machine, lambda: self.seconds)

    def _ledger(self) -> datetime:
        self.asked += 1
        if self.down:
            message = "The ledger does not answer."
            raise LedgerUnavailableError(message)
        return TRUTH + timedelta(seconds=self.seconds)

    def _machine(self) -> datetime:
        return TRUTH + timedelta(seconds=self.seconds) + self.ahead


def test_it_is_the_ledgers_time_and_goes_on_without_asking() -> None:
    world = Ticking(ahead=YEARS)
    assert world.clock() == TRUTH
    assert world.clock.drift() == YEARS
    world.seconds = 90
    assert world.clock() == TRUTH + timedelta(seconds=90)
    assert world.asked == 1


def test_a_machine_whose_clock_is_set_meanwhile_makes_no_jump() -> None:
    world = Ticking(ahead=timedelta(0))
    assert world.clock() == TRUTH
    world.ahead = YEARS
    assert world.clock() == TRUTH
    assert world.clock.drift() == YEARS


def test_it_is_asked_again_after_ten_minutes() -> None:
    world = Ticking(ahead=-YEARS)
    assert world.clock.drift() == -YEARS
    world.seconds = 601
    assert world.clock() == TRUTH + timedelta(seconds=601)
    assert world.asked == 2


def test_while_the_ledger_does_not_answer_it_is_this_machines_and_nobody_waits_twice() -> None:
    world = Ticking(ahead=YEARS)
    world.down = True
    assert world.clock() == TRUTH + YEARS
    assert world.clock() == TRUTH + YEARS
    assert world.asked == 1
    assert world.clock.drift() == timedelta(0)
    world.down, world.seconds = False, 31
    assert world.clock() == TRUTH + timedelta(seconds=31)
