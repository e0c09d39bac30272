"""Back up: the two halves of an attempt, its tables and its bundle, and how it ends well."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from backup_pipeline.core.anomalies import Shape
from backup_pipeline.core.errors import BackupError, NotFoundError, StoreError, VerificationError
from backup_pipeline.core.layout import DRILLS, QUERIES, RESTORES, VERIFICATIONS, BackupPlace
from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.retention import expiry
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.alerting import tell_success
from backup_pipeline.operations.anomalies import act_on_anomalies, load_history, unusual, unusual_by_shape
from backup_pipeline.operations.attempts import Work, check_date, end_failed, end_made, is_dead
from backup_pipeline.operations.browse import Document, kept_document, place_of, read_document
from backup_pipeline.operations.bundle import make_bundle
from backup_pipeline.operations.copy import CopyOrder, copy_after
from backup_pipeline.operations.export import TableResult, export_tables
from backup_pipeline.operations.export.shared import discard, export_shared
from backup_pipeline.operations.shards import Crew

logger = logging.getLogger(__name__)


def export_attempt(work: Work, crew: Crew | None = None) -> Generator[TableResult]:
    """Export the request's tables; see `export_tables`. With a `crew` its runs read them too.

    Their files stay in the work folder until the attempt ends; when a table fails, it has ended.
    """
    request, attempt, ports = work.request, work.attempt, work.ports
    clean_spool(ports)
    ports.store.check()  # before hours are spent on reading what can not be stored
    last = ports.ledger.last_good(attempt.scope, before=attempt.created_at)
    work = replace(
        work,
        attempt=replace(attempt, late=check_date(request, ports)),
        history=load_history(attempt, ports),
        before=last.table_counts if last else {},
    )
    _make_folder(work.folder)
    whole = False
    try:
        failed = False
        together = partial(export_shared, crew=crew) if crew else None
        with closing(export_tables(work, together)) as results:
            for result in results:
                failed |= result.error is not None
                yield result
        whole = not failed
    finally:
        if not whole:  # else a disk that is full would stay so
            shutil.rmtree(work.folder, ignore_errors=True)


def clean_spool(ports: Ports) -> None:
    """Remove the files in the making of attempts that do not run any more."""
    running = {attempt.backup_id for attempt in ports.ledger.list(status=[Status.RUNNING])}
    for folder in ports.spool.iterdir() if ports.spool.is_dir() else ():
        if folder.is_dir() and folder.name not in {*running, DRILLS, QUERIES, RESTORES, VERIFICATIONS}:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    """The folder for the attempt's files, for its owner only: they are plain, also where the store's are not."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        message = f"The work folder {folder} can not be made: {error.strerror}."
        raise BackupError(
            message, do="Set BACKUP_WORK_DIR to a folder that can be written, or free its name."
        ) from error


def bundle_attempt(work: Work) -> StoredManifest:
    """Bundle the request's tables, and end the attempt: the ledger says success after the store gave the bundle back.

    Where there is a second store, the backup is copied there before the row ends; `copy.copy_after` says how.
    """
    attempt, ports = work.attempt, work.ports
    try:
        manifest = make_bundle(replace(work, history=load_history(attempt, ports)))
        document = kept_document(manifest, place_of(attempt), ports.store)
        act_on_anomalies(unusual(manifest), ports, work.request.run_url)
        known = replace(attempt, manifest_sha256=document.sha256)
        order = CopyOrder(known, manifest.bundle, attempt.actor)
        _end_copied(order, document, ports, _expiry(manifest, work))
    finally:
        shutil.rmtree(work.folder, ignore_errors=True)
    tell_success(attempt, ports)
    return manifest


def _expiry(manifest: StoredManifest, work: Work) -> datetime | None:
    """When the rules of the catalog let the backup go at the earliest."""
    catalog, taken = work.request.catalog, manifest.snapshot.taken_at
    rule = catalog.retention.of(manifest.type)
    return expiry(rule, at=taken, finished=work.ports.clock(), timezone=catalog.timezone)


def _end_copied(
    order: CopyOrder, document: Document[StoredManifest], ports: Ports, expires_at: datetime | None
) -> None:
    """Copy the backup to the second store, where there is one, and end its row; a copy that failed is a warning there.

    From here on the backup is made: whoever stops the copy does not undo that.
    """
    done = replace(success(document, ports, Level.BYTES), expires_at=expires_at)
    warning = "Its copy to the second store was stopped."
    try:
        warning = copy_after(order, ports) or ""
    finally:
        if warning:
            done = replace(done, status=Status.SUCCESS_WITH_WARNINGS, warnings=(*done.warnings, warning))
        end_made(order.attempt, replace(done, finished_at=ports.clock()), ports.ledger)


