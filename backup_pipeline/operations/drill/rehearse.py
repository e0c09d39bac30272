"""The second step: the copy verified as any backup is, levels 0 to 3, before anything is restored from it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from backup_pipeline.core.drill import (
    DrillFinding,
    DrillRemark,
    DrillReport,
    Fault,
    Injection,
    TableDrill,
    TableSeconds,
)
from backup_pipeline.core.drill.objects import OpenSandbox, Scratch
from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.manifest import read_manifest
from backup_pipeline.core.names import MOST_DOCUMENT, whole
from backup_pipeline.core.ports import BytesMoved, Ports, Progress, StageStarted, Store
from backup_pipeline.core.restore import RestoreReport
from backup_pipeline.core.verification import Level, VerifyReport
from backup_pipeline.operations.browse import stored_manifest
from backup_pipeline.operations.drill.compare import (
    DrillContext,
    DrillRequest,
    DrillSubject,
    Restored,
    Stopwatch,
    compare_sequences,
    compare_table,
    comparing,
    definitions_of,
    export_again,
    inspect_objects,
    restore_copy,
    try_inserts,
)
from backup_pipeline.operations.export import TableResult
from backup_pipeline.operations.verify import VerifyRequest, verify_backup


def verify_copy(context: DrillContext) -> VerifyReport:
    """Verify the copy against its manifest, and against the ledger's row."""
    request = VerifyRequest(level=Level.REFERENCES)
    return verify_backup(context.request.place, request, context.inside, row=context.request.attempt)


def findings_of(report: VerifyReport) -> tuple[DrillFinding, ...]:
    """What verification found, as findings of the drill."""
    do = "Do not rely on it: use another backup, and make a new one now."
    findings = report.findings
    return tuple(DrillFinding(each.object, f"level {each.level}: {each.message}", do) for each in findings)


def remarks_of(report: VerifyReport) -> tuple[DrillRemark, ...]:
    """What else verification saw."""
    return tuple(DrillRemark(remark.object.rpartition("!")[2], remark.message) for remark in report.remarks)


def copy_place(inner: Store, original: Store) -> Store:
    """The store `inner` for what is copied from `original`, as it lies there: it is decrypted as there."""
    return cast(Store, _CopyPlace(inner, original))


class _CopyPlace:
    """`inner`, whose documents `original` opens."""

    def __init__(self, inner: Store, original: Store) -> None:
        self._inner = inner
        self.opened = original.opened

    def get(self, key: str) -> bytes:
        """The whole object; a document decrypted."""
        return self.opened(key, self._inner.get(key))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def copy_backup(context: DrillContext) -> None:
    """Copy manifest and bundle, as far as they are there: what is missing or damaged, verifying the copy tells.

    StoreError when the store can not be read, or the copy not be written.
    """
    place, store = context.request.place, context.ports.store
    with suppress(NotFoundError, VerificationError):
        data = whole(store.stream(place.manifest), MOST_DOCUMENT, place.manifest)
        context.copy.put(place.manifest, [data])
        bundle = read_manifest(store.opened(place.manifest, data), place.manifest).bundle
        context.ports.progress.tell(StageStarted("copying the backup here", bundle.bytes))
        key = place.bundle(bundle.name)
        context.copy.put(key, _counted(store.stream(key), context.ports.progress))


