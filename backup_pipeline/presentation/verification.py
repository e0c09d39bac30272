"""What a verification or a drill saw: how deep it got, what is wrong or different, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backup_pipeline.core.drill import DrillReport, How, TableDrill
from backup_pipeline.core.verification import LevelReport, VerifyReport
from backup_pipeline.presentation import (
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
    prose,
    size,
    text_of,
    texts,
)

_NAMED = 8
"""How many objects are named before the rest is counted; JSON names all."""


def verification_document(report: VerifyReport) -> ReportDocument:
    """The level that was reached, the levels one by one, findings, remarks, and what is still not known."""
    title = Span(f"Backup {report.backup_id}: reached {report.reached}", Tone.STRONG)
    read = f", {report.objects:,} objects, {size(report.bytes)}, {report.seconds:.1f} s"
    levels = Table((*texts("", ""), prose("")), tuple(map(_level, report.levels)))
    return document(line(title, read), line(f"In {report.place}"), levels, *_notes(report), *_outcome(report))


def _level(report: LevelReport) -> tuple[Part, ...]:
    if report.findings:
        outcome = Span(f"{len(report.findings)} FINDINGS", Tone.FAILURE)
    else:
        outcome = Span("good", Tone.GOOD) if report.full else Span("in part", Tone.WARNING)
    return str(report.level), outcome, report.level.proves


def _notes(report: VerifyReport) -> Iterator[Block]:
    for finding in report.findings:
        yield Note(f"Level {finding.level.value}", Tone.WRONG, finding.message, about=finding.object)
    for remark in report.remarks:
        about = f"Level {remark.level.value}: {remark.object}"
        yield Note("Note", Tone.WARNING, remark.message, about=about)
    yield from (item(_left_out(level)) for level in report.levels if not level.full)


def _left_out(level: LevelReport) -> str:
    looked = f"looked at {_named(level.looked_at)}" if level.looked_at else "looked at nothing"
    return f"Level {level.level}, {level.why_left_out}: {looked}; left out {_named(level.left_out)}."


def _named(objects: Sequence[str]) -> str:
    names = [name.rpartition("!")[2] for name in objects]
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _outcome(report: VerifyReport) -> Iterator[Sentence]:
    if report.passed and not report.whole:
        text = f"Nothing wrong was seen, but level {report.wanted} was not reached in full."
        yield line(Span(text, Tone.WARNING))
    elif report.passed:
        yield line(Span(f"Nothing is wrong. {report.wanted.leaves_open}", Tone.GOOD))


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
    yield line(Span(f"Drill of backup {report.backup_id}: {_drill_outcome(report)}", Tone.STRONG))
    if report.injected is not None:
        yield Note("FAULT INJECTED", Tone.FAILURE, f"{report.injected}. No level is recorded, and nobody is alerted.")
    if report.snapshot_at is not None:
        yield item(f"Its rows are those of {text_of(report.snapshot_at)}")
    yield item(f"Verification before it: {report.verified}")
    if report.server:
        yield item(f"Scratch server: {report.server}")
    for finding in report.findings:
        yield Note("DIFFERENT", Tone.FAILURE, finding.message, finding.about, finding.do)


def _drill_outcome(report: DrillReport) -> str:
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
