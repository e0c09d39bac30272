"""A store and a ledger with backups in them that only look like some: for tests of what removes backups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from backup_pipeline.core.layout import PartitionPlace, schema_key
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.manifest import PartitionRecord, StoredBundle, seal
from backup_pipeline.core.ports import Ledger, Ports, Store, StoredObject
from backup_pipeline.core.retention import Retention
from backup_pipeline.core.retention.prune import PrunePlan
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.retention import PruneReport, prune
from backup_pipeline.operations.retention.plan import PruneRequest, plan_prune
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.core.retained import NOW, backup
from backup_pipeline_tests.core.test_manifest import snapshot, stored
from backup_pipeline_tests.core.test_manifest import table as table_entry
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

TABLES = ("goods", "sold")
BUNDLE = "full_backup.zip"


def bundle_of(row: Attempt) -> bytes:
    return b"b" * (row.file_size_bytes or 1000)


def manifest_of(row: Attempt) -> bytes:
    """A manifest that fits the backup: in all that is compared without a look at the rows."""
    data = bundle_of(row)
    taken = row.snapshot_at or row.started_at
    fields: dict[str, Any] = {
        "backup_id": row.backup_id,
        "catalog": row.scope.catalog,
        "business": row.scope.business,
        "purpose": row.scope.purpose,
        "kind": row.kind,
        "partition_date": row.partition_date,
        "snapshot": snapshot().model_copy(update={"taken_at": taken}),
        "bundle": StoredBundle(name=BUNDLE, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()),
        "tables": (),
    }
    return seal(stored(**fields))


def record_of(place: PartitionPlace) -> bytes:
    """A record of a partition without files."""
    entry = table_entry(name=place.table, files=())
    scope = place.scope
    named = {"catalog": scope.catalog, "business": scope.business, "purpose": scope.purpose}
    return seal(PartitionRecord.model_validate({**named, "partition_date": place.day, "table": entry}))


def filed(row: Attempt) -> Attempt:
    """The row, with what the ledger knows of the files of its backup."""
    if row.kind == "tables" or row.sha256 is not None:
        return row
    return replace(
        row,
        file_name=BUNDLE,
        file_path=place_of(row).bundle(BUNDLE),
        sha256=hashlib.sha256(bundle_of(row)).hexdigest(),
        manifest_sha256=hashlib.sha256(manifest_of(row)).hexdigest(),
    )


@dataclass
class Shelved:
    """Everything of one test; the clock stands still unless a test moves it."""

    now: datetime = NOW
    wish: PruneRequest = field(default_factory=lambda: PruneRequest(Scope("shop"), TESTER, Retention(), "Asia/Dhaka"))
    store: Any = None
    ledger: ScratchLedger = field(default_factory=new_ledger)

    def __post_init__(self) -> None:
        self.memory = MemoryStore(clock=lambda: self.now)
        self.faulty = FaultyStore(self.memory)
        self.store = self.store or self.faulty

    @property
    def ports(self) -> Ports:
        return ports_for_test(store=self.store, ledger=self.ledger, clock=lambda: self.now)

    def add(self, *rows: Attempt, partitions: bool = True) -> None:
        """Put backups into store and ledger, each at its own time."""
        for row in rows:
            self.file(row, partitions=partitions)
            add_row(self.ledger, filed(row))

    def file(self, row: Attempt, *, partitions: bool = True, manifest: bool = True) -> None:
        """Put what a backup leaves in the store there, at its time."""
        present, self.now = self.now, row.finished_at or row.started_at
        place = place_of(row)
        if row.kind != "tables":
            self.store.put(place.bundle(BUNDLE), [bundle_of(row)])
        if manifest and row.kind != "tables":
            self.store.put(place.manifest, [manifest_of(row)])
        for table in TABLES if partitions else ():
            folder = PartitionPlace(row.scope, table, row.partition_date)
            self.store.put(folder.file("part-00000.parquet"), [b"p"])
            self.store.put(folder.record, [record_of(folder)])
        self.store.put(schema_key(row.scope, row.partition_date), [b"-- ddl"])
        self.now = present

    def plan(self) -> PrunePlan:
        return plan_prune(self.wish, self.ports)

    def prune(self) -> PruneReport:
        return prune(self.plan(), self.wish, self.ports)

    def stored(self, prefix: str = "") -> list[str]:
        return keys_of(self.memory if self.store is self.faulty else self.store, prefix)

    def row(self, backup_id: str) -> Attempt:
        found = self.ledger.get(backup_id)
        assert found is not None
        return found

    def statuses(self) -> list[str]:
        """Of every row, the newest backup first."""
        return [str(row.status) for row in self.ledger.list()]

    def actions(self, backup_id: str | None = None) -> list[str]:
        """What the audit says, in order; of one backup or of all."""
        return [event.action for event in reversed(self.ledger.audits(backup_id)) if event.backup_id == backup_id]


def keys_of(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


def add_row(ledger: Ledger, row: Attempt) -> None:
    """The row as it is, whatever way it came to be so."""
    ledger.adopt([row], [])


def old(count: int, *, first: int = 40, **fields: Any) -> list[Attempt]:
    """So many backups, `first` days old and older: what retention lets go."""
    return [backup(NOW - timedelta(days=first + back), salt=back, **fields) for back in range(count)]


def with_status(row: Attempt, status: Status) -> Attempt:
    return replace(row, status=status)


def sizes(found: Iterable[StoredObject]) -> int:
    return sum(stored.size for stored in found)
