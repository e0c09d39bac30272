"""Query: SQL over the tables of the newest partitions, of a date's, or of a backup; each file compared before."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol

from backup_pipeline.core.errors import NotFoundError, UsageError, full_disk_explained
from backup_pipeline.core.layout import QUERIES
from backup_pipeline.core.manifest import StoredManifest, TableEntry
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.ports import BytesMoved, Clock, Formats, Ports, Progress, StageStarted, Store
from backup_pipeline.core.ports.files import FetchedTable, Queries, QueryRows
from backup_pipeline.core.restore.tables import packed_files
from backup_pipeline.operations.browse import LATEST, OpenBackup
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.operations.leases import reading
from backup_pipeline.operations.read import (
    ReadRequest,
    dates_of,
    parquet_files,
    plain_chunks,
    replacing_explained,
    stored_partition,
    table_names,
)
from backup_pipeline.operations.restore.transfer import Fetching

_LEFT_AFTER = timedelta(days=1)
"""A folder that is older was left by a process that was killed."""
_MOST_SQL = 10_000
"""Characters of the SQL that the audit keeps."""
_NAMES = 100


def parse_as_of(text: str | None) -> date | str | None:
    """What is queried: None the newest partitions, a date's, or a backup by its id or `latest`. UsageError."""
    if text is None or text == LATEST:
        return text
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        pass
    try:
        return str(parse_backup_id(text))
    except UsageError as error:
        message = f"{text!r} is neither a date nor a backup."
        raise UsageError(message, do="Write 2026-11-21, a backup id of `backup-pipeline list`, or latest.") from error


@dataclass(frozen=True)
class QuerySource:
    """A table that is queried: what it is, the backup that exported it, its size, and the way to its files."""

    entry: TableEntry
    day: date
    backup_id: str
    fetch: Callable[[Path], Sequence[Path]]

    @property
    def bytes(self) -> int:
        """The bytes of its Parquet files."""
        return sum(file.bytes for file in self.entry.files if file.format == "parquet")


class QueriedTables(Protocol):
    """The tables that a query can be about."""

    def names(self) -> Collection[str]:
        """Their names."""

    def source(self, name: str) -> QuerySource:
        """One of them; NotFoundError, with what there is, when it is not there."""


@dataclass(frozen=True)
class Partitions:
    """The partitions of a catalog: of `day`, or the newest of each table."""

    catalog: str
    day: date | None
    ports: tuple[Store, Formats, Clock, Progress]

    def names(self) -> Collection[str]:
        """The tables that have partitions."""
        return table_names(self.catalog, self.ports[0])

    def has(self, name: str) -> bool:
        """Whether there is a table of exactly this name; UsageError where it can be none's."""
        request = ReadRequest(self.catalog, name)
        return bool(dates_of(request.catalog, request.table, self.ports[0]))

    def source(self, name: str) -> QuerySource:
        """The partition of a table; its record's seal is checked. Errors as in `read_partition`."""
        store, formats, clock, progress = self.ports
        place, record = stored_partition(ReadRequest(self.catalog, name, self.day), store=store, clock=clock)

        def fetch(folder: Path) -> Sequence[Path]:
            paths = []
            with replacing_explained(place, record, store):
                for number, file in enumerate(parquet_files(record)):
                    paths.append(folder / f"{name}-{number:05d}.parquet")
                    with paths[-1].open("wb") as out:
                        for chunk in plain_chunks(file, record, place, store, formats):
                            out.write(chunk)
                            progress.tell(BytesMoved(len(chunk)))
            return paths

        return QuerySource(record.table, record.partition_date, record.table.exported_by, fetch)


@dataclass(frozen=True)
class Bundled:
    """The tables of one backup, in its bundle."""

    opened: OpenBackup[StoredManifest]
    fetching: Fetching

    def names(self) -> Collection[str]:
        """The tables of the backup."""
        return [table.name for table in self.opened.manifest.tables]

    def source(self, name: str) -> QuerySource:
        """A table of the backup."""
        manifest = self.opened.manifest
        entry = next((table for table in manifest.tables if table.name == name), None)
        if entry is None:
            raise _unknown(name, f"Backup {manifest.backup_id}", self.names())

        def fetch(folder: Path) -> Sequence[Path]:
            files = packed_files(entry, manifest)
            paths = [folder / f"{name}-{number:05d}.parquet" for number in range(len(files))]
            for file, path in zip(files, paths, strict=True):
                self.fetching.fetch(file, path)
            return paths

        return QuerySource(entry, manifest.partition_date, manifest.backup_id, fetch)


