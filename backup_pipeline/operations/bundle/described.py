"""What a bundle says of itself: its manifest, made of the records of its partitions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from backup_pipeline import __version__
from backup_pipeline.core.bundle import SCHEMA_PATH, member_paths
from backup_pipeline.core.clocks import differing
from backup_pipeline.core.encryption import encryption_entry
from backup_pipeline.core.ids import bundle_template, local_name
from backup_pipeline.core.manifest import ExcludedEntry, Manifest, PartitionRecord, TableEntry, Totals
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore_entries import dump_problem
from backup_pipeline.core.statuses import Status
from backup_pipeline.operations.bundle.asked import BundleRequest


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
