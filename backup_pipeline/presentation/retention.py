"""What retention lets go and why, and what was removed of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from backup_pipeline.core.retention import FOREVER, Rule, Verdict
from backup_pipeline.core.retention.prune import Left, PrunePlan
from backup_pipeline.presentation import (
    Bytes,
    Checks,
    Item,
    Minute,
    Note,
    Part,
    ReportDocument,
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

if TYPE_CHECKING:
    from backup_pipeline.operations.retention import PruneReport
    from backup_pipeline.operations.retention.businesses import BusinessesPruneReport


_COLUMNS = (*texts("", "ID (UTC)", "Type", "Date"), *numbers("Size"), prose("Why"))


def plan_document(plan: PrunePlan) -> ReportDocument:
    """Each backup with what becomes of it and why, then partitions, debris, remarks, and what can not go now."""
    going = len(plan.removed)
    head = f"Catalog {plan.scope}: backups that stay {len(plan.verdicts) - going}, that go {going}"
    backups = [Table(_COLUMNS, tuple(_row(verdict, plan) for verdict in plan.verdicts))] if plan.verdicts else []
    left = (each for objects in plan.locked.values() for each in objects)
    return document(line(f"{head}; {size(plan.bytes)} in all."), *backups, *_others(plan), _left(left))


def report_document(report: PruneReport) -> ReportDocument:
    """What was removed, what was kept after all, and each object that stays."""
    gone = [each for each in report.removed if not each.kept]
    counts = f"backups {len(gone)}, dates of partitions {len(report.days)}, leftovers {report.debris}"
    kept = (item(f"{each.backup_id} stays: {each.kept}.") for each in report.removed if each.kept)
    head = line(f"Catalog {report.plan.scope}: removed {counts}; {size(report.bytes)}.")
    return document(head, *kept, _left(report.left))


_OF_BUSINESSES = (*texts("Business"), *numbers("Stay", "Go", "Bytes"))


def businesses_document(report: BusinessesPruneReport) -> ReportDocument:
    """What stays and what goes of the backups of all businesses, and of which the most."""
    going = "removed" if report.confirmed else "that go"
    counts = f"backups that stay {report.kept:,}, {going} {report.going:,}"
    head = line(f"Businesses of {report.catalog}: {report.businesses:,}; {counts}; {size(report.bytes)}.")
    rows = tuple((each.business, each.kept, each.going, Bytes(each.bytes)) for each in report.largest)
    others = [
        *(item(f"{business} was left out: {why}") for business, why in report.busy.items()),
        *([item(f"{report.stayed:,} backups stay after all.")] if report.stayed else []),
        *([item(f"Rows of old ticks {going}: {report.ticks:,}.")] if report.ticks else []),
        *(item(Span(remark, Tone.STRONG)) for remark in report.remarks),
    ]
    return document(head, *([Table(_OF_BUSINESSES, rows)] if rows else []), *others, _left(report.left))


def left_document(left: Iterable[Left]) -> ReportDocument:
    """Each object of which something stays, why, and what to do."""
    return document(_left(left))


def _left(left: Iterable[Left]) -> Checks:
    return Checks(tuple(Note(each.why.upper(), Tone.WARNING, each.message, each.key, each.do) for each in left))


def _row(verdict: Verdict, plan: PrunePlan) -> tuple[Part, ...]:
    row = verdict.attempt
    fate = Span("remove", Tone.WRONG) if verdict.removed else Span("keep", Tone.GOOD)
    if row.backup_id in plan.locked:
        fate = Span("locked", Tone.WARNING)
    bundle = None if row.file_size_bytes is None else Bytes(row.file_size_bytes)
    return fate, row.backup_id, row.type, row.partition_date, bundle, "; ".join(verdict.reasons)


def _others(plan: PrunePlan) -> Iterator[Item]:
    for backup_id, status in plan.begun.items():
        yield item(f"finish  {backup_id}: its removal was begun and not finished; it becomes {status}")
    for day in plan.removed_days:
        yield item(f"remove  partitions of {day.day}: {day.reason} ({size(day.bytes)})")
    for debris in plan.debris:
        folder = debris.folder
        yield item(f"remove  what is left of {folder.backup_id}: {debris.reason} ({size(folder.bytes)})")
    for unfinished in plan.unfinished:
        yield item(f"remove  unfinished {unfinished.key}, begun {text_of(Minute(unfinished.begun))}")
    for hidden in plan.hidden:
        yield item(f"remove  all versions of {hidden.key} ({size(hidden.size)})")
    for copy in plan.copies:
        yield item(f"remove  copy {copy}: its backup is gone")
    yield from (item(Span(remark, Tone.STRONG)) for remark in plan.remarks)


_PERIODS = {
    "keep_hourly": ("hour", "hours"),
    "keep_daily": ("day", "days"),
    "keep_weekly": ("week", "weeks"),
    "keep_monthly": ("month", "months"),
    "keep_yearly": ("year", "years"),
}


def rule_sentences(rule: Rule) -> Sequence[str]:
    """What the rule of one type of backup keeps, in sentences; whatever any of them asks for stays."""
    return list(_rule_sentences(rule))


def _rule_sentences(rule: Rule) -> Iterator[str]:
    if rule.keep_within == FOREVER:
        yield "Each one is kept for ever."
    elif rule.keep_within:
        yield f"Each one is kept for {rule.keep_within}."
    if rule.keep_last:
        yield "The newest one is kept." if rule.keep_last == 1 else f"The newest {rule.keep_last} are kept."
    for name, (one, many) in _PERIODS.items():
        if count := getattr(rule, name):
            of = f"the newest {count} {many} that have one" if count > 1 else f"the newest {one} that has one"
            yield f"The last one of each of {of} is kept." if count > 1 else f"The last one of {of} is kept."
    if rule.min_keep:
        yield f"At least {rule.min_keep} always stay, whatever the other rules say."
    if rule.grace_minutes:
        yield f"Nothing goes that is younger than {rule.grace_minutes} minutes."
