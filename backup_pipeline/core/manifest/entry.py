"""A table's plan as the manifest tells it: its columns, references, sequences, and where its sheet comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from backup_pipeline.core.anomalies import TableCheck
from backup_pipeline.core.manifest import (
    CheckEntry,
    ColumnEntry,
    FileEntry,
    NotHeldEntry,
    OtherSequenceEntry,
    ReferenceEntry,
    SequenceEntry,
    SheetColumnEntry,
    SnapshotEntry,
    StepEntry,
    TableEntry,
)
from backup_pipeline.core.not_held import NotHeld
from backup_pipeline.core.plans import PlannedColumn, SheetColumn, TablePlan
from backup_pipeline.core.relations import DatabaseSequence


def table_entry(
    plan: TablePlan,
    files: tuple[FileEntry, ...],
    checks: Sequence[TableCheck],
    snapshot: SnapshotEntry,
    *,
    exported_by: str,
    seconds: float,
) -> TableEntry:
    """The manifest's entry of the table that was exported by `plan` into `files`."""
    return TableEntry(
        name=plan.name,
        relation=plan.relation.full_name,
        sheet=plan.sheet.name,
        key=plan.key,
        order=plan.order,
        row_count=rows_of(files, "parquet"),
        snapshot=snapshot,
        exported_by=exported_by,
        columns=tuple(_column(planned) for planned in plan.columns),
        sheet_columns=tuple(column.title for column in plan.sheet.columns),
        relation_id=plan.relation.id,
        relation_kind=plan.relation.kind,
        inherited=plan.relation.inherited,
        extension=plan.relation.extension,
        covers=plan.covers,
        references=_references(plan),
        sequences=_sequences(plan),
        sheet_sources=tuple(_sheet_column(column) for column in plan.sheet.columns),
        excluded_columns=plan.excluded,
        notes=plan.notes,
        checks=tuple(CheckEntry(name=c.name, passed=c.passed, message=c.message) for c in checks),
        files=files,
        seconds=round(seconds, 3),
    )


def other_sequence(sequence: DatabaseSequence) -> OtherSequenceEntry:
    """The manifest's entry of a sequence that numbers no column of the catalog's tables."""
    return OtherSequenceEntry(
        sequence=sequence.sequence,
        last_value=sequence.last_value,
        is_called=sequence.is_called,
        cycles=sequence.cycles,
    )


def not_held_entry(missing: NotHeld) -> NotHeldEntry:
    """The manifest's entry of something that is not in the backup."""
    severity: Literal["warning", "info"] = "warning" if missing.warns else "info"
    return NotHeldEntry(about=missing.about, message=missing.message, do=missing.do, severity=severity)


def rows_of(files: Sequence[FileEntry], kind: str) -> int:
    """The rows of the files of one format."""
    return sum(file.rows for file in files if file.format == kind)


def _column(planned: PlannedColumn) -> ColumnEntry:
    return ColumnEntry(
        name=planned.name,
        pg_type=planned.column.pg_type,
        arrow_type=planned.arrow_type,
        nullable=planned.column.nullable,
        masked=planned.masked,
        generated=planned.column.generated,
        identity=planned.column.identity,
        nondeterministic=planned.column.nondeterministic,
    )


def _references(plan: TablePlan) -> tuple[ReferenceEntry, ...]:
    return tuple(
        ReferenceEntry(columns=key.columns, target=key.target, target_columns=key.target_columns, enforced=key.enforced)
        for key in plan.references
    )


def _sequences(plan: TablePlan) -> tuple[SequenceEntry, ...]:
    return tuple(
        SequenceEntry(sequence=each.sequence, column=each.column, last_value=each.last_value, is_called=each.is_called)
        for each in plan.sequences
    )


def _sheet_column(shown: SheetColumn) -> SheetColumnEntry:
    look_up = shown.look_up
    if look_up is None:
        return SheetColumnEntry(title=shown.title, column=shown.field)
    steps = tuple(
        StepEntry(relation=step.relation, columns=step.columns, from_columns=step.from_columns)
        for step in look_up.steps
    )
    return SheetColumnEntry(
        title=shown.title, column=look_up.column.name, arrow_type=look_up.arrow_type, steps=steps, joined=look_up.joined
    )
