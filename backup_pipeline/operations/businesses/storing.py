"""The backup of one business: its rows as files, one bundle, its manifest last; then its row in the ledger."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa

from backup_pipeline.core.businesses.ticks import DueBusiness, KnownBusiness
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import (
    SCHEMA_PATH,
    BackupPlace,
    Member,
    deleted_path,
    file_member,
    member_paths,
)
from backup_pipeline.core.ledger import Attempt, Status, after
from backup_pipeline.core.manifest import (
    ChainEntry,
    ChangesEntry,
    FileEntry,
    Manifest,
    StoredManifest,
    TableEntry,
    seal,
)
from backup_pipeline.core.manifest.entry import table_entry
from backup_pipeline.core.names import Kind, Trigger, local_name, new_backup_id
from backup_pipeline.core.plans import TEXT, TablePlan
from backup_pipeline.core.ports import Ports, TableWriter
from backup_pipeline.core.retention import expiry
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.core.verification import Level
from backup_pipeline.operations.backup import success
from backup_pipeline.operations.browse import kept_document
from backup_pipeline.operations.bundle import head_members, manifest_of, store_bundle
from backup_pipeline.operations.businesses.changes import TickChanges, deletion_plan

TRUSTED_S = 1.0
"""For so long the ledger is not asked again whether the tick still has its lease: it writes hundreds of objects."""


@dataclass(frozen=True)
class TickWork:
    """Under which a tick's backups are made: for whom, by whom, of which run; `schema` is the DDL of its snapshot."""

    catalog: Catalog
    ports: Ports
    actor: Actor
    trigger: Trigger
    changes: TickChanges
    reason: str = ""
    run_id: str | None = None
    schema: bytes = b""


@dataclass(frozen=True)
class BusinessRowsRead:
    """The rows of a table that go into a business's backup, in which plan, and the keys of those that are gone."""

    plan: TablePlan
    rows: pa.Table
    gone: Sequence[str] = ()
    replaced: bool = False


@dataclass(frozen=True)
class StoredBusiness:
    """A backup that was made: its row, its manifest, and what the state is to know of the business from now on.

    Of one that another run has made, this one has no manifest.
    """

    attempt: Attempt
    manifest: StoredManifest | None
    known: KnownBusiness


def store_business(
    due: DueBusiness, kind: Kind, tables: Mapping[str, BusinessRowsRead], work: TickWork
) -> StoredBusiness:
    """Write the backup of a business, and read it back; its row is the caller's to add, and counts from then on.

    The bundle is one object; what makes it a backup, its manifest, comes after it; a crash anywhere leaves no backup
    rather than half of one. ValueError for a key that can be no folder.
    """
    ports, now = work.ports, work.ports.clock()
    attempt = Attempt(
        backup_id=str(new_backup_id(now, kind, ports.salt())),
        scope=Scope(work.catalog.catalog, business=due.key),
        kind=kind,
        type=work.trigger,
        status=Status.RUNNING,
        partition_date=local_date(now, work.catalog.timezone),
        created_at=now,
        started_at=now,
        actor=work.actor,
        reason=work.reason,
        run_id=work.run_id,
        tables_wanted=tuple(tables),
        goes_on_from=due.known.backup_id if kind is Kind.INCREMENTAL and due.known else None,
    )
    place = BackupPlace(attempt.scope, attempt.partition_date, attempt.backup_id)
    folder = ports.spool / attempt.backup_id
    try:
        written = [_write_table(name, read, folder, attempt, work) for name, read in tables.items()]
        manifest = _stored(place, attempt, due, written, folder, work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    document = kept_document(manifest, place, ports.store)
    outcome = success(document, ports, Level.BYTES)
    rule = work.catalog.retention_of(attempt.scope).of(attempt.type)
    expires = expiry(rule, at=manifest.snapshot.taken_at, finished=outcome.finished_at, timezone=work.catalog.timezone)
    done = after(attempt, replace(outcome, expires_at=expires))
    return StoredBusiness(done, manifest, _known(due, kind, attempt, tables, work))


def _known(
    due: DueBusiness, kind: Kind, attempt: Attempt, tables: Mapping[str, BusinessRowsRead], work: TickWork
) -> KnownBusiness:
    """What the next tick goes on from."""
    view, before = work.changes.view, due.known
    if kind is Kind.INCREMENTAL and before is not None:
        return replace(before, at=view.at, backup_id=attempt.backup_id, chain=before.chain + 1)
    texts = {
        name: [
            c.name
            for c, usual in zip(read.plan.columns, work.changes.tables[name].plan.columns, strict=True)
            if c != usual
        ]
        for name, read in tables.items()
    }
    return KnownBusiness(
        key=due.key,
        at=view.at,
        fingerprint=view.fingerprint,
        backup_id=attempt.backup_id,
        base_id=attempt.backup_id,
        base_at=view.at.taken_at,
        as_text={name: columns for name, columns in texts.items() if columns},
    )


@dataclass(frozen=True)
class _Written:
    """A table's files on this machine: its entry, and, of an incremental backup, what changed."""

    entry: TableEntry
    sheet_file: str | None
    changes: ChangesEntry


def _write_table(name: str, read: BusinessRowsRead, folder: Path, attempt: Attempt, work: TickWork) -> _Written:
    plan, timezone, formats = read.plan, work.catalog.timezone, work.ports.formats
    entry = work.changes.entry
    sheets = attempt.kind is Kind.FULL
    files = _write(formats.writer(plan, _made(folder / name), timezone, sheets=sheets), read.rows)
    deleted = None
    if read.gone:
        gone = deletion_plan(plan)
        writer = formats.writer(gone, _made(folder / "deleted" / name), timezone, sheets=False)
        (deleted,) = _write(writer, key_rows(gone, read.gone))
    table = table_entry(plan, files, (), entry, exported_by=attempt.backup_id, seconds=0.0)
    changes = ChangesEntry(rows=read.rows.num_rows, deleted=deleted, replaced=read.replaced)
    return _Written(table, local_name(plan.sheet.file, entry.taken_at, timezone) if plan.sheet.file else None, changes)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, mode=0o700)
    return folder


