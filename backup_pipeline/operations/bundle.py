"""The bundle: the partitions of a date as one ZIP in the store, read back and compared; its manifest comes last."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any
from zoneinfo import ZoneInfo

from backup_pipeline import __version__
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LedgerError, NotFoundError, StoreError, VerificationError
from backup_pipeline.core.keys import check_alike, encryption_entry
from backup_pipeline.core.layout import (
    MANIFEST_PATH,
    README_PATH,
    SCHEMA_PATH,
    BackupPlace,
    Member,
    PartitionPlace,
    bytes_member,
    file_member,
    member_paths,
    schema_key,
)
from backup_pipeline.core.ledger import Attempt, AuditEvent, Status
from backup_pipeline.core.manifest import (
    ExcludedEntry,
    Manifest,
    PartitionRecord,
    SnapshotEntry,
    StoredBundle,
    StoredFile,
    StoredManifest,
    TableEntry,
    Totals,
    seal,
)
from backup_pipeline.core.names import bundle_template, local_name
from backup_pipeline.core.ports import BytesMoved, Ports, StageStarted, Store
from backup_pipeline.core.restore.dump import dump_problem
from backup_pipeline.core.restore.plan import broken_warnings
from backup_pipeline.core.schedule import differing
from backup_pipeline.operations.anomalies import count_orphans, keep_shape, with_anomalies
from backup_pipeline.operations.attempts import Work
from backup_pipeline.operations.browse import ahead, load_partition

logger = logging.getLogger(__name__)


def make_bundle(work: Work) -> StoredManifest:
    """Bundle the newest partitions of the attempt's date; the manifest as it now stands in the store.

    The bundle is one object, written first; it is read back and compared; its manifest comes last, so that a crash
    anywhere leaves no backup rather than half of one. Raises NotFoundError naming every table without a partition,
    RefusedError for partitions that are encrypted otherwise than backups are now, and VerificationError when the store
    does not give back what it was given (the object is then removed).
    """
    ports = work.ports
    partitions = _partitions(work)
    check_alike(partitions, ports.formats.recipients)
    schema = _schema(partitions, work)
    manifest = _with_findings(_manifest(partitions, schema, work), work)
    place = BackupPlace(manifest.scope, manifest.partition_date, manifest.backup_id)
    members = [*head_members(manifest, schema, ports), *_file_members(partitions, work)]
    ports.progress.tell(StageStarted("bundle", manifest.totals.bytes))
    bundle = store_bundle(place.bundle(manifest.bundle_name), members, ports)
    stored = StoredManifest(**manifest.model_dump(), bundle=bundle)
    keep_shape(stored, ports)
    ports.store.keep(place.manifest, [seal(stored)])
    _note_protection(place.manifest, work)
    return stored


def head_members(manifest: Manifest, schema: bytes, ports: Ports) -> Iterator[Member]:
    """What stands before the files of a bundle: the manifest, how to recover it all, and the DDL where there is one."""
    local = manifest.snapshot.taken_at.astimezone(ZoneInfo(manifest.timezone))  # a ZIP shows the wall clock it is given
    yield bytes_member(MANIFEST_PATH, local, seal(manifest))
    yield bytes_member(README_PATH, local, ports.formats.readme(manifest, schema.decode(errors="replace")).encode())
    if schema:
        yield bytes_member(SCHEMA_PATH, local, schema)


def manifest_of(
    attempt: Attempt, catalog: Catalog, tables: Sequence[TableEntry], newest: SnapshotEntry, ports: Ports, **more: Any
) -> Manifest:
    """The manifest of a backup of `tables` out of snapshots of which `newest` is the last, with what it says beyond.

    `more` are fields of the manifest; without them it is a success, and consistent.
    """
    known = {
        "backup_id": attempt.backup_id,
        "catalog": attempt.scope.catalog,
        "business": attempt.scope.business,
        "purpose": attempt.scope.purpose,
        "title": catalog.title,
        "kind": attempt.kind,
        "type": attempt.type,
        "created_by": str(attempt.actor),
        "reason": attempt.reason,
        "status": Status.SUCCESS,
        "consistent": True,
        "partition_date": attempt.partition_date,
        "timezone": catalog.timezone,
        "started_at": attempt.started_at,
        "finished_at": ports.clock(),
        "snapshot": newest,
        "tables": tuple(tables),
        "totals": totals_of(tables),
        "bundle_name": local_name(
            bundle_template(catalog.bundle_name, attempt.kind), newest.taken_at, catalog.timezone
        ),
        "encryption": encryption_entry(ports.formats.recipients),
        "pipeline_version": __version__,
        "run_id": attempt.run_id,
    }
    return Manifest(**{**known, **more})


def _partitions(work: Work) -> list[PartitionRecord]:
    partitions: list[PartitionRecord] = []
    missing: list[str] = []
    for table in work.request.tables:
        place = PartitionPlace(work.attempt.scope, table, work.attempt.partition_date)
        try:
            partitions.append(load_partition(place, work.ports.store, work.folder))
        except NotFoundError:
            missing.append(table)
    if missing:
        message = f"{len(missing)} tables have no partition for {work.attempt.partition_date}: {', '.join(missing)}."
        raise NotFoundError(message, do="Materialize these tables for that date, then the bundle again.")
    return partitions


def _schema(partitions: Sequence[PartitionRecord], work: Work) -> bytes:
    """The schema of the date; VerificationError unless it is that of the newest run among the partitions."""
    store, key = work.ports.store, schema_key(work.attempt.scope, work.attempt.partition_date)
    schema = store.get(key)
    newest = max(partitions, key=lambda partition: partition.table.snapshot.taken_at, default=None)
    if newest is not None and newest.schema_sha256 not in {None, hashlib.sha256(schema).hexdigest()}:
        message = f"{store.url}/{key} is not the schema that was written with the table {newest.table.name}."
        raise VerificationError(
            message, do="Materialize the tables again for that date; see who can write to the store."
        )
    return schema


def _manifest(partitions: Sequence[PartitionRecord], schema: bytes, work: Work) -> Manifest:
    """The manifest of a bundle of `partitions`, and of the DDL `schema`."""
    attempt, catalog, ports = work.attempt, work.request.catalog, work.ports
    tables = tuple(partition.table for partition in partitions)
    latest = max(partitions, key=lambda partition: partition.table.snapshot.taken_at)
    newest = latest.table.snapshot
    consistent = len({(table.snapshot.id, table.snapshot.taken_at) for table in tables}) == 1
    late = any(partition.late for partition in partitions)
    problem = dump_problem(schema.decode(errors="replace"))
    unusable = [f"No restore can use schema.sql: {problem}. Use the newest pg_dump, and names without line breaks."]
    drift = differing("this machine", ports.drift(), "the ledger")
    early = [*(unusable if problem else ()), *([f"{drift} Times and dates are the ledger's."] if drift else ())]
    warnings = (*early, *_warnings(partitions, latest, consistent=consistent, late=late))
    return manifest_of(
        attempt,
        catalog,
        tables,
        newest,
        ports,
        status=Status.SUCCESS_WITH_WARNINGS if warnings else Status.SUCCESS,
        consistent=consistent,
        late=late,
        excluded=tuple(ExcludedEntry(table=name, reason=reason) for name, reason in latest.excluded.items()),
        unlisted=latest.unlisted,
        sequences=latest.sequences,
        not_held=latest.not_held,
        warnings=warnings,
        entries=_entries(partitions, schema),
    )


def _warnings(
    partitions: Sequence[PartitionRecord], latest: PartitionRecord, *, consistent: bool, late: bool
) -> Iterator[str]:
    if latest.unlisted:
        yield f"Tables in the database that the catalog neither lists nor excludes: {', '.join(latest.unlisted)}."
    yield from (entry.message for entry in latest.not_held if entry.severity == "warning")
    if not consistent:
        times = sorted({partition.table.snapshot.taken_at for partition in partitions})
        yield f"Mixed snapshots: the tables show {len(times)} instants, from {times[0]:%F %T} to {times[-1]:%F %T} UTC."
    if late:
        yield "Late: the rows were read after the date they are filed under; see each table's snapshot time."
    for partition in partitions:
        for check in partition.table.checks:
            if not check.passed:
                yield f"Table {partition.table.name}, check {check.name}: {check.message}"


def totals_of(tables: Sequence[TableEntry]) -> Totals:
    """The sums over the tables."""
    return Totals(
        tables=len(tables),
        rows=sum(table.row_count for table in tables),
        files=sum(len(table.files) for table in tables),
        bytes=sum(table.bytes for table in tables),
    )


def _entries(partitions: Sequence[PartitionRecord], schema: bytes) -> Mapping[str, str]:
    """Path in the bundle -> SHA-256."""
    files = {
        path: file.sha256
        for partition in partitions
        for file, path in member_paths(partition.table, partition.sheet_file)
    }
    return files | {SCHEMA_PATH: hashlib.sha256(schema).hexdigest()}


def _with_findings(manifest: Manifest, work: Work) -> Manifest:
    """The manifest with what is unusual about the backup as a whole."""
    counted = count_orphans(manifest, work.folder, work.ports)
    judged = manifest.model_copy(update={"orphans": counted.orphans, "broken": counted.broken})
    if counted.broken:
        warnings = (*manifest.warnings, *broken_warnings(counted.broken))
        judged = judged.model_copy(update={"warnings": warnings, "status": Status.SUCCESS_WITH_WARNINGS.value})
    return with_anomalies(judged, work.request.catalog, work.history)


def _file_members(partitions: Sequence[PartitionRecord], work: Work) -> Iterator[Member]:
    """The files of the partitions, from this machine or the store, as members of the bundle."""
    for partition in partitions:
        place = PartitionPlace(work.attempt.scope, partition.table.name, work.attempt.partition_date)
        for file, path in member_paths(partition.table, partition.sheet_file):
            modified = partition.table.snapshot.taken_at.astimezone(ZoneInfo(work.request.catalog.timezone))
            yield file_member(file, path, modified, ahead(_chunks(place, file.stored, work)))


def _chunks(place: PartitionPlace, file: StoredFile, work: Work) -> Iterator[bytes]:
    """The file's bytes, compared with the SHA-256 of its partition as they pass."""
    ports, seen = work.ports, hashlib.sha256()
    for chunk in _read(place, file, work):
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
        yield chunk
    if seen.hexdigest() != file.sha256:
        message = f"{ports.store.url}/{place.file(file.name)} is damaged: its SHA-256 is not the one that was written."
        raise VerificationError(message, do=f"Materialize the table {place.table} again.")


