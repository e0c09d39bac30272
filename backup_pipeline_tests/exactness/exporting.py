"""Exports made for tests: the real operation, from a real database, into a store in memory, and its files read back."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.layout import PartitionPlace, schema_key
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Formats, Ledger, Ports, Progress, Silence, Store
from backup_pipeline.core.relations import write_relation
from backup_pipeline.core.scope import Scope
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.attempts import Request, Work
from backup_pipeline.operations.export import TableResult, export_tables
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.ledgers import new_ledger

DAY = date(2026, 11, 21)
CATALOG = "exact"
Relation = tuple[str, str]


class Quiet:
    """The port `Alerter` with nobody to tell."""

    channels: Sequence[str] = ()

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        return []


@dataclass(frozen=True)
class Export:
    """What one run left behind: the result of each table, and the store with the files."""

    results: Mapping[str, TableResult]
    store: Store

    def error(self, table: str) -> BackupError | None:
        return self.results[table].error

    def entry(self, table: str) -> TableEntry:
        result = self.results[table]
        if result.error:
            raise result.error
        assert result.partition is not None
        return result.partition.table

    def files(self, table: str, kind: str) -> list[bytes]:
        """The table's files of one format as they lie in the store; what the record says of each is checked."""
        return [self._read(table, file) for file in self.entry(table).files if file.format == kind]

    def parquet(self, table: str) -> pa.Table:
        """All of the table's Parquet parts, in order."""
        return pa.concat_tables([pq.ParquetFile(io.BytesIO(data)).read() for data in self.files(table, "parquet")])

    def published(self, table: str) -> list[str]:
        """Whatever the store has of the table."""
        return [found.key for found in self.store.list(PartitionPlace(Scope(CATALOG), table, DAY).prefix)]

    def schema_sql(self) -> str:
        return self.store.get(schema_key(Scope(CATALOG), DAY)).decode()

    def _read(self, table: str, file: FileEntry) -> bytes:
        data = self.store.get(PartitionPlace(Scope(CATALOG), table, DAY).file(file.name))
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
        return data


# What tests of exactness call a relation that is no table; a table may have such a name too.
_KINDS = {"seen": "view", "seen_twice": "view", "slow": "view", "inherited": "view", "kept": "materialized view"}


def catalog_of(relations: Mapping[str, Relation], specs: Mapping[str, Mapping[str, Any]] | None = None) -> Catalog:
    """A catalog of these relations under the names of their keys; `specs` has more about some."""
    more = specs or {}
    tables = {
        name: {"relation": write_relation(*of), "kind": _KINDS.get(of[1]), **more.get(name, {})}
        for name, of in relations.items()
    }
    return Catalog.model_validate({"catalog": CATALOG, "timezone": "Asia/Dhaka", "tables": tables})


def public(names: Iterable[str]) -> Catalog:
    """A catalog of tables of the schema `public`, each under its own name."""
    return catalog_of({name: ("public", name) for name in names})


@dataclass
class Exporter:
    """How exports are made: from where, with which pages and workers, and who listens."""

    url: str
    spool: Path
    workers: int = 2
    page_rows: int | None = None
    progress: Progress = Silence()  # noqa: RUF009  it has no state
    formats: Formats = FileFormats()  # noqa: RUF009  it has no state
    options: Mapping[str, Any] | None = None
    ledger: Ledger = field(default_factory=new_ledger)

    def export(self, catalog: Catalog, tables: Sequence[str] = ()) -> Export:
        store = MemoryStore()
        wanted = tuple(tables) or tuple(catalog.tables)
        request = Request(catalog, Kind.TABLES, wanted, DAY, type=Trigger.MANUAL, actor=TESTER)
        now = datetime.now(UTC)
        attempt = Attempt(
            backup_id="test",
            scope=Scope(CATALOG),
            kind=Kind.TABLES,
            type=Trigger.MANUAL,
            status=Status.RUNNING,
            partition_date=DAY,
            created_at=now,
            started_at=now,
            actor=TESTER,
        )
        with closing(export_tables(Work(request, attempt, self._ports(store)))) as results:
            return Export({result.table: result for result in results}, store)

    def _ports(self, store: Store) -> Ports:
        sizes = {"first_page_rows": self.page_rows, "max_page_rows": self.page_rows} if self.page_rows else {}
        source = PostgresSource(self.url, options=SourceOptions(**{**sizes, **(self.options or {})}))
        return ports_for_test(
            source=source,
            formats=self.formats,
            store=store,
            ledger=self.ledger,
            progress=self.progress,
            spool=self.spool,
            workers=self.workers,
        )