def success(document: Document[StoredManifest], ports: Ports, checked: Level) -> Outcome:
    """The good end of a backup whose manifest is in the store, just now checked there up to the level `checked`."""
    manifest = document.manifest
    place = BackupPlace(manifest.scope, manifest.partition_date, manifest.backup_id)
    now = ports.clock()
    return Outcome(
        status=Status(manifest.status),
        finished_at=now,
        verification=Verification(checked, now),
        snapshot_at=manifest.snapshot.taken_at,
        file_name=manifest.bundle.name,
        file_path=place.bundle(manifest.bundle.name),
        file_size_bytes=manifest.bundle.bytes,
        record_count=manifest.totals.rows,
        table_counts={table.name: table.row_count for table in manifest.tables},
        table_bytes={table.name: table.bytes for table in manifest.tables},
        sha256=manifest.bundle.sha256,
        manifest_sha256=document.sha256,
        seal_key=document.seal_key,
        consistent=manifest.consistent,
        warnings=manifest.warnings,
    )


def success_by_outline(document: Document[Outline], place: BackupPlace, now: datetime, shape: Shape | None) -> Outcome:
    """The good end of an encrypted backup that was found in the store; its rows are those of its shape, if any."""
    outline = document.manifest
    counted = {name: table.rows for name, table in shape.tables.items()} if shape else None
    uncounted = "Its manifest is encrypted, and no key here opens it: its rows are not counted in the ledger."
    return Outcome(
        status=Status(outline.status),
        finished_at=now,
        verification=Verification(Level.PRESENT, now),
        snapshot_at=outline.snapshot_at,
        file_name=outline.bundle.name,
        file_path=place.bundle(outline.bundle.name),
        file_size_bytes=outline.bundle.bytes,
        sha256=outline.bundle.sha256,
        manifest_sha256=document.sha256,
        seal_key=document.seal_key,
        consistent=outline.consistent,
        record_count=sum(counted.values()) if counted is not None else None,
        table_counts=counted,
        warnings=tuple(f"{finding.table}: {finding.message}" for finding in shape.findings) if shape else (uncounted,),
    )


def close_orphans(ports: Ports) -> Sequence[Attempt]:
    """End every running row whose owner is dead; those that were closed.

    A process that died after its manifest was in the store has made a backup, and its row becomes `success`: the
    manifest comes last, after the bundle was checked. Any other becomes `failed`, and people are alerted; so does one
    whose bundle is not the one that the run had noted before its manifest.
    """
    closed = []
    for attempt in ports.ledger.list(status=[Status.RUNNING]):
        if not is_dead(attempt, ports):
            continue
        try:
            if not _finished(attempt, ports):
                discard(attempt, ports)
                end_failed(attempt, _death(), ports)
        except StoreError as error:
            logger.warning(
                "Backup %s is not closed yet, the store can not say what it is: %s", attempt.backup_id, error
            )
            continue
        closed.append(attempt)
    return closed


def _finished(attempt: Attempt, ports: Ports) -> bool:
    place = BackupPlace(attempt.scope, attempt.partition_date, attempt.backup_id)
    try:
        document = read_document(place, ports.store)
        manifest = document.manifest
        stored = ports.store.head(place.bundle(manifest.bundle.name))
    except (NotFoundError, VerificationError):
        return False
    shape = ports.ledger.shapes.get(attempt.backup_id)
    other = shape is not None and shape.bundle_sha256 not in {None, manifest.bundle.sha256}
    if stored is None or stored.size != manifest.bundle.bytes or other:
        return False
    if isinstance(manifest, StoredManifest):
        act_on_anomalies(unusual(manifest), ports)
        ports.ledger.end(attempt.backup_id, success(Document(document.data, manifest), ports, Level.PRESENT))
    else:
        if shape is not None:
            act_on_anomalies(unusual_by_shape(manifest, shape), ports)
        ports.ledger.end(
            attempt.backup_id, success_by_outline(Document(document.data, manifest), place, ports.clock(), shape)
        )
    tell_success(attempt, ports)
    return True


def _death() -> BackupError:
    return BackupError(
        "The process that ran this backup ended without a word (killed, out of memory, or the machine went down).",
        do="Run the backup again; nothing it left behind counts as a backup.",
    )
