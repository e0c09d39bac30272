"""One bundle made: partitions gathered and judged, the ZIP stored and checked, its manifest last."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from backup_pipeline.core.bundle import MANIFEST_PATH, README_PATH, SCHEMA_PATH, bytes_member
from backup_pipeline.core.encryption import check_alike
from backup_pipeline.core.errors import LedgerError, NotFoundError, StoreError, VerificationError
from backup_pipeline.core.layout import BackupPlace, schema_key
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.manifest import Manifest, PartitionRecord, StoredManifest, seal
from backup_pipeline.core.ports import Ports, Store
from backup_pipeline.core.progress import StageStarted
from backup_pipeline.core.restore_broken import broken_warnings
from backup_pipeline.core.statuses import Status
from backup_pipeline.operations.anomalies import keep_shape, with_anomalies
from backup_pipeline.operations.anomaly_references import count_orphans
from backup_pipeline.operations.bundle.asked import BundleRequest
from backup_pipeline.operations.bundle.described import described
from backup_pipeline.operations.bundle.members import file_members
from backup_pipeline.operations.bundle.stored import store_bundle
from backup_pipeline.operations.publish import load_partition

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
