"""The ledgers that one contract holds for: the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from backup_pipeline.core.alerts import REMIND_EVERY
from backup_pipeline.core.ports import Ledger
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.doubles.ledgers import MemoryLedger


@pytest.fixture
def remind_every() -> timedelta:
    """How often a thread of alerts is told again; a module may say otherwise."""
    return REMIND_EVERY


@pytest.fixture(params=["memory", "postgres"])
def ledger(request: pytest.FixtureRequest, remind_every: timedelta) -> Ledger:
    """A new, empty ledger of each kind."""
    if request.param == "memory":
        return MemoryLedger(remind_every=remind_every)
    sql: SqlLedger = request.getfixturevalue("sql_ledger")
    return sql


@pytest.fixture
def sql_ledger(fresh_ledger: str, remind_every: timedelta) -> Iterator[SqlLedger]:
    """A new, empty ledger in PostgreSQL."""
    with closing(SqlLedger(fresh_ledger, remind_every=remind_every)) as ledger:
        yield ledger
