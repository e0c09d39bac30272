"""The ledgers that one contract holds for: the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from backup_pipeline.core.alerts import REMIND_EVERY
from backup_pipeline.core.ports import Ledger
from backup_pipeline.ledger.backups import SqlLedger


@pytest.fixture
def remind_every() -> timedelta:
    """How often a thread of alerts is told again; a module may say otherwise."""
    return REMIND_EVERY


@pytest.fixture
def ledger(sql_ledger: SqlLedger) -> Ledger:
    """A new, empty ledger, as its port has it."""
    return sql_ledger


@pytest.fixture
def sql_ledger(fresh_ledger: str, remind_every: timedelta) -> Iterator[SqlLedger]:
    """A new, empty ledger in PostgreSQL."""
    with closing(SqlLedger(fresh_ledger, remind_every=remind_every)) as ledger:
        yield ledger
