"""How the plan and the report of a restore look in the Dagster UI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from backup_pipeline.core import markdown
from backup_pipeline.core.restoring import Remark, RestorePlan, RestoreReport

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


def plan_metadata(plan: RestorePlan, hide: Callable[[str], str]) -> Metadata:
    """What will happen, and what speaks against it; `hide` takes out what is secret."""
    return {
        "backup_id": plan.backup_id,
        "target": f"{plan.target}, database {plan.database}",
        "bytes_to_fetch": plan.bytes,
        "plan": dg.MetadataValue.md(hide(plan_markdown(plan))),
    }


def report_metadata(report: RestoreReport, request: int) -> Metadata:
    """What was done; the numbers are plotted over the runs."""
    return {
        "request": request,
        "rows_loaded": sum(table.loaded for table in report.tables),
        "rows_inserted": sum(table.inserted for table in report.tables),
        "rows_updated": sum(table.updated for table in report.tables),
        "rows_deleted": sum(table.deleted for table in report.tables),
        "bytes_fetched": report.bytes_fetched,
        "seconds": round(report.seconds, 3),
        "safety_backup": report.safety_backup_id or "none",
        "restored": dg.MetadataValue.table([_record(report, at) for at in range(len(report.tables))]),
        "notes": dg.MetadataValue.md(markdown.bullets(report.notes)),
    }


def plan_markdown(plan: RestorePlan) -> str:
    """The plan as Markdown: the refusals first, then each table with its rows now and in the backup."""
    return "\n".join(_lines(plan))


def _lines(plan: RestorePlan) -> Iterator[str]:
    yield f"Backup `{plan.backup_id}` ({plan.request.mode}) into database {markdown.plain(plan.database)}\n"
    yield from (f"- **REFUSED** {_told(remark)}" for remark in plan.refusals)
    yield "\n| table | goes to | what happens | rows now | rows in the backup |"
    yield "|---|---|---|---:|---:|"
    for table in plan.tables:
        now = "not there" if table.rows_now is None else f"{table.rows_now:,}"
        cells = (table.name, table.target_name, table.action.value, now, f"{table.rows_in_backup:,}")
        yield "| " + " | ".join(map(markdown.plain, cells)) + " |"
    yield ""
    others = (remark for remark in plan.remarks if remark not in plan.refusals)
    yield from (f"- {remark.severity}: {_told(remark)}" for remark in others)
    if plan.confirm_name:
        yield f"\nRows that are there in {markdown.plain(plan.database)} can change."


def _told(remark: Remark) -> str:
    about = f"{remark.table}: " if remark.table else ""
    return markdown.plain(f"{about}{remark.message}") + (
        f" *What to do:* {markdown.plain(remark.do)}" if remark.do else ""
    )


def _record(report: RestoreReport, at: int) -> dg.TableRecord:
    table = report.tables[at]
    return dg.TableRecord(
        {
            "table": table.name,
            "target": ".".join(table.target),
            "loaded": table.loaded,
            "inserted": table.inserted,
            "updated": table.updated,
            "deleted": table.deleted,
            "unchanged": table.unchanged,
            "seconds": round(table.seconds, 3),
        }
    )
