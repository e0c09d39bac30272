"""What a verification saw: how deep it got, what each level proves, what is wrong, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backup_pipeline.core.verification import LevelReport, VerifyReport
from backup_pipeline.presentation.document import (
    Block,
    Note,
    Part,
    ReportDocument,
    Sentence,
    Span,
    Table,
    Tone,
    document,
    item,
    line,
    prose,
    size,
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
