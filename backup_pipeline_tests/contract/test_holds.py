"""What every ledger promises about holds and expiry: one suite over memory and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Hold, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import command_line
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome

EXPIRY = NOON + timedelta(days=30)


def test_a_hold_is_written_replaced_and_taken_away(ledger: Ledger) -> None:
    ledger.begin(attempt("b1"))
    ledger.begin(attempt("b2"))
    for hold in (Hold(command_line("রহিম"), "the ‘audit’", EXPIRY), Hold(KARIM, "for ever"), None):
        ledger.hold("b1", hold)
        row = ledger.get("b1")
        assert row is not None
        assert row.hold == hold
    assert ledger.get("b2") == attempt("b2")


def test_a_hold_outlasts_what_becomes_of_the_row(ledger: Ledger) -> None:
    ledger.begin(attempt())
    ledger.hold("b1", Hold(RAHIM, "why"))
    ledger.end("b1", outcome(Status.SUCCESS, expires_at=EXPIRY))
    row = ledger.get("b1")
    assert row is not None
    assert row.hold == Hold(RAHIM, "why")
    assert row.expires_at == EXPIRY


def test_an_expiry_comes_with_the_outcome_and_may_change_later(ledger: Ledger) -> None:
    ledger.begin(attempt())
    ledger.end("b1", outcome(Status.SUCCESS, expires_at=EXPIRY))
    before = ledger.get("b1")
    assert before is not None
    ledger.expires("b1", (EXPIRY + timedelta(days=5)).astimezone(timezone(timedelta(hours=6))))
    assert ledger.get("b1") == replace(before, expires_at=EXPIRY + timedelta(days=5))
    ledger.end("b1", outcome(Status.EXPIRED))
    row = ledger.get("b1")
    assert row is not None
    assert row.expires_at == EXPIRY + timedelta(days=5)
    ledger.expires("b1", None)
    assert ledger.get("b1") == replace(row, expires_at=None)


def test_what_is_not_there_can_neither_be_held_nor_expire(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="nothing is not in the ledger"):
        ledger.hold("nothing", Hold(RAHIM, "why"))
    with pytest.raises(LedgerError, match="nothing is not in the ledger"):
        ledger.expires("nothing", EXPIRY)