def _write(writer: TableWriter, rows: pa.Table) -> tuple[FileEntry, ...]:
    try:
        if rows.num_rows:
            writer.write(rows)
        return writer.close()
    except BaseException:
        writer.abort()
        raise


def key_rows(plan: TablePlan, keys: Sequence[str]) -> pa.Table:
    """Keys, given as texts, as rows of the key's columns in their Arrow types; of several columns a JSON array each."""
    columns = {column.name: column for column in plan.columns}
    values = [[text] for text in keys] if len(plan.key) == 1 else [json.loads(text) for text in keys]
    return pa.table(
        {name: _typed([row[place] for row in values], columns[name].arrow_type) for place, name in enumerate(plan.key)}
    )


def _typed(texts: Sequence[str], kind: str) -> pa.Array:
    """PostgreSQL's texts as values of the Arrow type that core's plans call `kind`."""
    if kind == TEXT:
        return pa.array(texts, pa.string())
    if kind == "uuid":
        return pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(t).bytes for t in texts], pa.binary(16)))
    if kind.startswith("decimal128"):
        digits, scale = (int(part) for part in kind.removeprefix("decimal128(").rstrip(")").split(","))
        return pa.array([Decimal(text) for text in texts], pa.decimal128(digits, scale))
    parse, target = _PARSED[kind]
    return pa.array([parse(text) for text in texts], target)


_PARSED: Mapping[str, tuple[Callable[[str], object], pa.DataType]] = {
    "bool": (lambda text: text in {"t", "true"}, pa.bool_()),
    "int16": (int, pa.int16()),
    "int32": (int, pa.int32()),
    "int64": (int, pa.int64()),
    "float": (float, pa.float32()),
    "double": (float, pa.float64()),
    "binary": (lambda text: bytes.fromhex(text.removeprefix("\\x")), pa.binary()),
    "date32[day]": (date.fromisoformat, pa.date32()),
    "time64[us]": (time.fromisoformat, pa.time64("us")),
    "timestamp[us]": (datetime.fromisoformat, pa.timestamp("us")),
    "timestamp[us, tz=UTC]": (datetime.fromisoformat, pa.timestamp("us", tz="UTC")),
}


def _stored(
    place: BackupPlace, attempt: Attempt, due: DueBusiness, written: Sequence[_Written], folder: Path, work: TickWork
) -> StoredManifest:
    ports = work.ports
    manifest = _manifest(attempt, due, written, work)
    local = manifest.snapshot.taken_at.astimezone(ZoneInfo(manifest.timezone))
    schema = work.schema if attempt.kind is Kind.FULL else b""
    members = [*head_members(manifest, schema, ports), *_file_members(written, folder, local)]
    stored = StoredManifest(
        **manifest.model_dump(), bundle=store_bundle(place.bundle(manifest.bundle_name), members, ports)
    )
    ports.store.keep(place.manifest, [seal(stored)])
    return stored


def _manifest(attempt: Attempt, due: DueBusiness, written: Sequence[_Written], work: TickWork) -> Manifest:
    catalog, entry, ports = work.catalog, work.changes.entry, work.ports
    tables = tuple(each.entry for each in written)
    known = due.known
    chain = None
    if attempt.kind is Kind.INCREMENTAL and known is not None:
        changes = {each.entry.name: each.changes for each in written}
        chain = ChainEntry(
            base=str(known.base_id), previous=str(known.backup_id), number=known.chain + 1, tables=changes
        )
    schema = work.schema if attempt.kind is Kind.FULL else b""
    title = f"{catalog.title}: {due.name}" if due.name else catalog.title
    return manifest_of(
        attempt, catalog, tables, entry, ports, title=title, chain=chain, entries=_entries(written, schema)
    )


def _entries(written: Sequence[_Written], schema: bytes) -> Mapping[str, str]:
    files = {path: file.sha256 for each in written for file, path in member_paths(each.entry, each.sheet_file)}
    files |= {deleted_path(e.entry.name): e.changes.deleted.sha256 for e in written if e.changes.deleted}
    return files | ({SCHEMA_PATH: hashlib.sha256(schema).hexdigest()} if schema else {})


def _file_members(written: Sequence[_Written], folder: Path, modified: datetime) -> Iterator[Member]:
    for each in written:
        for file, path in member_paths(each.entry, each.sheet_file):
            yield file_member(file, path, modified, _chunks(folder / each.entry.name, file))
        if deleted := each.changes.deleted:
            chunks = _chunks(folder / "deleted" / each.entry.name, deleted)
            yield file_member(deleted, deleted_path(each.entry.name), modified, chunks)


def _chunks(folder: Path, file: FileEntry) -> Sequence[bytes]:
    return [(folder / file.stored.name).read_bytes()]
