"""The end of a backup that is made: written again when the ledger was away, and never turned into a failure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backup_pipeline.core.errors import LedgerError, LedgerUnavailableError
from backup_pipeline.core.ledger import Outcome, Status
from backup_pipeline.operations.attempts import end_failed, end_made
from backup_pipeline.operations.browse import place_of
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger_of

ROW = attempt("20261120T180000Z-full-1f3a9c2e")
GOOD = Outcome(Status.SUCCESS, datetime(2026, 11, 20, 18, 5, tzinfo=UTC), sha256="ab" * 32)


class Away(ScratchLedger):
    """A ledger that is away for the first `times` ends; `written`: what was sent arrived all the same."""

    times, written = 0, False

    def end(self, backup_id: str, outcome: Outcome) -> None:
        self.times -= 1
        if self.times < 0 or self.written:
            super().end(backup_id, outcome)
        if self.times >= 0:
            message = "it is away"
            raise LedgerUnavailableError(message)

    @property
    def status(self) -> Status:
        row = self.get(ROW.backup_id)
        assert row is not None
        return row.status


def _away(times: int, *, written: bool = False) -> Away:
    ledger = new_ledger_of(Away)
    ledger.begin(ROW)
    ledger.times, ledger.written = times, written
    return ledger


def test_it_is_written_again_with_growing_pauses() -> None:
    ledger, waited = _away(2), list[float]()
    end_made(ROW, GOOD, ledger, again_after=(1, 3, 9), pause=waited.append)
    assert ledger.status is Status.SUCCESS
    assert waited == [1, 3]


def test_an_answer_that_got_lost_is_no_error() -> None:
    ledger, waited = _away(1, written=True), list[float]()
    end_made(ROW, GOOD, ledger, pause=waited.append)
    assert ledger.status is Status.SUCCESS
    assert waited == []


def test_a_ledger_that_stays_away_is_an_error_and_the_row_stays_open() -> None:
    ledger = _away(9)
    with pytest.raises(LedgerUnavailableError):
        end_made(ROW, GOOD, ledger, again_after=(1,), pause=lambda _: None)
    assert ledger.times == 7
    assert ledger.status is Status.RUNNING


def test_a_ledger_that_refuses_is_not_asked_again() -> None:
    ledger = _away(0)
    ledger.end(ROW.backup_id, Outcome(Status.CANCELED, GOOD.finished_at))
    with pytest.raises(LedgerError):
        end_made(ROW, GOOD, ledger, pause=lambda _: pytest.fail("it waited"))


@pytest.mark.parametrize(("there", "status"), [(True, Status.RUNNING), (False, Status.FAILED)])
def test_what_is_in_the_store_is_never_written_down_as_failed(
    tmp_path_factory: pytest.TempPathFactory, there: bool, status: Status
) -> None:
    place = Place(tmp_path_factory.mktemp("spool"), ledger=_away(0))
    if there:
        place.store.put(place_of(ROW).manifest, [b"{}"])
    end_failed(ROW, LedgerError("it was away"), place.ports("postgresql://nowhere/db"))
    row = place.ledger.get(ROW.backup_id)
    assert row is not None
    assert row.status is status
