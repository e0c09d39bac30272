"""An installation of the soak: its settings, its store, its ledger as it really is, and proxies on every way out."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

import psycopg
import yaml
from psycopg import sql
from psycopg.rows import class_row

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.settings import PROJECT
from backup_pipeline_tests.faults.proxy import FaultProxy
from backup_pipeline_tests.faults.soak.model import Kept, Pending, Row
from backup_pipeline_tests.faults.soak.raw import RawBucket, RawDirectory, RawStore
from backup_pipeline_tests.faults.soak.rules import GRACE_MINUTES, KEEP_LAST, MIN_KEEP
from backup_pipeline_tests.faults.soak.shop import TABLES
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.servers.swift import SwiftServer

CATALOG, TIMEZONE = "shop", "Asia/Dhaka"
STORES = ("directory", "s3")
_RULE = {"keep_last": KEEP_LAST, "min_keep": MIN_KEEP, "grace_minutes": GRACE_MINUTES}
_SHOP = {
    "catalog": CATALOG,
    "timezone": TIMEZONE,
    "schedule": None,
    "anomalies": {"trailing": 0},  # what a person must look at and release would hold every second backup here
    "retention": {"manual": _RULE, "automatic": _RULE, "schedule": None},
    "tables": dict.fromkeys(TABLES),
}
_ROW = """
SELECT backup_id, kind, status, partition_date, created_at, started_at, finished_at, snapshot_at, file_path,
       file_size_bytes, sha256, record_count, verification_level, verification_passed, verified_at, held_actor,
       held_until, table_counts, tables_wanted, error_message
FROM backup_logs WHERE catalog = %s ORDER BY created_at, backup_id
"""

_CLAIMS = """
SELECT backup_id FROM restore_requests
WHERE status IN ('requested', 'approved')
   OR status = 'running' AND coalesce(heartbeat_at, started_at, created_at) >= %s
UNION ALL SELECT backup_id FROM backup_readings WHERE expires_at > clock_timestamp()
"""


@dataclass
class Site:
    """One installation. `good`, `pending` and `seen` are what the model knows of its backups.

    `proxies` stand before its source, its ledger, and its store where that is a server.
    """

    name: str
    home: Path
    environment: Mapping[str, str]
    server: EmbeddedPostgres
    ledger: str
    store: RawStore
    proxies: Mapping[str, FaultProxy]
    good: dict[str, Kept] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    said: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often each stage is met by a backup, by proxy and stage; of the last one that met no fault."""
    usual_s: float = 3.0

    def rows(self) -> list[Row]:
        """The ledger's rows, the oldest first."""
        with psycopg.connect(self.server.url(self.ledger), row_factory=class_row(Row)) as session:
            return session.execute(_ROW, [CATALOG]).fetchall()

    def claims(self, at: datetime) -> set[str]:
        """The backups that somebody reads at `at`, or asked to restore; who gives no sign of life does not read.

        The life of a restore is told by the clock of whoever asks, that of another reader by the ledger's own.
        """
        with psycopg.connect(self.server.url(self.ledger)) as session:
            return {str(row[0]) for row in session.execute(_CLAIMS, [at - timedelta(seconds=90)])}

    def drop_ledger(self) -> None:
        """The database is lost."""
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.ledger)))
        self.server.ensure_database(self.ledger)

    def hear_anew(self) -> None:
        """Forget what the proxies have heard."""
        for proxy in self.proxies.values():
            proxy.forget()

    def clear(self) -> None:
        """No faults any more."""
        for proxy in self.proxies.values():
            proxy.clear()

    def left_at_work(self) -> list[str]:
        """Files in the making, or left behind in the folders for them."""
        work = self.home / "work"
        return sorted(str(path.relative_to(work)) for path in work.rglob("*") if path.is_file())

    def folder(self, backup_id: str, day: date) -> str:
        """The prefix of a backup."""
        return f"{CATALOG}/backups/backup_date={day.isoformat()}/{backup_id}/"


@contextmanager
def sites(
    home: Path, server: EmbeddedPostgres, s3: SwiftServer | None, stores: Collection[str] = STORES
) -> Iterator[tuple[Mapping[str, Site], str, str]]:
    """An installation with a directory store, and one with a bucket where there is an S3 server; with one source.

    Also the URLs of the source, and of a database into whose schemas backups are restored.
    """
    (home / "catalogs").mkdir(parents=True)
    (home / "catalogs" / f"{CATALOG}.yaml").write_text(yaml.safe_dump(_SHOP, sort_keys=False))
    with ExitStack() as opened:
        proxies = {name: opened.enter_context(FaultProxy(server.url("postgres"))) for name in ("source", "ledger")}
        source, targets = (opened.enter_context(temporary_database(server)) for _ in range(2))
        made = {}
        for name in stores:
            ledger = opened.enter_context(temporary_database(server))
            begun = _Begun(name, home, server, proxies, source, ledger)
            if name == "directory":
                made[name] = begun.in_directory()
            elif s3 is not None:
                made[name] = begun.in_bucket(s3, opened.enter_context(FaultProxy(s3.endpoint_url)))
        yield made, source, targets


@dataclass(frozen=True)
class _Begun:
    """An installation in the making; URLs past the proxies."""

    name: str
    home: Path
    server: EmbeddedPostgres
    proxies: Mapping[str, FaultProxy]
    source: str
    ledger: str

    def in_directory(self) -> Site:
        """With a directory store."""
        root = self.home / self.name / "store"
        return self._site(RawDirectory(root), {"BACKUP_STORE": root.as_uri()})

    def in_bucket(self, s3: SwiftServer, proxy: FaultProxy) -> Site:
        """With a new bucket."""
        bucket = s3.make_bucket(f"soak-{secrets.token_hex(4)}")
        settings = {**s3.environment(), "BACKUP_S3_ENDPOINT_URL": proxy.url, "BACKUP_STORE": f"s3://{bucket}"}
        del settings["AWS_ENDPOINT_URL"]
        return self._site(RawBucket(s3.client(), bucket), settings, {"store": proxy})

    def _site(
        self, store: RawStore, settings: Mapping[str, str], more: Mapping[str, FaultProxy] = MappingProxyType({})
    ) -> Site:
        own, proxies = self.home / self.name, {**self.proxies, **more}
        (own / "dagster").mkdir(parents=True)
        shutil.copy(PROJECT / "dagster.yaml", own / "dagster")
        SqlLedger.create(self.ledger).close()
        environment = {
            "BACKUP_HOME": str(own),
            "BACKUP_CATALOGS": str(self.home / "catalogs"),
            "BACKUP_CATALOG": CATALOG,
            "BACKUP_SOURCE_URL": proxies["source"].through(self.source),
            "BACKUP_LEDGER_URL": proxies["ledger"].through(self.ledger),
            "BACKUP_CONNECT_TIMEOUT_S": "5",
            "DAGSTER_HOME": str(own / "dagster"),
            **settings,
        }
        return Site(self.name, own, environment, self.server, self.ledger.rpartition("/")[2], store, proxies)


def today(at: datetime) -> date:
    """The date in the catalog's timezone."""
    return at.astimezone(ZoneInfo(TIMEZONE)).date()
