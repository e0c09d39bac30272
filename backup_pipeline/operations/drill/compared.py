"""The fifth step: each table's files beside those of the backup, by their bytes, else by fingerprints of their rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from backup_pipeline import __version__
from backup_pipeline.core.decoding import NotComparableError
from backup_pipeline.core.drill import Finding, How, Remark, TableDrill
from backup_pipeline.core.drill_catalog import comparable_titles
from backup_pipeline.core.drill_compare import CSV, PARQUET, Pair, files_of, judged, same_bytes, with_other_program
from backup_pipeline.core.drill_ports import Fingerprint, Fingerprints
from backup_pipeline.core.manifest import FORMAT_VERSION, TableEntry
from backup_pipeline.core.restoring import PackedFile
from backup_pipeline.operations.browse import opened_backup
from backup_pipeline.operations.drill.asked import Subject
from backup_pipeline.operations.drill.exported import exported_files
from backup_pipeline.operations.drill.restored import Restored
from backup_pipeline.operations.restore_fetch import Fetching
from backup_pipeline.operations.results import TableResult

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Comparing:
    """What comparing needs: the backup, what was restored, the way to the backup's files, and fingerprints."""

    subject: Subject
    restored: Restored
    fetching: Fetching
    fingerprints: Fingerprints


def comparing(subject: Subject, restored: Restored) -> Comparing:
    """Get ready to compare."""
    bench, ports = subject.bench, subject.bench.ports
    fetching = Fetching(opened_backup(bench.request.attempt, bench.copy), (bench.copy, ports.formats, ports.progress))
    return Comparing(subject, restored, fetching, ports.fingerprints(bench.folder("compare")))


def compare_table(entry: TableEntry, result: TableResult | None, at: Comparing) -> TableDrill:
    """What became of one table."""
    held = {table.name for table in at.restored.plan.tables}
    if result is None or result.partition is None:
        return _not_exported(entry, result, restored=entry.name in held)
    pair = _pair(entry, result.partition.table, at, restored=entry.name in held)
    compared = judged(pair, _parquet(pair, at), _sheets(pair, at))
    return TableDrill(
        name=entry.name,
        rows=entry.row_count,
        rows_again=pair.again.row_count,
        parquet=compared.parquet,
        sheet=compared.sheet,
        restored=pair.restored,
        findings=compared.findings,
        remarks=compared.remarks,
    )


def _pair(entry: TableEntry, again: TableEntry, at: Comparing, *, restored: bool) -> Pair:
    manifest = at.subject.manifest
    pair = Pair(
        before=entry,
        again=again,
        titles=comparable_titles(manifest, entry),
        made=at.restored.amendment.made.get(entry.name, ""),
        restored=restored,
    )
    written = (manifest.pipeline_version, manifest.format_version)
    return with_other_program(pair, written, (__version__, FORMAT_VERSION))


def _not_exported(entry: TableEntry, result: TableResult | None, *, restored: bool) -> TableDrill:
    why = result.error.what if result and result.error else "it was not exported"
    lost = TableDrill(entry.name, entry.row_count, None, How.NOT_COMPARED, How.NOT_COMPARED, restored)
    message = f"it could not be exported again: {why}"
    if restored:
        do = "Look at the message; restore the backup by hand into an empty database, and look at the table there."
        return replace(lost, findings=(Finding(entry.name, message, do),))
    return replace(lost, remarks=(Remark(entry.name, f"{message} It is a view, and holds no rows of its own."),))


def _parquet(pair: Pair, at: Comparing) -> How:
    if same_bytes(pair, PARQUET):
        return How.BYTES
    if pair.before.row_count != pair.again.row_count:
        return How.DIFFERENT
    before = _fetched(pair, PARQUET, at)
    again = [exported_files(at.subject, pair.again.name) / file.name for file in files_of(pair.again, PARQUET)]
    of_before, of_again = (at.fingerprints.of_parquet(files, pair.columns) for files in (before, again))
    _forget(pair, at)
    return How.FINGERPRINT if of_before == of_again else How.DIFFERENT


def _sheets(pair: Pair, at: Comparing) -> How:
    """Not compared where nothing can be made again, and where a record is too large to be read."""
    if same_bytes(pair, CSV):
        return How.BYTES
    if not pair.shown:
        return How.NOT_COMPARED
    if pair.before.row_count != pair.again.row_count:
        return How.DIFFERENT
    before = _fetched(pair, CSV, at)
    again = [exported_files(at.subject, pair.again.name) / file.name for file in files_of(pair.again, CSV)]
    try:
        of_before = _of_sheets(before, pair.before, pair, at)
        of_again = _of_sheets(again, pair.again, pair, at)
    except NotComparableError:
        return How.NOT_COMPARED
    finally:
        _forget(pair, at)
    return How.FINGERPRINT if of_before == of_again else How.DIFFERENT


def _of_sheets(files: list[Path], entry: TableEntry, pair: Pair, at: Comparing) -> Fingerprint:
    return at.fingerprints.of_sheets([_chunks(file) for file in files], entry.sheet_columns, pair.shown)


def _fetched(pair: Pair, kind: str, at: Comparing) -> list[Path]:
    """The backup's files of a format, fetched out of the copied bundle."""
    folder = at.subject.bench.folder("compare") / pair.before.name
    folder.mkdir(exist_ok=True)
    paths = {sha256: path for path, sha256 in at.subject.manifest.entries.items()}
    found = []
    for file in files_of(pair.before, kind):
        packed = PackedFile(paths.get(file.sha256, file.name), file.rows, file.bytes, file.sha256)
        at.fetching.fetch(packed, folder / file.name)
        found.append(folder / file.name)
    return found


def _forget(pair: Pair, at: Comparing) -> None:
    shutil.rmtree(at.subject.bench.folder("compare") / pair.before.name, ignore_errors=True)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
