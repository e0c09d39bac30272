"""Faults put into the copy of a backup, or into the scratch database: what a drill has to notice."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from backup_pipeline.core.drill import Fault
from backup_pipeline.core.drill_faults import Injection
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.restoring import RestoreReport
from backup_pipeline.operations.drill.asked import Bench

_PARQUET = "parquet/"


def damage_copy(bench: Bench) -> Injection | None:
    """Put the request's fault into the copied bundle, where it belongs there; what was done."""
    fault = bench.request.fault
    if fault not in {Fault.BITFLIP, Fault.DROP_FILE}:
        return None
    folder = bench.folder("copy") / bench.request.place.prefix
    bundle = next(folder.glob("*.zip"), None)
    if bundle is None:
        message = f"Backup {bench.request.attempt.backup_id} has no bundle in the store to make a damaged copy of."
        raise NotFoundError(message, do="`backup-pipeline verify` says more; drill another backup.")
    member = _largest(bundle)
    if fault is Fault.BITFLIP:
        at = _flip(bundle, member)
        return Injection(fault, f"One bit of byte {at:,} of the copied bundle was turned over.", bundle.name)
    _drop(bundle, member.filename)
    return Injection(fault, f"{member.filename} was taken out of the copied bundle.", bundle.name)


def lose_row(bench: Bench, scratch: Scratch, report: RestoreReport) -> Injection | None:
    """Delete one row of the largest table of the scratch database, where the request says so; what was done."""
    if bench.request.fault is not Fault.DROP_ROW:
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
    at = member.header_offset + member.compress_size // 2
    with bundle.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    return at


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
