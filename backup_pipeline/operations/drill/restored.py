"""The third step: the whole backup into the scratch database, as somebody would who has nothing but the backup."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.core.drill import Amendment, Remark
from backup_pipeline.core.drill_definitions import amended
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.drill_server import extensions, roles
from backup_pipeline.core.ports import RestorePorts
from backup_pipeline.core.restore_entries import Dump
from backup_pipeline.core.restoring import Mode, RestorePlan, RestoreReport, RestoreRequest, Severity
from backup_pipeline.operations.browse import opened_backup
from backup_pipeline.operations.drill.asked import Subject
from backup_pipeline.operations.restore import plan_restore, run_restore
from backup_pipeline.operations.restore_fetch import Fetching


@dataclass(frozen=True)
class Restored:
    """What was restored: the definitions and how they differ from the backup's, the plan, what was done."""

    dump: Dump
    amendment: Amendment
    plan: RestorePlan
    report: RestoreReport

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is worth knowing: how the scratch database differs, and what the plan warned of."""
        warned = (remark for remark in self.plan.remarks if remark.severity is Severity.WARNING)
        told = tuple(Remark(remark.table or "the whole", remark.message) for remark in warned)
        return (*self.amendment.remarks, *told)


def restore_copy(subject: Subject, scratch: Scratch) -> Restored:
    """Restore the copy into the scratch database; raises what a restore raises."""
    bench, ports = subject.bench, subject.bench.ports
    reading = RestorePorts(
        store=bench.copy,
        ledger=ports.ledger,
        formats=ports.formats,
        progress=ports.progress,
        clock=ports.clock,
        spool=bench.folder("restore"),
    )
    opened = opened_backup(bench.request.attempt, bench.copy)
    fetching = Fetching(opened, (bench.copy, ports.formats, ports.progress))
    dump, amendment = amended(subject.manifest, fetching.dump())
    scratch.database.prepare(roles(dump), extensions(dump))
    wish = RestoreRequest(
        subject.manifest.backup_id, mode=Mode.NEW, fill=amendment.fill, requested_by=bench.request.actor
    )
    plan = plan_restore(wish, scratch.target, reading, amend=lambda _: dump)
    report = run_restore(plan, scratch.target, reading, safety=None, amend=lambda _: dump)
    return Restored(dump, amendment, plan, report)
