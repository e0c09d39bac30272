"""An installation that may be restored into: its ledger and its store are not those of other tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore.requests import RestoreRow
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.cli.conftest import made_installation
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.operations.conftest import SHOP_SQL


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with made_installation(postgres_server, tmp_path_factory.mktemp("home")) as made:
        yield made


@dataclass(frozen=True)
class Target:
    """A database of this test's own."""

    url: str

    @property
    def database(self) -> str:
        return str(make_url(self.url).database)

    @property
    def password(self) -> str:
        return str(make_url(self.url).password)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as session:
            return session.execute(statement).fetchall()

    def run(self, statements: str) -> None:
        with psycopg.connect(self.url) as session:
            session.execute(sql.SQL(statements))

    def counts(self) -> tuple[object, object]:
        """Goods, and those whose name is the backup's."""
        [(all_, good)] = self.rows("SELECT count(*), count(*) FILTER (WHERE name = 'good ' || id) FROM goods")
        return all_, good


@pytest.fixture
def empty(fresh_database: str) -> Target:
    """A database without anything."""
    return Target(fresh_database)


@pytest.fixture
def damaged(fresh_database: str) -> Target:
    """The shop after an UPDATE without WHERE: 100 goods are gone, and all others have a wrong name."""
    target = Target(fresh_database)
    target.run(SHOP_SQL)
    target.run("DELETE FROM sold; DELETE FROM goods WHERE id > 400; UPDATE goods SET name = 'oops'")
    return target


@dataclass(frozen=True)
class Books:
    """What the ledger says."""

    url: str

    def newest(self) -> RestoreRow:
        ledger = SqlLedger(self.url)
        try:
            return ledger.restores.list(limit=1)[0]
        finally:
            ledger.close()

    def count(self) -> int:
        ledger = SqlLedger(self.url)
        try:
            return len(ledger.restores.list())
        finally:
            ledger.close()

    def audits(self) -> list[AuditEvent]:
        ledger = SqlLedger(self.url)
        try:
            return list(ledger.audits())
        finally:
            ledger.close()

    def text(self) -> str:
        """Everything in it, as one text."""
        with psycopg.connect(self.url) as session:
            tables = ("restore_requests", "backup_audit", "backup_logs")
            return "".join(str(session.execute(f"SELECT * FROM {table}").fetchall()) for table in tables)


@pytest.fixture
def books(installation: Installation) -> Books:
    return Books(installation.environment["BACKUP_LEDGER_URL"])
