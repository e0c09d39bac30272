"""Export of one table: pages through the writers, the checks, and the partition in the store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from backup_pipeline.core.anomalies import anomaly_check, judge_table
from backup_pipeline.core.anomaly_history import History
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.checks import Check, key_unique, row_count, shrinkage
from backup_pipeline.core.encryption import encryption_entry
from backup_pipeline.core.errors import BackupError, SnapshotLostError, SnapshotOutdatedError
from backup_pipeline.core.ids import local_name
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.manifest import CheckEntry, FileEntry, PartitionRecord
from backup_pipeline.core.not_held import NotHeld
from backup_pipeline.core.plans import NotNativeError, TablePlan
from backup_pipeline.core.ports import Ports, Snapshot, TableWriter
from backup_pipeline.core.progress import PageWritten, TableFinished, TableStarted
from backup_pipeline.core.relations import DatabaseSequence
from backup_pipeline.core.table_entry import not_held_entry, other_sequence, rows_of, table_entry
from backup_pipeline.operations.publish import publish_partition
from backup_pipeline.operations.results import TableResult

_RESTARTS = 3
_HOPELESS = (SnapshotLostError, SnapshotOutdatedError)
"""What the same snapshot can not get over, however often the table is read again."""


@dataclass(frozen=True)
class TableJob:
    """One table to export: how to read it, for which date, where its files are made (`directory`), what to compare."""

    backup_id: str
    catalog: Catalog
    plan: TablePlan
    day: date
    late: bool
    directory: Path
    before: int | None
    unlisted: tuple[str, ...]
    excluded: Mapping[str, str]
    sequences: tuple[DatabaseSequence, ...] = ()
    not_held: tuple[NotHeld, ...] = ()
    history: History = field(default_factory=History)
    schema_sha256: str | None = None

    @property
    def place(self) -> PartitionPlace:
        """Where its partition lies in the store."""
        return PartitionPlace(self.catalog.catalog, self.plan.name, self.day)


def export_table(job: TableJob, snapshot: Snapshot, ports: Ports) -> TableResult:
    """Export one table and publish its partition; a failed blocking check is an error, and publishes nothing."""
    started = ports.clock()
    ports.progress.tell(TableStarted(job.plan.name, job.plan.relation.estimated_rows, job.plan.sheet.name))
    plan, files = _write_files(job, snapshot, ports)
    checks = _checks(job, plan, files, snapshot)
    for check in checks:
        if check.blocking and not check.passed:
            raise BackupError(check.message, do="Run the table again. If it repeats, report it: no rows may be lost.")
    record = _record(job, plan, files, checks, snapshot, _seconds(started, ports))
    encryption = encryption_entry(ports.formats.recipients)
    partition, unusual = _judged(job, record.model_copy(update={"encryption": encryption}))
    publish_partition(job.place, partition, job.directory, ports.store)
    entry = partition.table
    ports.progress.tell(TableFinished(entry.name, entry.sheet, entry.row_count, entry.bytes, _seconds(started, ports)))
    return TableResult(plan.name, partition, (*checks, unusual), ports.formats.preview(plan, job.directory))


def _write_files(job: TableJob, snapshot: Snapshot, ports: Ports) -> tuple[TablePlan, tuple[FileEntry, ...]]:
    """Write the table's files; begin again when a value wants its column as text, or when the connection was lost."""
    plan = job.plan
    restarts = 0
    while True:
        try:
            return plan, _write_once(job, plan, snapshot, ports)
        except NotNativeError as error:
            plan = plan.as_text(error.column, error.value)
        except BackupError as error:
            restarts += 1
            if not error.transient or isinstance(error, _HOPELESS) or restarts >= _RESTARTS:
                raise
        ports.progress.tell(TableStarted(plan.name, plan.relation.estimated_rows, plan.sheet.name))


def _write_once(job: TableJob, plan: TablePlan, snapshot: Snapshot, ports: Ports) -> tuple[FileEntry, ...]:
    shutil.rmtree(job.directory, ignore_errors=True)
    job.directory.mkdir(parents=True, mode=0o700)
    writer: TableWriter = ports.formats.writer(plan, job.directory, job.catalog.timezone)
    try:
        for page in snapshot.read(plan):
            writer.write(page.rows)
            ports.progress.tell(PageWritten(plan.name, page.rows.num_rows, writer.bytes_written))
        return writer.close()
    except BaseException:
        writer.abort()
        raise


def _checks(job: TableJob, plan: TablePlan, files: tuple[FileEntry, ...], snapshot: Snapshot) -> tuple[Check, ...]:
    """The CSV must hold as many rows as the Parquet, and both as many as the snapshot."""
    counted = snapshot.count(plan)
    written, shown = (rows_of(files, kind) for kind in ("parquet", "csv"))
    return (
        row_count(written if written != counted else shown, counted),
        key_unique(plan.key, snapshot.duplicate_keys(plan)),
        shrinkage(written, job.before, job.catalog.shrinkage_of(plan.name)),
    )


def _record(
    job: TableJob,
    plan: TablePlan,
    files: tuple[FileEntry, ...],
    checks: tuple[Check, ...],
    snapshot: Snapshot,
    seconds: float,
) -> PartitionRecord:
    file, taken = plan.sheet.file, snapshot.entry
    return PartitionRecord(
        catalog=job.catalog.catalog,
        partition_date=job.day,
        late=job.late,
        sheet_file=local_name(file, taken.taken_at, job.catalog.timezone) if file else None,
        unlisted=job.unlisted,
        excluded=job.excluded,
        schema_sha256=job.schema_sha256,
        sequences=tuple(other_sequence(found) for found in job.sequences),
        not_held=tuple(not_held_entry(found) for found in job.not_held),
        table=table_entry(plan, files, checks, taken, exported_by=job.backup_id, seconds=seconds),
    )


def _judged(job: TableJob, partition: PartitionRecord) -> tuple[PartitionRecord, Check]:
    """The record with what is unusual about the table, and the check that tells it."""
    table, rule = partition.table, job.catalog.anomalies_of(job.plan.name)
    past = job.history.of(table.name, rule.trailing)
    found = judge_table(table, past, rule)
    check = anomaly_check(found, past)
    told = CheckEntry(name=check.name, passed=check.passed, message=check.message)
    entry = table.model_copy(update={"anomalies": found, "checks": (*table.checks, told)})
    return partition.model_copy(update={"table": entry}), check


def _seconds(started: datetime, ports: Ports) -> float:
    return (ports.clock() - started).total_seconds()
