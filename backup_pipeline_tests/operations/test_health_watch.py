"""Whoever watches also tries again what did not reach people: Dagster's daemon may be down."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.health import watch_all
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.operations.test_alerting import ALERT, Town


def test_the_watch_delivers_what_is_due() -> None:
    town = Town(dead={"mail"})
    tell(ALERT, town.ports)
    town.dead.clear()
    assert watch_all([], town.ports) == []
    assert town.open() == [("mail", 1)]  # not due yet
    town.now += timedelta(minutes=1)
    watch_all([], town.ports)
    assert town.open() == []


def test_an_outbox_that_can_not_be_used_does_not_blind_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    town = Town()
    broken = raising(LedgerUnavailableError("The ledger may only be read."))
    town.ledger = faulty(town.ledger, outbox=faulty(town.ledger.outbox, claim=broken))
    assert watch_all([], town.ports) == []
    assert "could not be tried again" in caplog.text
