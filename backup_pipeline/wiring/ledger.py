"""The ledger of an installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from backup_pipeline.ledger.sql import SqlLedger
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import ledger_url


@contextmanager
def open_ledger(settings: Settings) -> Iterator[SqlLedger]:
    """The ledger, closed at the end."""
    ledger = SqlLedger(ledger_url(settings), remind_every=timedelta(hours=settings.alert_remind_hours))
    try:
        yield ledger
    finally:
        ledger.close()
