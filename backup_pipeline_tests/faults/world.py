"""A small installation for faults: a source, a ledger and a store, each behind a proxy, and what must hold of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.faults.children import Child, Deed, start
from backup_pipeline_tests.faults.deeds import CATALOG, Ended
from backup_pipeline_tests.faults.proxy import FaultProxy
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.servers.swift import SwiftServer

ROWS = {"goods": 500, "sold": 2000, "notes": 70}
SQL = """
CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price numeric(10, 2));
CREATE TABLE sold (id int PRIMARY KEY, good_id int REFERENCES goods, at timestamptz, what text);
CREATE TABLE notes (body text);
INSERT INTO goods SELECT n, 'good ' || n, n * 1.5 FROM generate_series(1, 500) n;
INSERT INTO sold SELECT n, n % 500 + 1, now(), md5(n::text) || md5((-n)::text) FROM generate_series(1, 2000) n;
INSERT INTO notes SELECT 'note ' || n FROM generate_series(1, 70) n;
"""
YAML = """
catalog: shop
timezone: Asia/Dhaka
tables: {goods: , sold: , notes: }
retention:
  automatic: {keep_last: 2, min_keep: 1, grace_minutes: 0}
  manual: {keep_last: 2, min_keep: 1, grace_minutes: 0}
"""
GOOD = {"success", "success_with_warnings"}


@dataclass(frozen=True)
class Shelf:
    """A store as anybody sees it who looks into its directory or its bucket."""

    directory: Path | None = None
    server: SwiftServer | None = None
    bucket: str = ""

    def objects(self) -> dict[str, bytes]:
        """Every object there, whole."""
        if self.directory is not None:
            files = [path for path in self.directory.rglob("*") if path.is_file()]
            return {path.relative_to(self.directory).as_posix(): path.read_bytes() for path in files}
        for _ in range(50):
            # The server may still be working off the last request of a process that was killed.
            with suppress(self._client.exceptions.NoSuchKey):
                return self._in_bucket()
            time.sleep(0.1)
        raise AssertionError("the objects of the bucket never stand still")

    def _in_bucket(self) -> dict[str, bytes]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key: self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def uploads(self) -> list[str]:
        """Uploads in parts that nobody completed."""
        if self.directory is not None:
            return []
        return [found["Key"] for found in self._client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]

    @cached_property
    def _client(self) -> Any:
        assert self.server is not None
        return self.server.client()


@dataclass(frozen=True)
class World:
    """Where everything of one test is. A child reaches source, ledger and S3 through their proxies only."""

    home: Path
    source_url: str
    ledger_url: str
    shelf: Shelf
    source: FaultProxy
    ledger: FaultProxy
    store: FaultProxy | None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further ones, for every process."""

    @property
    def proxies(self) -> Mapping[str, FaultProxy]:
        """By what is behind them."""
        found = {"source": self.source, "ledger": self.ledger}
        return {**found, "store": self.store} if self.store else found

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a process of this installation."""
        values = {
            "BACKUP_HOME": str(self.home),
            "BACKUP_CATALOGS": str(self.home / "catalogs"),
            "BACKUP_CATALOG": CATALOG,
            "BACKUP_SOURCE_URL": self.source.url,
            "BACKUP_LEDGER_URL": self.ledger.url,
            "BACKUP_STORE": (self.home / "store").as_uri(),
            "BACKUP_CONNECT_TIMEOUT_S": "3",
            **self.settings,
        }
        if self.store is None:
            return values
        assert self.shelf.server is not None
        return {
            **values,
            "BACKUP_STORE": f"s3://{self.shelf.bucket}",
            "BACKUP_S3_ENDPOINT_URL": self.store.url,
            "BACKUP_S3_REGION": self.shelf.server.region,
            "AWS_ACCESS_KEY_ID": self.shelf.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.shelf.server.secret_key,
        }

    def start(self, deed: Deed) -> Child:
        """Begin `deed` in a process of its own."""
        return start(deed, self.environment)

    def do(self, deed: Deed) -> Ended:
        """Do it to its end."""
        ended = self.start(deed).ended()
        assert ended is not None, "somebody killed it"
        return ended

    def fill(self, table: str, *, kib: int) -> None:
        """Give each row's text so much that does not compress away."""
        text = f"(SELECT string_agg(md5(random()::text || n || {table}.id), '') FROM generate_series(1, {kib * 32}) n)"
        with psycopg.connect(self.source_url) as session:
            session.execute(f"UPDATE {table} SET name = {text}".encode())

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `backup_logs`, the newest first."""
        with psycopg.connect(self.ledger_url, row_factory=dict_row) as session:
            found = session.execute("SELECT * FROM backup_logs ORDER BY created_at DESC, id DESC").fetchall()
        return list(found)

    def sessions(self) -> int:
        """How many connections of ours the source still has."""
        query = """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name LIKE 'backup_pipeline %'"""
        with psycopg.connect(self.source_url) as session:
            row = session.execute(query).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def world(server: EmbeddedPostgres, home: Path, s3: SwiftServer | None = None, bucket: str = "") -> Iterator[World]:
    """An installation in `home`, with its store in the bucket, or else in a directory."""
    (home / "catalogs").mkdir()
    (home / "catalogs" / "shop.yaml").write_text(YAML)
    with temporary_database(server) as source_url, temporary_database(server) as ledger_url:
        with psycopg.connect(source_url) as session:
            session.execute(SQL.encode())
        SqlLedger.create(ledger_url).close()
        with FaultProxy(source_url) as source, FaultProxy(ledger_url) as ledger:
            if s3 is None:
                yield World(home, source_url, ledger_url, Shelf(home / "store"), source, ledger, None)
                return
            with FaultProxy(s3.endpoint_url) as store:
                shelf = Shelf(server=s3, bucket=bucket)
                yield World(home, source_url, ledger_url, shelf, source, ledger, store)
