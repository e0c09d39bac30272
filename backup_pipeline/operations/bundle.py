"""What a bundle is asked to be."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from backup_pipeline import __version__
from backup_pipeline.core.anomalies import History
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LedgerError, NotFoundError, StoreError, VerificationError
from backup_pipeline.core.keys import check_alike, encrypted_name, encryption_entry, is_gzipped
from backup_pipeline.core.layout import (
    MANIFEST_PATH,
    README_PATH,
    SCHEMA_PATH,
    BackupPlace,
    Member,
    PartitionPlace,
    bytes_member,
    member_paths,
    schema_key,
)
from backup_pipeline.core.ledger import Attempt, AuditEvent, Status
from backup_pipeline.core.manifest import (
    ExcludedEntry,
    Manifest,
    PartitionRecord,
    StoredBundle,
    StoredFile,
    StoredManifest,
    TableEntry,
    Totals,
    seal,
)
from backup_pipeline.core.names import bundle_template, local_name
from backup_pipeline.core.ports import Ports, Store
from backup_pipeline.core.ports.people import BytesMoved, StageStarted
from backup_pipeline.core.restore.dump import dump_problem
from backup_pipeline.core.restore.plan import broken_warnings
from backup_pipeline.core.schedule import differing
from backup_pipeline.operations.anomalies import count_orphans, keep_shape, with_anomalies
from backup_pipeline.operations.export import load_partition
from backup_pipeline.operations.streams import ahead


@dataclass(frozen=True)
class BundleRequest:
    """Which tables' partitions to bundle, for which attempt.

    Files that this machine still has in `spool` (a folder a table) are read there instead of from the store. `history`
    is what the backup is compared with.
    """

    attempt: Attempt
    catalog: Catalog
    tables: tuple[str, ...]
    spool: Path | None = None
    history: History = field(default_factory=History)

    def place(self, table: str) -> PartitionPlace:
        """Where the partition of a table lies."""
        return PartitionPlace(self.catalog.catalog, table, self.attempt.partition_date)


def described(request: BundleRequest, partitions: Sequence[PartitionRecord], schema: bytes, ports: Ports) -> Manifest:
    """The manifest of a bundle of `partitions`, and of the DDL `schema`."""
    attempt, catalog = request.attempt, request.catalog
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
    return Manifest(
        backup_id=attempt.backup_id,
        catalog=catalog.catalog,
        title=catalog.title,
        kind=attempt.kind,
        type="automatic" if attempt.type == "automatic" else "manual",
        created_by=attempt.created_by,
        reason=attempt.reason,
        status=Status.SUCCESS_WITH_WARNINGS if warnings else Status.SUCCESS,
        consistent=consistent,
        late=late,
        partition_date=attempt.partition_date,
        timezone=catalog.timezone,
        started_at=attempt.started_at,
        finished_at=ports.clock(),
        snapshot=newest,
        tables=tables,
        excluded=tuple(ExcludedEntry(table=name, reason=reason) for name, reason in latest.excluded.items()),
        unlisted=latest.unlisted,
        sequences=latest.sequences,
        not_held=latest.not_held,
        warnings=warnings,
        totals=_totals(tables),
        bundle_name=local_name(bundle_template(catalog.bundle_name, attempt.kind), newest.taken_at, catalog.timezone),
        entries=_entries(partitions, schema),
        encryption=encryption_entry(ports.formats.recipients),
        pipeline_version=__version__,
        run_id=attempt.run_id,
    )


def _warnings(
    partitions: Sequence[PartitionRecord], latest: PartitionRecord, *, consistent: bool, late: bool
) -> Iterator[str]:
    if latest.unlisted:
        yield f"Tables in the database that the catalog neither lists nor excludes: {', '.join(latest.unlisted)}."
    yield from (found.message for found in latest.not_held if found.severity == "warning")
    if not consistent:
        times = sorted({partition.table.snapshot.taken_at for partition in partitions})
        yield f"Mixed snapshots: the tables show {len(times)} instants, from {times[0]:%F %T} to {times[-1]:%F %T} UTC."
    if late:
        yield "Late: the rows were read after the date they are filed under; see each table's snapshot time."
    for partition in partitions:
        for check in partition.table.checks:
            if not check.passed:
                yield f"Table {partition.table.name}, check {check.name}: {check.message}"


def _totals(tables: Sequence[TableEntry]) -> Totals:
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


def file_members(request: BundleRequest, partitions: Sequence[PartitionRecord], ports: Ports) -> Iterator[Member]:
    """The files of the partitions, from the spool or the store, as members of the bundle."""
    for partition in partitions:
        place = request.place(partition.table.name)
        for file, path in member_paths(partition.table, partition.sheet_file):
            lies = file.stored
            yield Member(
                path=encrypted_name(path, gzipped=is_gzipped(lies.name)) if file.encrypted else path,
                modified=partition.table.snapshot.taken_at.astimezone(ZoneInfo(request.catalog.timezone)),
                chunks=ahead(_chunks(request, place, lies, ports)),
                size=lies.bytes,
                crc32=lies.crc32,
                stored=file.format == "parquet" or file.encrypted is not None,
            )


def _chunks(request: BundleRequest, place: PartitionPlace, file: StoredFile, ports: Ports) -> Iterator[bytes]:
    """The file's bytes, compared with the SHA-256 of its partition as they pass."""
    seen = hashlib.sha256()
    for chunk in _read(request, place, file, ports.store):
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
        yield chunk
    if seen.hexdigest() != file.sha256:
        message = f"{ports.store.url}/{place.file(file.name)} is damaged: its SHA-256 is not the one that was written."
        raise VerificationError(message, do=f"Materialize the table {place.table} again.")


