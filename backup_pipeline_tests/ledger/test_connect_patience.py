"""A ledger that says nothing is given up after a while; the next question goes by a new connection."""

from __future__ import annotations

import time

import pytest

from backup_pipeline import ledger as patience
from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.faults.fault import After, Before, Fault, Moment, Stall
from backup_pipeline_tests.faults.proxy import FaultProxy


@pytest.mark.parametrize("moment", [Before(), After()])
def test_a_silent_ledger_is_given_up_and_asked_anew(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    SqlLedger.create(fresh_database).close()
    monkeypatch.setattr(patience, "ANSWER_SECONDS", 0.5)
    with FaultProxy(fresh_database) as proxy:
        ledger = SqlLedger(proxy.url)
        assert ledger.list() == []
        fault = proxy.on(Fault(Stall(), "SELECT backup_logs", moment))
        began = time.monotonic()
        with pytest.raises(LedgerUnavailableError, match=r"no answer came within 0\.5 s"):
            ledger.list()
        assert time.monotonic() - began < 5
        assert fault.fired == 1
        assert ledger.list() == []
        ledger.close()
