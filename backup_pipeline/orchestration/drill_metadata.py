"""How the report of a drill looks in the Dagster UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from backup_pipeline.core import markdown
from backup_pipeline.core.drill import DrillReport, TableDrill

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


def drill_metadata(report: DrillReport) -> Metadata:
    """What was seen; the numbers are plotted over the runs."""
    return {
        "backup_id": report.backup_id,
        "passed": dg.MetadataValue.bool(report.passed),
        "findings": len(report.findings),
        "tables": len(report.tables),
        "rows": report.rows,
        "bundle_bytes": report.bytes,
        "seconds": report.seconds,
        "restore_seconds": report.stages.restore,
        "predicted_restore_seconds": report.predicted_restore_seconds or 0.0,
        "stale": report.stale or "no",
        "report": dg.MetadataValue.md(drill_markdown(report)),
    }


def drill_markdown(report: DrillReport) -> str:
    """The report as Markdown: what is different first, then each table."""
    return "\n".join(_lines(report))


def _lines(report: DrillReport) -> Iterator[str]:
    outcome = "everything came back as it was" if report.passed and report.tables else "**FAILED**"
    yield f"Drill of backup `{report.backup_id}`: {outcome}. Verification before it: {report.verified}.\n"
    if report.injected is not None:
        yield f"- **Fault injected: {report.injected}.** No level is recorded, nobody is alerted."
    yield from (
        f"- **DIFFERENT** {markdown.plain(str(finding))} *What to do:* {markdown.plain(finding.do)}"
        for finding in report.findings
    )
    if report.tables:
        yield "\n| table | rows | came back | Parquet | CSV | fetch s | restore s | export s | compare s |"
        yield "|---|---:|---:|---|---|---:|---:|---:|---:|"
        yield from (_row(table) for table in report.tables)
        yield ""
    counted = ", ".join(f"{one.valid} of {one.wanted} {one.kind}" for one in report.objects)
    yield from ([f"- There and valid: {counted}."] if counted else [])
    for trial in report.inserts:
        told = f"not tried: {trial.not_tried}" if trial.not_tried else f"next number {'/'.join(trial.drawn) or 'taken'}"
        yield f"- Insert into {markdown.plain(f'{trial.table}: {told}')}."
    yield from (f"- note: {markdown.plain(str(remark))}" for remark in report.remarks)
    if report.predicted_restore_seconds is not None:
        yield f"\nA restore of the whole would take about {report.predicted_restore_seconds:.1f} s on such a machine."


def _row(table: TableDrill) -> str:
    again = "-" if table.rows_again is None else f"{table.rows_again:,}"
    seconds = (table.seconds.fetch, table.seconds.restore, table.seconds.export, table.seconds.compare)
    cells = [table.name, f"{table.rows:,}", again, table.parquet.value, table.sheet.value]
    return "| " + " | ".join([*cells, *(f"{second:.2f}" for second in seconds)]) + " |"