def _read(place: PartitionPlace, file: StoredFile, work: Work) -> Iterator[bytes]:
    """From this machine, where the attempt left the file whole, else from the store."""
    spooled = work.folder / place.table / file.name
    if not spooled.is_file() or spooled.stat().st_size != file.bytes:
        yield from work.ports.store.stream(place.file(file.name))
        return
    with spooled.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk


def store_bundle(key: str, members: Sequence[Member], ports: Ports) -> StoredBundle:
    """Write the bundle, read it back, and compare size and SHA-256; what does not compare is removed.

    Reading the files, packing them and writing are done side by side.
    """
    sent = hashlib.sha256()
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in ports.formats.bundle(members):
            sent.update(chunk)
            size += len(chunk)
            yield chunk

    with closing(ahead(counted())) as chunks:
        stored = ports.store.keep(key, chunks)
    ports.progress.tell(StageStarted("check", size))
    problem = f"it has {stored.size} bytes of {size}" if stored.size != size else None
    problem = problem or _compare(ports.store, key, sent.hexdigest(), ports)
    if problem:
        with suppress(StoreError):
            ports.store.delete([key])
        message = f"{ports.store.url}/{key} did not come back from the store as it was written: {problem}."
        raise VerificationError(message, do="Run the bundle again; if it repeats, look at the store.")
    return StoredBundle(name=key.rpartition("/")[2], bytes=size, sha256=sent.hexdigest())


def _compare(store: Store, key: str, sha256: str, ports: Ports) -> str | None:
    """Read an object whole and compare its SHA-256: None when it is the same, else what is wrong."""
    seen = hashlib.sha256()
    for chunk in store.stream(key):
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
    return None if seen.hexdigest() == sha256 else f"its SHA-256 is {seen.hexdigest()}, not {sha256}"


def _note_protection(key: str, work: Work) -> None:
    """Leave in the audit what keeps the backup from being changed, where there is something to say of it."""
    attempt, ports = work.attempt, work.ports
    try:
        protection = ports.store.protection(key)
        if protection.notable:
            ports.ledger.audit(
                AuditEvent(ports.clock(), attempt.actor, "protect", attempt.backup_id, protection.as_json())
            )
    except (StoreError, LedgerError) as error:  # the backup is made, whatever is known of it
        logger.warning("How %s is protected is not in the audit: %s", key, error)
