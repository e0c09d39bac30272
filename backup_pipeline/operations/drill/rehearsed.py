"""The whole rehearsal: copy, verify, restore, export, compare, inspect; and the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from backup_pipeline.core.drill import DrillReport, Finding, Remark, TableDrill, TableSeconds
from backup_pipeline.core.drill_faults import Injection
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.progress import StageStarted
from backup_pipeline.core.verification import VerifyReport
from backup_pipeline.operations.browse import stored_manifest
from backup_pipeline.operations.drill.asked import Bench, DrillPorts, DrillRequest, Subject, Watch
from backup_pipeline.operations.drill.compared import compare_table, comparing
from backup_pipeline.operations.drill.copy import copy_backup, copy_place
from backup_pipeline.operations.drill.damage import damage_copy, lose_row
from backup_pipeline.operations.drill.exported import export_again
from backup_pipeline.operations.drill.inspected import compare_sequences, inspect_objects, try_inserts
from backup_pipeline.operations.drill.restored import Restored, definitions_of, restore_copy
from backup_pipeline.operations.drill.verified import findings_of, remarks_of, verify_copy
from backup_pipeline.operations.results import TableResult


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal: its report, that of the verification before it, and the fault that was put in, if any."""

    report: DrillReport
    verified: VerifyReport
    injection: Injection | None = None


def rehearse(request: DrillRequest, ports: DrillPorts) -> Rehearsal:
    """Go through all steps; a backup that does not verify is not restored. Leaves nothing behind.

    Raises what keeps a step from being done; that something is not as it was, is a finding.
    """
    watch = Watch(ports.clock)
    with watch.over("total"), ports.workshop() as shop:
        bench = Bench(request, ports, shop, copy_place(shop.store("copy"), ports.store), watch)
        with watch.over("fetch"):
            copy_backup(bench)
        injection = damage_copy(bench)
        with watch.over("verify"):
            verified = verify_copy(bench)
        report = _begun(request, verified)
        if verified.passed:
            subject = Subject(bench, stored_manifest(request.attempt, bench.copy))
            report, lost = _restored_and_compared(subject, report)
            injection = injection or lost
    return Rehearsal(_timed(report, watch), verified, injection)


def _begun(request: DrillRequest, verified: VerifyReport) -> DrillReport:
    return DrillReport(
        backup_id=request.attempt.backup_id,
        catalog=request.attempt.catalog,
        snapshot_at=request.attempt.snapshot_at,
        verified=verified.reached,
        bytes=verified.bytes,
        findings=findings_of(verified),
        remarks=remarks_of(verified),
        injected=request.fault,
    )


def _timed(report: DrillReport, watch: Watch) -> DrillReport:
    total = watch.seconds.pop("total")
    return replace(report, stages=watch.stages, seconds=round(total, 3))


def _restored_and_compared(subject: Subject, report: DrillReport) -> tuple[DrillReport, Injection | None]:
    bench = subject.bench
    definitions = definitions_of(subject)
    with ExitStack() as serving:
        with bench.watch.over("server"):
            scratch = serving.enter_context(bench.shop.server(definitions.needs))
        with bench.watch.over("restore"):
            restored = restore_copy(subject, scratch, definitions)
        lost = lose_row(bench, scratch, restored.report)
        with bench.watch.over("export"):
            results = export_again(subject, scratch)
        with bench.watch.over("compare"):
            tables = _compared(subject, restored, results)
        with bench.watch.over("inspect"):
            report = _inspected(scratch, restored, report)
    return _with_tables(report, restored, tables, scratch), lost


def _compared(subject: Subject, restored: Restored, results: Mapping[str, TableResult]) -> list[TableDrill]:
    bench = subject.bench
    bench.ports.progress.tell(StageStarted("comparing table by table"))
    at = comparing(subject, restored)
    loads = {table.name: table.seconds for table in restored.report.tables}
    rate = bench.watch.seconds["fetch"] / max(subject.manifest.bundle.bytes, 1)
    found = []
    for entry in subject.manifest.tables:
        started = bench.ports.clock()
        result = results.get(entry.name)
        table = compare_table(entry, result, at)
        took = (bench.ports.clock() - started).total_seconds()
        fetched = rate * sum(file.bytes for file in entry.files if file.format == "parquet")
        export = result.partition.table.seconds if result and result.partition else 0.0
        seconds = TableSeconds(round(fetched, 3), loads.get(entry.name, 0.0), export, round(took, 3))
        found.append(replace(table, seconds=seconds))
    return found


def _inspected(scratch: Scratch, restored: Restored, report: DrillReport) -> DrillReport:
    objects = inspect_objects(scratch, restored)
    moved = compare_sequences(scratch, restored)
    trials, taken = try_inserts(scratch, restored)
    return replace(
        report,
        objects=objects.counts,
        inserts=tuple(trials),
        findings=(*report.findings, *objects.findings, *moved, *taken),
        remarks=(*report.remarks, *objects.remarks),
    )


def _with_tables(report: DrillReport, restored: Restored, tables: list[TableDrill], scratch: Scratch) -> DrillReport:
    """The findings of the tables come first: they are what a person reads."""
    findings: list[Finding] = [finding for table in tables for finding in table.findings]
    remarks: list[Remark] = [remark for table in tables for remark in table.remarks]
    return replace(
        report,
        tables=tuple(tables),
        server_version=scratch.server_version,
        server=scratch.server,
        bytes_to_fetch=restored.plan.bytes,
        findings=(*findings, *report.findings),
        remarks=(*restored.remarks, *remarks, *report.remarks),
    )
