"""Files of the programs before this one, in the catalog's `legacy` folders of the store: listed, and taken out."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LockedError, NotFoundError, RefusedError
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.ledger import GOOD, Attempt, AuditEvent
from backup_pipeline.core.legacy import LEGACY, MOST_LEGACY, LegacyFile, LegacyState, judge_legacy, too_large
from backup_pipeline.core.listing import BackupFilter
from backup_pipeline.core.manifest import SnapshotEntry, StoredManifest
from backup_pipeline.core.names import Kind, Trigger, camel_case, whole
from backup_pipeline.core.plans import BlockRange, TablePlan
from backup_pipeline.core.ports import Ledger, Page, Ports, Progress, Snapshot, Source, Store
from backup_pipeline.core.ports.files import StoredObject
from backup_pipeline.core.relations import Database, Relation
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.operations.attempts import Request, running_attempt
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.download import AuditTrail, Destination

if TYPE_CHECKING:
    import pyarrow as pa

    from backup_pipeline.core.ports.ticks import BusinessRows

ADOPTED = "adopted from "
"""How the reason of a backup begins that was made of such a file; its key follows."""
MOST_ON_A_PAGE = 32 << 20
"""Bytes of a file that whoever draws a page looks into, and of all that one page waits for."""
_LISTED_FOR = timedelta(seconds=15)
_MOST_ADOPTED = 500
_PATIENCE_S = 3.0
"""How long a page waits for another one that reads; a large file of S3 takes seconds."""


def legacy_files(catalog: Catalog, store: Store) -> Sequence[LegacyFile]:
    """Every file of the folders, newest first, each read whole and judged; nothing is changed."""
    return _newest_first([_looked_at(each, store, MOST_LEGACY) for each in _objects(catalog, store)])


def _newest_first(files: Sequence[LegacyFile]) -> Sequence[LegacyFile]:
    return sorted(files, key=lambda file: (file.at is not None, file.at, file.key), reverse=True)


def _objects(catalog: Catalog, store: Store) -> Iterator[StoredObject]:
    for folder in catalog.legacy:
        yield from store.list(f"{folder}/")


def _looked_at(file: StoredObject, store: Store, most: int) -> LegacyFile:
    if file.size > most:
        return too_large(file.key, file.size, most)
    return judge_legacy(file.key, whole(store.stream(file.key), most, f"{store.url}/{file.key}"))


@dataclass(frozen=True)
class LegacyListing:
    """The files of a catalog as far as they were judged, newest first; so many `pending` are still to be read."""

    files: Sequence[LegacyFile]
    pending: int = 0


class JudgedFiles:
    """Files as they were judged, so that pages read each of them once; safe from any thread.

    A file is read again when its size or its time has changed. One page waits for `most` bytes at the most.
    """

    def __init__(self, most: int = MOST_ON_A_PAGE) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._judged: dict[StoredObject, LegacyFile] = {}
        self._listed: dict[str, tuple[datetime, Sequence[StoredObject]]] = {}

    def of(self, catalog: Catalog, store: Store, now: datetime) -> LegacyListing:
        """The files of the catalog; StoreError when the store is away, LockedError while they are read for others."""
        if not self._lock.acquire(timeout=_PATIENCE_S):
            message = "The files are being read for somebody else."
            raise LockedError(message, do="They are shown in a moment.")
        try:
            return self._looked_at(self._objects(catalog, store, now), store)
        finally:
            self._lock.release()

    def _looked_at(self, listed: Sequence[StoredObject], store: Store) -> LegacyListing:
        left, pending = self._most, 0
        for file in listed:
            if file in self._judged:
                continue
            read = file.size if file.size <= self._most else 0  # what is too large is not read
            if read > left:
                pending += 1
                continue
            self._judged[file] = _looked_at(file, store, self._most)
            left -= read
        known = [self._judged[file] for file in listed if file in self._judged]
        return LegacyListing(_newest_first(known), pending)

    def _objects(self, catalog: Catalog, store: Store, now: datetime) -> Sequence[StoredObject]:
        at, listed = self._listed.get(catalog.catalog, (None, ()))
        if at is None or not timedelta() <= now - at < _LISTED_FOR:
            listed = list(_objects(catalog, store))
            gone = set(self._listed.get(catalog.catalog, (now, ()))[1]) - set(listed)
            self._judged = {file: judged for file, judged in self._judged.items() if file not in gone}
            self._listed[catalog.catalog] = (now, listed)
        return listed


def adopted_backups(catalog: Catalog, ledger: Ledger) -> Mapping[str, Attempt]:
    """By the key of its file each backup that was made of one, the newest of several."""
    wanted = BackupFilter(catalog.catalog, tuple(sorted(GOOD)), kind=Kind.SELECTIVE, text=ADOPTED)
    rows = ledger.listings.page(wanted, limit=_MOST_ADOPTED).rows
    return {row.reason.removeprefix(ADOPTED): row for row in reversed(rows) if row.reason.startswith(ADOPTED)}


def download_legacy(key: str, to: Destination, catalog: Catalog, *, store: Store, audit: AuditTrail) -> Path:
    """The file under `key` at `to`, as it lies in the store, whatever state it is in. Errors as `taken_out`."""
    file = taken_out(key, catalog, store=store, audit=audit)
    path = to.path(file.key.rpartition("/")[2])
    with to.appearing(path) as out:
        file.note()
        out.writelines(file.chunks())
    return path


@dataclass(frozen=True)
class TakenFile:
    """A file of an earlier program on its way out. `note` writes the audit, which comes before the bytes."""

    key: str
    size: int
    note: Callable[[], None]
    chunks: Callable[[], Iterator[bytes]]


def taken_out(key: str, catalog: Catalog, *, store: Store, audit: AuditTrail) -> TakenFile:
    """The file under `key`, as it lies in the store, whatever state it is in.

    NotFoundError when the folders of the catalog have no such file: other objects of the store are not taken out so.
    """
    wanted = key.removeprefix(LEGACY)
    known = {file.key: file.size for file in _objects(catalog, store)}
    if wanted not in known:
        message = f"There is no file {wanted} in the legacy folders of {catalog.catalog}."
        raise NotFoundError(
            message, do=f"`backup-pipeline list --legacy --catalog {catalog.catalog}` shows those there."
        )
    detail = {"key": wanted, "bytes": known[wanted], "catalog": catalog.catalog}

    def note() -> None:
        audit.ledger.audit(AuditEvent(audit.clock(), audit.actor, "download", None, detail))

    return TakenFile(wanted, known[wanted], note, lambda: store.stream(wanted))


TypedRows = Callable[[Sequence[Mapping[str, object]], TablePlan, Mapping[str, str]], "pa.Table"]
"""Makes a page of a plan from rows of a document, by the names of the columns there."""


class _LegacySnapshot:
    """The port `Snapshot` of a document: its rows and its time, and the definitions of a live snapshot."""

    def __init__(self, live: Snapshot, source: LegacySource) -> None:
        self._live, self._source = live, source
        self.entry = live.entry.model_copy(update={"taken_at": source.file.at})

    def database(self) -> Database:
        return self._live.database()

    def schema_sql(self) -> str:
        return self._live.schema_sql()

    def read(self, plan: TablePlan) -> Iterator[Page]:
        if rows := self._source.rows_of(plan.name):
            names = {column.name: self._source.json_column(plan.name, column.name) for column in plan.columns}
            if unknown := sorted({key for row in rows for key in row} - set(names.values())):
                message = (
                    f"Table {plan.name} of {self._source.file.key} has {', '.join(unknown)}, which the table has not."
                )
                raise RefusedError(message, do="Restore into a database whose tables are as they were then.")
            yield Page(self._source.typed(rows, plan, names), 0.0)

    def ranges(self, plan: TablePlan, count: int) -> Sequence[BlockRange]:
        return ()  # rows of a document are nowhere on disk

    def count(self, plan: TablePlan) -> int:
        return len(self._source.rows_of(plan.name))

    def count_up_to(self, relation: Relation, most: int) -> int | None:
        return self._live.count_up_to(relation, most)

    def duplicate_keys(self, plan: TablePlan) -> int:
        names = [self._source.json_column(plan.name, name) for name in plan.key]
        keys = Counter(tuple(str(row.get(name)) for name in names) for row in self._source.rows_of(plan.name))
        return sum(count > 1 for count in keys.values())

    def businesses(self) -> BusinessRows:
        message = f"{self._source.file.key} has no versions of rows: what changed of a business can not be found in it."
        raise RefusedError(message, do="Adopt it for a catalog without businesses.")

    def cancel(self) -> None:
        self._live.cancel()


@dataclass(frozen=True)
class LegacySource:
    """The port `Source` of a good legacy file: `live` has the definitions, `typed` makes pages of its rows."""

    file: LegacyFile
    tables: Mapping[str, Sequence[Mapping[str, object]]]
    catalog: Catalog
    live: Source
    typed: TypedRows

    @property
    def url(self) -> str:
        """Where the definitions are from."""
        return self.live.url

    @contextmanager
    def snapshot(self, progress: Progress | None = None, *, lock_timeout_s: float | None = None) -> Iterator[Snapshot]:
        """A live snapshot, with the document's rows and time."""
        with self.live.snapshot(progress, lock_timeout_s=lock_timeout_s) as live:
            yield _LegacySnapshot(live, self)

    def joined(self, entry: SnapshotEntry, progress: Progress | None = None) -> AbstractContextManager[Snapshot]:
        """Refused: whoever has the file reads it alone."""
        message = f"{self.file.key} is a file: no other run can join in reading it at {entry.taken_at}."
        raise RefusedError(message, do="Adopt it by one run.")

    def rows_of(self, table: str) -> Sequence[Mapping[str, object]]:
        """The rows of a table of the catalog."""
        return self.tables.get(self.catalog.json_name_of(table), ())

    def json_column(self, table: str, column: str) -> str:
        """How a column is written in the document."""
        return camel_case(column) if self.catalog.tables[table].json_.case == "camel" else column


