"""The third step: the whole backup into the scratch database, as somebody would who has nothing but the backup."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backup_pipeline.core.drill import Amendment, Remark
from backup_pipeline.core.drill_definitions import amended
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.drill_rights import permitted
from backup_pipeline.core.drill_server import ServerNeeds, beside, needs_of
from backup_pipeline.core.ports import RestorePorts
from backup_pipeline.core.restore_entries import Dump
from backup_pipeline.core.restore_selection import source_of
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


@dataclass(frozen=True)
class Definitions:
    """The definitions to restore with, how they differ from the backup's, and the server that they want."""

    dump: Dump
    amendment: Amendment
    needs: ServerNeeds
    reading: RestorePorts


def definitions_of(subject: Subject) -> Definitions:
    """Read the copy's definitions and make them fit a drill; raises what reading them raises."""
    bench, ports, manifest = subject.bench, subject.bench.ports, subject.manifest
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
    own = fetching.dump() or Dump(())
    allowed = permitted(own, {source_of(entry) for entry in manifest.tables})
    dump, amendment = amended(manifest, allowed.dump)
    left_out = tuple(Remark("schema.sql", reason) for reason in (*allowed.left_out, *beside(own)))
    needs = needs_of(own, manifest.snapshot.server_version)
    made_beforehand = tuple(entry for entry in dump.entries if entry.kind != "EXTENSION")
    dump = Dump(made_beforehand, dump.left_out)
    return Definitions(dump, replace(amendment, remarks=(*left_out, *amendment.remarks)), needs, reading)


def restore_copy(subject: Subject, scratch: Scratch, definitions: Definitions) -> Restored:
    """Restore the copy into the scratch database; raises what a restore raises."""
    dump, amendment, reading = definitions.dump, definitions.amendment, definitions.reading
    scratch.database.prepare(definitions.needs)
    wish = RestoreRequest(
        subject.manifest.backup_id, mode=Mode.NEW, fill=amendment.fill, requested_by=subject.bench.request.actor
    )
    plan = plan_restore(wish, scratch.target, reading, amend=lambda _: dump)
    report = run_restore(plan, scratch.target, reading, safety=None, amend=lambda _: dump)
    return Restored(dump, amendment, plan, report)
