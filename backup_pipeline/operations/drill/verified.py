"""The second step: the copy verified as any backup is, levels 0 to 3, before anything is restored from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from backup_pipeline.core.drill import Finding, Remark
from backup_pipeline.core.verification import Level, VerifyReport
from backup_pipeline.operations.drill.asked import Bench
from backup_pipeline.operations.verify import VerifyPorts, VerifyRequest, verify_backup


def verify_copy(bench: Bench) -> VerifyReport:
    """Verify the copy against its manifest, and against the ledger's row."""

    @contextmanager
    def spool() -> Iterator[Path]:
        with TemporaryDirectory(dir=bench.folder("verify"), ignore_cleanup_errors=True) as name:
            yield Path(name)

    ports = bench.ports
    looking = VerifyPorts(bench.copy, ports.formats, ports.decoder, spool, ports.progress, ports.clock)
    request = VerifyRequest(level=Level.REFERENCES)
    return verify_backup(bench.request.place, request, looking, row=bench.request.attempt)


def findings_of(report: VerifyReport) -> tuple[Finding, ...]:
    """What verification found, as findings of the drill."""
    do = "Do not rely on it: use another backup, and make a new one now."
    return tuple(Finding(found.object, f"level {found.level}: {found.message}", do) for found in report.findings)


def remarks_of(report: VerifyReport) -> tuple[Remark, ...]:
    """What else verification saw."""
    return tuple(Remark(told.object.rpartition("!")[2], told.message) for told in report.remarks)
