"""Files of the programs before this one, in the catalog's `legacy` folders of the store: listed, and taken out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError, RefusedError
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.legacy import MOST_LEGACY, LegacyFile, LegacyState, judge_legacy, too_large
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.names import Kind, Trigger, camel_case, whole
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Page, Ports, Progress, Snapshot, Source, Store
from backup_pipeline.core.relations import Database, Relation
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.operations.attempts import Request, running_attempt
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.download import AuditTrail, Destination

if TYPE_CHECKING:
    import pyarrow as pa

LEGACY = "legacy:"
"""How the name of such a file begins where a backup id could stand."""


def legacy_files(catalog: Catalog, store: Store) -> Sequence[LegacyFile]:
    """Every file of the folders, newest first, each read whole and judged; nothing is changed."""
    files = [_looked_at(key, size, store) for key, size in _objects(catalog, store)]
    return sorted(files, key=lambda file: (file.at is not None, file.at, file.key), reverse=True)


def _objects(catalog: Catalog, store: Store) -> Iterator[tuple[str, int]]:
    for folder in catalog.legacy:
        for each in store.list(f"{folder}/"):
            yield each.key, each.size


def _looked_at(key: str, size: int, store: Store) -> LegacyFile:
    if size > MOST_LEGACY:
        return too_large(key, size)
    return judge_legacy(key, whole(store.stream(key), MOST_LEGACY, f"{store.url}/{key}"))


def download_legacy(key: str, to: Destination, catalog: Catalog, *, store: Store, audit: AuditTrail) -> Path:
    """The file under `key` at `to`, as it lies in the store, whatever state it is in; its path.

    NotFoundError when the folders of the catalog have no such file: other objects of the store are not taken out so.
    """
    wanted = key.removeprefix(LEGACY)
    known = dict(_objects(catalog, store))
    if wanted not in known:
        message = f"There is no file {wanted} in the legacy folders of {catalog.catalog}."
        raise NotFoundError(
            message, do=f"`backup-pipeline list --legacy --catalog {catalog.catalog}` shows those there."
        )
    path = to.path(wanted.rpartition("/")[2])
    with to.appearing(path) as file:
        # The audit comes before the bytes, as with a backup.
        detail = {"key": wanted, "bytes": known[wanted], "catalog": catalog.catalog}
        audit.ledger.audit(AuditEvent(audit.clock(), audit.actor, "download", None, detail))
        file.writelines(store.stream(wanted))
    return path


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

    def count(self, plan: TablePlan) -> int:
        return len(self._source.rows_of(plan.name))

    def count_up_to(self, relation: Relation, most: int) -> int | None:
        return self._live.count_up_to(relation, most)

    def duplicate_keys(self, plan: TablePlan) -> int:
        names = [self._source.json_column(plan.name, name) for name in plan.key]
        keys = Counter(tuple(str(row.get(name)) for name in names) for row in self._source.rows_of(plan.name))
        return sum(count > 1 for count in keys.values())

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
    if wanted not in dict(_objects(catalog, ports.store)):
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
    request = Request(plain, Kind.SELECTIVE, tables, day, Trigger.MANUAL, actor, f"adopted from {wanted}")
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