def _read(request: BundleRequest, place: PartitionPlace, file: StoredFile, store: Store) -> Iterator[bytes]:
    spooled = request.spool / place.table / file.name if request.spool else None
    if spooled is None or not spooled.is_file() or spooled.stat().st_size != file.bytes:
        yield from store.stream(place.file(file.name))
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


logger = logging.getLogger(__name__)


def make_bundle(request: BundleRequest, ports: Ports) -> StoredManifest:
    """Bundle the newest partitions of the attempt's date; the manifest as it now stands in the store.

    The bundle is one object, written first; it is read back and compared; its manifest comes last, so that a crash
    anywhere leaves no backup rather than half of one. Raises NotFoundError naming every table without a partition,
    RefusedError for partitions that are encrypted otherwise than backups are now, and VerificationError when the store
    does not give back what it was given (the object is then removed).
    """
    partitions = _load(request, ports.store)
    check_alike(partitions, ports.formats.recipients)
    schema = _schema(request, partitions, ports.store)
    manifest = _judged(request, described(request, partitions, schema, ports), ports)
    place = BackupPlace(manifest.catalog, manifest.partition_date, manifest.backup_id)
    local = manifest.snapshot.taken_at.astimezone(ZoneInfo(manifest.timezone))  # a ZIP shows the wall clock it is given
    members = [
        bytes_member(MANIFEST_PATH, local, seal(manifest)),
        bytes_member(README_PATH, local, ports.formats.readme(manifest, schema.decode(errors="replace")).encode()),
        bytes_member(SCHEMA_PATH, local, schema),
        *file_members(request, partitions, ports),
    ]
    key = place.bundle(manifest.bundle_name)
    ports.progress.tell(StageStarted("bundle", manifest.totals.bytes))
    bundle = store_bundle(key, members, ports)
    stored = StoredManifest(**manifest.model_dump(), bundle=bundle)
    keep_shape(stored, ports)
    ports.store.keep(place.manifest, [seal(stored)])
    _note_protection(place.manifest, request, ports)
    return stored


def _judged(request: BundleRequest, manifest: Manifest, ports: Ports) -> Manifest:
    """The manifest with what is unusual about the backup as a whole."""
    counted = count_orphans(manifest, request.spool, ports)
    known = manifest.model_copy(update={"orphans": counted.orphans, "broken": counted.broken})
    if counted.broken:
        told = (*manifest.warnings, *broken_warnings(counted.broken))
        known = known.model_copy(update={"warnings": told, "status": Status.SUCCESS_WITH_WARNINGS.value})
    return with_anomalies(known, request.catalog, request.history)


def _note_protection(key: str, request: BundleRequest, ports: Ports) -> None:
    """Leave in the audit what keeps the backup from being changed, where there is something to say of it."""
    attempt = request.attempt
    try:
        found = ports.store.protection(key)
        if found.notable:
            told = AuditEvent(ports.clock(), attempt.created_by, "protect", attempt.backup_id, found.as_json())
            ports.ledger.audit(told)
    except (StoreError, LedgerError) as error:  # the backup is made, whatever is known of it
        logger.warning("How %s is protected is not in the audit: %s", key, error)


def _load(request: BundleRequest, store: Store) -> list[PartitionRecord]:
    found: list[PartitionRecord] = []
    missing: list[str] = []
    for table in request.tables:
        try:
            found.append(load_partition(request.place(table), store, request.spool))
        except NotFoundError:
            missing.append(table)
    if missing:
        message = f"{len(missing)} tables have no partition for {request.attempt.partition_date}: {', '.join(missing)}."
        raise NotFoundError(message, do="Materialize these tables for that date, then the bundle again.")
    return found


def _schema(request: BundleRequest, partitions: Sequence[PartitionRecord], store: Store) -> bytes:
    """The schema of the date; VerificationError unless it is that of the newest run among the partitions."""
    key = schema_key(request.catalog.catalog, request.attempt.partition_date)
    schema, newest = store.get(key), max(partitions, key=lambda one: one.table.snapshot.taken_at, default=None)
    if newest is not None and newest.schema_sha256 not in {None, hashlib.sha256(schema).hexdigest()}:
        message = f"{store.url}/{key} is not the schema that was written with the table {newest.table.name}."
        raise VerificationError(
            message, do="Materialize the tables again for that date; see who can write to the store."
        )
    return schema


def sizes(manifest: Manifest) -> Mapping[str, int]:
    """The bytes of each table's files."""
    return {table.name: table.bytes for table in manifest.tables}


def counts(manifest: Manifest) -> Mapping[str, int]:
    """The row count of each table."""
    return {table.name: table.row_count for table in manifest.tables}
