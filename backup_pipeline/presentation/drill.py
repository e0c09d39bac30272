"""What a restore drill saw: what is different first, then each table, the schema's objects, and how long it took."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.core.drill import DrillReport, How, TableDrill
from backup_pipeline.presentation.document import (
    Block,
    Item,
    Note,
    Number,
    Part,
    ReportDocument,
    Sentence,
    Span,
    Table,
    Tone,
    document,
    item,
    line,
    numbers,
    size,
    text_of,
    texts,
)

_TONES = {
    How.BYTES: Tone.GOOD,
    How.FINGERPRINT: Tone.GOOD,
    How.DIFFERENT: Tone.FAILURE,
    How.NOT_COMPARED: Tone.WARNING,
}
_COLUMNS = (
    *texts("Table"),
    *numbers("Rows", "Came back"),
    *texts("Parquet equal by", "CSV equal by"),
    *numbers("Fetch s", "Restore s", "Export s", "Compare s"),
)


def drill_document(report: DrillReport) -> ReportDocument:
    """The outcome, findings, tables, objects and inserts, remarks, seconds."""
    return document(*_head(report), *_tables(report), *_objects(report), *_inserts(report), *_end(report))


def _head(report: DrillReport) -> Iterator[Block]:
    yield line(Span(f"Drill of backup {report.backup_id}: {_outcome(report)}", Tone.STRONG))
    if report.injected is not None:
        yield Note("FAULT INJECTED", Tone.FAILURE, f"{report.injected}. No level is recorded, and nobody is alerted.")
    if report.snapshot_at is not None:
        yield item(f"Its rows are those of {text_of(report.snapshot_at)}")
    yield item(f"Verification before it: {report.verified}")
    if report.server:
        yield item(f"Scratch server: {report.server}")
    for finding in report.findings:
        yield Note("DIFFERENT", Tone.FAILURE, finding.message, finding.about, finding.do)


def _outcome(report: DrillReport) -> str:
    if not report.passed:
        return f"{len(report.findings)} {'finding' if len(report.findings) == 1 else 'findings'}"
    return "everything came back as it was" if report.tables else "nothing was restored"


def _tables(report: DrillReport) -> Iterator[Table]:
    if report.tables:
        yield Table(_COLUMNS, tuple(map(_row, report.tables)))


def _row(table: TableDrill) -> tuple[Part, ...]:
    seconds = (table.seconds.fetch, table.seconds.restore, table.seconds.export, table.seconds.compare)
    return (
        table.name if table.restored else f"{table.name} (view)",
        table.rows,
        "-" if table.rows_again is None else table.rows_again,
        *(Span(how, _TONES[how]) for how in (table.parquet, table.sheet)),
        *(Number(second, digits=2) for second in seconds),
    )


def _objects(report: DrillReport) -> Iterator[Item]:
    if report.objects:
        counts = ", ".join(f"{count.valid} of {count.wanted} {count.kind}" for count in report.objects)
        yield item(f"There and valid: {counts}.")


def _inserts(report: DrillReport) -> Iterator[Item]:
    tried = [trial for trial in report.inserts if not trial.not_tried]
    if tried:
        drawn = ", ".join(f"{trial.table} {'/'.join(trial.drawn) or 'FAILED'}" for trial in tried)
        yield item(f"Inserted and taken back, with the next number: {drawn}.")
    for trial in report.inserts:
        if trial.not_tried:
            yield item(f"Insert not tried, {trial.table}: {trial.not_tried}.")


def _end(report: DrillReport) -> Iterator[Note | Sentence]:
    yield from (Note("Note", Tone.WARNING, remark.message, remark.about) for remark in report.remarks)
    if report.tables:
        yield line(_seconds(report))
    if report.tables and report.predicted_restore_seconds is not None:
        yield line(
            f"A restore of this backup would take about {report.predicted_restore_seconds:.1f} s on a machine like "
            f"this one: {size(report.bytes_to_fetch)} to fetch, {report.rows:,} rows, their keys and indexes."
        )
    if report.passed and report.tables and report.injected is None:
        yield line(Span("The backup can be restored: level 4 is recorded.", Tone.GOOD))
    if report.stale is not None:
        yield Note("Stale", Tone.WARNING, report.stale)


def _seconds(report: DrillReport) -> str:
    stages = report.stages
    return (
        f"{report.seconds:.1f} s in all: {stages.fetch:.1f} fetch ({size(report.bytes)}), {stages.verify:.1f} "
        f"verify, {stages.server:.1f} scratch server, {stages.restore:.1f} restore, {stages.export:.1f} export, "
        f"{stages.compare:.1f} compare, {stages.inspect:.1f} inspect."
    )