@dataclass(frozen=True)
class Answer:
    """The rows of a query, and the tables that they are of."""

    rows: QueryRows
    sources: Sequence[QuerySource]


@dataclass(frozen=True)
class QueryRequest:
    """The SQL, the tables that it can be about, and the zone in which it sees times."""

    sql: str
    tables: QueriedTables
    timezone: str


@contextmanager
def answered(request: QueryRequest, queries: Queries, ports: Ports, audit: AuditTrail) -> Iterator[Answer]:
    """The answer to a query, as long as the context lasts.

    The SQL is checked before anything is fetched, the audit is written before any row can be seen, and each file is
    compared with its SHA-256 before it is queried; prune keeps the backups meanwhile. RefusedError for SQL that does
    not only read the tables; UsageError for SQL that is wrong; NotFoundError for a table that is not there;
    VerificationError, DecryptError; DiskFullError.
    """
    sources = _sources(queries.names(request.sql), request.tables)
    queries.check(request.sql, [source.entry for source in sources], request.timezone)
    with ExitStack() as kept:
        for backup_id in dict.fromkeys(source.backup_id for source in sources):
            kept.enter_context(reading(backup_id, "query", audit.actor, ports))
        folder = kept.enter_context(_folder(ports.spool / QUERIES))
        _note(request.sql, sources, audit)
        ports.progress.tell(StageStarted("fetch", sum(source.bytes for source in sources)))
        with _room(folder):
            fetched = [FetchedTable(source.entry, source.fetch(folder)) for source in sources]
        ports.progress.tell(StageStarted("query"))
        with queries.rows(request.sql, fetched, request.timezone, folder) as rows:
            yield Answer(rows, sources)


def _sources(names: Collection[str], tables: QueriedTables) -> Sequence[QuerySource]:
    """The tables that the SQL names. As in SQL, a name without its capitals will do where there is one table of it."""
    if not names:
        message = "The query names no table."
        raise UsageError(message, do=f"There are the tables {', '.join(sorted(tables.names())[:_NAMES])}.")
    sources = [tables.source(name) for name in sorted({_meant(name, tables) for name in names})]
    by_sql: dict[str, str] = {}
    for name in (source.entry.name for source in sources):
        other = by_sql.setdefault(name.casefold(), name)
        if other != name:
            message = f"The tables {other} and {name} differ in capitals alone, and SQL does not tell them apart."
            raise UsageError(message, do="Query one of them at a time.")
    return sources


def _meant(name: str, tables: QueriedTables) -> str:
    if isinstance(tables, Partitions) and tables.has(name):
        return name  # without a list of all tables
    there = tables.names()
    if name in there:
        return name
    alike = [other for other in there if other.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    raise _unknown(name, f"Catalog {tables.catalog}" if isinstance(tables, Partitions) else "The backup", there)


def _unknown(name: str, whose: str, there: Collection[str]) -> NotFoundError:
    tables = ", ".join(sorted(there)[:_NAMES]) or "none at all"
    return NotFoundError(f"{whose} has no table {name}.", do=f"There are its tables {tables}.")


def _note(sql: str, sources: Sequence[QuerySource], audit: AuditTrail) -> None:
    """A row for each backup whose rows are seen: who, which tables, the SQL."""
    tables: dict[str, list[str]] = {}
    for source in sources:
        tables.setdefault(source.backup_id, []).append(source.entry.name)
    for backup_id, names in tables.items():
        audit.note("query", backup_id, tables=names, sql=sql[:_MOST_SQL])


@contextmanager
def _folder(spool: Path) -> Iterator[Path]:
    """A folder for the tables, for its owner only: they are plain. Those that killed processes left are removed."""
    with _room(spool):
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in spool.iterdir():
            if datetime.now(UTC) - datetime.fromtimestamp(left.stat().st_mtime, UTC) > _LEFT_AFTER:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="query-", dir=spool, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _room(folder: Path) -> AbstractContextManager[None]:
    return full_disk_explained(f"There is no room in {folder} for the tables of the query.")