def adopt_legacy(key: str, catalog: Catalog, actor: Actor, ports: Ports, typed: TypedRows) -> StoredManifest:
    """Make a backup of a good legacy file, its rows typed by the live schema; what is restored then is that backup.

    It is a selective one, of the date in the file's name, and never the latest. NotFoundError for no such file;
    RefusedError for a corrupted one, one without a date, tables that the catalog has not, or a date that has a backup.
    """
    wanted = key.removeprefix(LEGACY)
    if wanted not in {file.key for file in _objects(catalog, ports.store)}:
        message = f"There is no file {wanted} in the legacy folders of {catalog.catalog}."
        raise NotFoundError(message, do=f"`backup-pipeline list --legacy --catalog {catalog.catalog}` shows them.")
    data = whole(ports.store.stream(wanted), MOST_LEGACY, wanted)
    file = judge_legacy(wanted, data)
    names = {catalog.json_name_of(table): table for table in catalog.tables}
    if file.state is not LegacyState.GOOD or file.at is None:
        why = file.message if file.state is not LegacyState.GOOD else "its name has no date"
        message = f"{wanted} is not adopted: {file.state}, {why}"
        raise RefusedError(message, do="Only a good file with a date in its name is.")
    if unknown := sorted(set(file.records) - set(names)):
        message = f"{wanted} has tables that catalog {catalog.catalog} has not: {', '.join(unknown)}."
        raise RefusedError(message, do="Name them in the catalog by `json: {name: …}`.")
    tables = tuple(names[shown] for shown in file.records)
    day = local_date(file.at, catalog.timezone)
    _refuse_taken(tables, day, catalog, ports)
    plain = catalog.model_copy(
        update={"tables": {name: spec.model_copy(update={"columns": {}}) for name, spec in catalog.tables.items()}}
    )
    source = LegacySource(file, json.loads(data, parse_float=str)["tables"], catalog, ports.source, typed)
    began, at = ports.clock(), file.at
    # Its id, its row and its snapshot are of the file's moment, where it belongs in the calendar; the audit says when.
    then = replace(ports, source=source, clock=lambda: at + (ports.clock() - began), drift=timedelta)
    request = Request(plain, Kind.SELECTIVE, tables, day, Trigger.MANUAL, actor, f"{ADOPTED}{wanted}")
    with running_attempt(request, then) as work:
        for result in export_attempt(work):
            if result.error is not None:
                raise result.error
        manifest = bundle_attempt(work)
    ports.ledger.audit(AuditEvent(began, actor, "adopt", manifest.backup_id, {"key": wanted, "sha256": file.sha256}))
    return manifest


def _refuse_taken(tables: Sequence[str], day: date, catalog: Catalog, ports: Ports) -> None:
    """The partitions of a date are those of its newest run: rows of another program take nobody's place."""
    scope = Scope(catalog.catalog)
    for table in tables:
        if ports.store.head(PartitionPlace(scope, table, day).record) is not None:
            message = f"Table {table} has a partition of {day} already."
            raise RefusedError(message, do="Nothing is adopted in the place of a backup of ours; download the file.")
