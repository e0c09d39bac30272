"""Back up: the two halves of an attempt, its tables and its bundle, and how it ends well."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from backup_pipeline.core.layout import RESTORES, VERIFICATIONS, BackupPlace
from backup_pipeline.core.ledger import Attempt, Outcome
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.statuses import Status
from backup_pipeline.core.verification import Level
from backup_pipeline.core.verified import passed
from backup_pipeline.operations.attempts import Request, check_date
from backup_pipeline.operations.bundle import BundleRequest, counts, make_bundle
from backup_pipeline.operations.export import ExportRequest, export_tables
from backup_pipeline.operations.results import TableResult


def export_attempt(
    attempt: Attempt, request: Request, tables: Sequence[str], ports: Ports, *, spool: Path, workers: int
) -> Generator[TableResult]:
    """Export `tables` for the attempt; see `export_tables`.

    Their files stay in `spool`/<backup id> until the attempt ends; when a table fails, it has ended.
    """
    clean_spool(spool, ports)
    before = ports.ledger.last_good(request.catalog.catalog, before=attempt.created_at)
    work = ExportRequest(
        backup_id=attempt.backup_id,
        catalog=request.catalog,
        tables=tuple(tables),
        day=request.day,
        late=check_date(request, ports),
        spool=spool / attempt.backup_id,
        workers=workers,
        before=before.table_counts if before else {},
    )
    whole = False
    try:
        results = []
        with closing(export_tables(work, ports)) as found:
            for result in found:
                results.append(result.error is None)
                yield result
        whole = all(results)
    finally:
        if not whole:  # else a disk that is full would stay so
            shutil.rmtree(work.spool, ignore_errors=True)


def end_tables(attempt: Attempt, ports: Ports, *, spool: Path) -> None:
    """End an attempt that was for tables only."""
    ports.ledger.end(attempt.backup_id, Outcome(status=Status.SUCCESS, finished_at=ports.clock()))
    shutil.rmtree(spool / attempt.backup_id, ignore_errors=True)


def bundle_attempt(
    attempt: Attempt, request: Request, tables: tuple[str, ...], ports: Ports, *, spool: Path
) -> StoredManifest:
    """Bundle `tables` for the attempt, and end it: the ledger says success after the store gave the bundle back."""
    own = spool / attempt.backup_id
    try:
        manifest = make_bundle(BundleRequest(attempt, request.catalog, tables, own if own.is_dir() else None), ports)
        ports.ledger.end(attempt.backup_id, success(manifest, ports, Level.BYTES))
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return manifest


def success(manifest: StoredManifest, ports: Ports, checked: Level) -> Outcome:
    """The good end of a backup whose manifest is in the store, just now checked there up to the level `checked`."""
    place = BackupPlace(manifest.catalog, manifest.partition_date, manifest.backup_id)
    now = ports.clock()
    return Outcome(
        status=Status(manifest.status),
        finished_at=now,
        verification_level=passed(checked, now).level,
        verified_at=now,
        snapshot_at=manifest.snapshot.taken_at,
        file_name=manifest.bundle.name,
        file_path=place.bundle(manifest.bundle.name),
        file_size_bytes=manifest.bundle.bytes,
        record_count=manifest.totals.rows,
        table_counts=counts(manifest),
        sha256=manifest.bundle.sha256,
        consistent=manifest.consistent,
        warnings=manifest.warnings,
    )


def clean_spool(spool: Path, ports: Ports) -> None:
    """Remove the files in the making of attempts that do not run any more."""
    running = {attempt.backup_id for attempt in ports.ledger.list(status=[Status.RUNNING])}
    for folder in spool.iterdir() if spool.is_dir() else ():
        if folder.is_dir() and folder.name not in {*running, RESTORES, VERIFICATIONS}:
            shutil.rmtree(folder, ignore_errors=True)
