"""A small real backup that the tests of this folder look at, and may damage: each gets a copy of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.browse import place_of
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.operations.vault_fixtures import untouched_vault, vault
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database

__all__ = ["untouched_vault", "vault"]

_HALF_A_DAY_AWAY = datetime.now(ZoneInfo("Asia/Dhaka")) + timedelta(hours=12)
SHOP = Catalog.model_validate(
    {
        "catalog": "shop",
        "timezone": "Asia/Dhaka",
        "schedule": f"0 {_HALF_A_DAY_AWAY.hour} * * *",  # whenever the tests run, their backups are for no due time
        "tables": {"goods": None, "sold": None},
    }
)
SHOP_SQL = """
CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price numeric(10, 2));
CREATE TABLE sold (id int PRIMARY KEY, good_id int REFERENCES goods, at timestamptz);
INSERT INTO goods SELECT n, 'good ' || n, n * 1.5 FROM generate_series(1, 500) n;
INSERT INTO sold SELECT n, n % 500 + 1, now() FROM generate_series(1, 2000) n;
"""


@dataclass
class Made:
    """A backup in memory."""

    attempt: Attempt
    manifest: StoredManifest
    store: MemoryStore
    ledger: ScratchLedger

    @property
    def place(self) -> BackupPlace:
        return place_of(self.attempt)

    @property
    def bundle(self) -> str:
        return self.place.bundle(self.manifest.bundle.name)

    def again(self) -> Made:
        """The same backup, in a store and a ledger of its own."""
        store, ledger = MemoryStore(), new_ledger()
        for stored in self.store.list(""):
            store.put(stored.key, [self.store.get(stored.key)])
        ledger.put(self.attempt)
        return Made(self.attempt, self.manifest, store, ledger)


def backed_up(url: str, catalog: Catalog, spool: Path) -> Made:
    """A backup of the database at `url`."""
    store, ledger = MemoryStore(), new_ledger()
    place = Place(spool, store, ledger)
    return Made(place.back_up(url, catalog), place.manifest, store, ledger)


@pytest.fixture(scope="session")
def shop_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(SHOP_SQL)
        yield url


@pytest.fixture(scope="session")
def shop_backup(shop_url: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return backed_up(shop_url, SHOP, tmp_path_factory.mktemp("spool"))


@pytest.fixture
def made(shop_backup: Made) -> Made:
    """The backup, in a store and a ledger of this test's own."""
    return shop_backup.again()
