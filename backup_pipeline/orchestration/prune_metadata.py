"""How the plan and the report of a clean-up look in the Dagster UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from backup_pipeline.core import markdown
from backup_pipeline.core.prune_plan import PrunePlan
from backup_pipeline.operations.prune_report import PruneReport

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


def prune_metadata(plans: Sequence[PrunePlan], reports: Sequence[PruneReport]) -> Metadata:
    """What was planned and what was done; the numbers are plotted over the runs."""
    left = [left for report in reports for left in report.left]
    return {
        "kept": sum(len(plan.verdicts) - len(plan.removed) for plan in plans),
        "removed": sum(1 for report in reports for each in report.removed if not each.kept),
        "partitions_removed": sum(len(report.days) for report in reports),
        "bytes_removed": sum(report.bytes for report in reports),
        "plan": dg.MetadataValue.md("\n\n".join(plan_markdown(plan) for plan in plans)),
        "left": dg.MetadataValue.md(markdown.bullets(f"{each.why}: {each.key}: {each.message}" for each in left)),
    }


def plan_markdown(plan: PrunePlan) -> str:
    """The plan as Markdown: each backup with its reasons, then everything else that goes, then what is strange."""
    return "\n".join(_lines(plan))


def _lines(plan: PrunePlan) -> Iterator[str]:
    yield f"Catalog `{plan.catalog}`: {len(plan.removed)} of {len(plan.verdicts)} backups go, {plan.bytes:,} bytes.\n"
    if plan.verdicts:
        yield "| backup | date | type | | why |"
        yield "|---|---|---|---|---|"
    for verdict in plan.verdicts:
        row, what = verdict.attempt, "**remove**" if verdict.removed else "keep"
        what = "locked" if row.backup_id in plan.locked else what
        why = markdown.plain("; ".join(verdict.reasons))
        yield f"| {row.backup_id} | {row.partition_date} | {row.type} | {what} | {why} |"
    yield ""
    yield from (f"- finish the removal of {backup_id}" for backup_id in plan.begun)
    yield from (f"- remove the partitions of {day.day}: {markdown.plain(day.reason)}" for day in plan.removed_days)
    yield from (
        f"- remove what is left of {each.folder.backup_id}: {markdown.plain(each.reason)}" for each in plan.debris
    )
    yield from (f"- remove the unfinished {markdown.plain(each.key)}" for each in plan.unfinished)
    yield from (f"- remove all versions of {markdown.plain(each.key)}" for each in plan.hidden)
    yield from (f"- remove the copy {markdown.plain(str(copy))}" for copy in plan.copies)
    yield from (f"- **{markdown.plain(str(remark))}**" for remark in plan.remarks)