def _counted(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        progress.tell(BytesMoved(len(chunk)))


_PARQUET = "parquet/"


def damage_copy(context: DrillContext) -> Injection | None:
    """Put the request's fault into the copied bundle, where it belongs there; what was done."""
    fault = context.request.fault
    if fault not in {Fault.BITFLIP, Fault.DROP_FILE}:
        return None
    folder = context.folder("copy") / context.request.place.prefix
    bundle = next(folder.glob("*.zip"), None)
    if bundle is None:
        message = f"Backup {context.request.attempt.backup_id} has no bundle in the store to make a damaged copy of."
        raise NotFoundError(message, do="`backup-pipeline verify` says more; drill another backup.")
    member = _largest(bundle)
    if fault is Fault.BITFLIP:
        offset = _flip(bundle, member)
        return Injection(fault, f"One bit of byte {offset:,} of the copied bundle was turned over.", bundle.name)
    _drop(bundle, member.filename)
    return Injection(fault, f"{member.filename} was taken out of the copied bundle.", bundle.name)


def lose_row(context: DrillContext, scratch: Scratch, report: RestoreReport) -> Injection | None:
    """Delete one row of the largest table of the scratch database, where the request says so; what was done."""
    if context.request.fault is not Fault.DROP_ROW:
        return None
    table = max(report.tables, key=lambda one: one.loaded)
    scratch.database.drop_row(table.target)
    return Injection(Fault.DROP_ROW, f"One row of {table.name} was deleted after the restore.", table.name)


def _largest(bundle: Path) -> zipfile.ZipInfo:
    with zipfile.ZipFile(bundle) as archive:
        files = [info for info in archive.infolist() if info.filename.startswith(_PARQUET)]
    return max(files, key=lambda info: info.compress_size)


def _flip(bundle: Path, member: zipfile.ZipInfo) -> int:
    """Turn over a bit in the middle of a member's bytes; which byte it is in."""
    offset = member.header_offset + member.compress_size // 2
    with bundle.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    return offset


def _drop(bundle: Path, member: str) -> None:
    """Write the ZIP anew without a member."""
    without = bundle.with_suffix(".without")
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(without, "w") as smaller:
        for info in archive.infolist():
            if info.filename == member:
                continue
            with archive.open(info) as source, smaller.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
    without.replace(bundle)


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal: its report, that of the verification before it, and the fault that was put in, if any."""

    report: DrillReport
    verified: VerifyReport
    injection: Injection | None = None


def rehearse(request: DrillRequest, ports: Ports, open_sandbox: OpenSandbox) -> Rehearsal:
    """Go through all steps; a backup that does not verify is not restored. Leaves nothing behind.

    Raises what keeps a step from being done; that something is not as it was, is a finding.
    """
    watch = Stopwatch(ports.clock)
    with watch.over("total"), open_sandbox() as sandbox:
        context = DrillContext(request, ports, sandbox, copy_place(sandbox.store("copy"), ports.store), watch)
        with watch.over("fetch"):
            copy_backup(context)
        injection = damage_copy(context)
        with watch.over("verify"):
            verified = verify_copy(context)
        report = _begun(request, verified)
        if verified.passed:
            subject = DrillSubject(context, stored_manifest(request.attempt, context.copy))
            report, lost = _restored_and_compared(subject, report)
            injection = injection or lost
    return Rehearsal(_timed(report, watch), verified, injection)


def _begun(request: DrillRequest, verified: VerifyReport) -> DrillReport:
    return DrillReport(
        backup_id=request.attempt.backup_id,
        catalog=str(request.attempt.scope),
        snapshot_at=request.attempt.snapshot_at,
        verified=verified.reached,
        bytes=verified.bytes,
        findings=findings_of(verified),
        remarks=remarks_of(verified),
        injected=request.fault,
    )


def _timed(report: DrillReport, watch: Stopwatch) -> DrillReport:
    total = watch.seconds.pop("total")
    return replace(report, stages=watch.stages, seconds=round(total, 3))


def _restored_and_compared(subject: DrillSubject, report: DrillReport) -> tuple[DrillReport, Injection | None]:
    context = subject.context
    definitions = definitions_of(subject)
    with ExitStack() as serving:
        with context.watch.over("server"):
            scratch = serving.enter_context(context.sandbox.server(definitions.needs))
        with context.watch.over("restore"):
            restored = restore_copy(subject, scratch, definitions)
        lost = lose_row(context, scratch, restored.report)
        with context.watch.over("export"):
            results = export_again(subject, scratch)
        with context.watch.over("compare"):
            tables = _compared(subject, restored, results)
        with context.watch.over("inspect"):
            report = _inspected(scratch, restored, report)
    return _with_tables(report, restored, tables, scratch), lost


def _compared(subject: DrillSubject, restored: Restored, results: Mapping[str, TableResult]) -> list[TableDrill]:
    context = subject.context
    context.ports.progress.tell(StageStarted("comparing table by table"))
    comparison = comparing(subject, restored)
    loads = {table.name: table.seconds for table in restored.report.tables}
    rate = context.watch.seconds["fetch"] / max(subject.manifest.bundle.bytes, 1)
    tables = []
    with closing(comparison.fingerprints):
        for entry in subject.manifest.tables:
            started = context.ports.clock()
            result = results.get(entry.name)
            table = compare_table(entry, result, comparison)
            took = (context.ports.clock() - started).total_seconds()
            fetched = rate * sum(file.bytes for file in entry.files if file.format == "parquet")
            export = result.partition.table.seconds if result and result.partition else 0.0
            seconds = TableSeconds(round(fetched, 3), loads.get(entry.name, 0.0), export, round(took, 3))
            tables.append(replace(table, seconds=seconds))
    return tables


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
    findings: list[DrillFinding] = [finding for table in tables for finding in table.findings]
    remarks: list[DrillRemark] = [remark for table in tables for remark in table.remarks]
    return replace(
        report,
        tables=tuple(tables),
        server_version=scratch.server_version,
        server=scratch.server,
        bytes_to_fetch=restored.plan.bytes,
        findings=(*findings, *report.findings),
        remarks=(*restored.remarks, *remarks, *report.remarks),
    )
