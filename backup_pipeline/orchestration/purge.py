"""Purging Dagster's event log: what it would remove, removing it, and the weekly job that does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.secrets import redact
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.operations.telling import tell
from backup_pipeline.orchestration.event_log import OldRun, old_runs, remove_events, shrunk_index
from backup_pipeline.orchestration.failures import failure
from backup_pipeline.orchestration.resources import BackupResource
from backup_pipeline.orchestration.run_facts import run_url
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.clock import utc_now

PURGE_JOB = "purge_events"
_WEEKLY = "0 4 * * 0"


@dataclass(frozen=True)
class PurgePlan:
    """What a purge removes: of each run that ended before `before`, what no page of the UI needs any more."""

    before: datetime
    runs: Sequence[OldRun]

    @property
    def events(self) -> int:
        """How many events go."""
        return sum(run.events for run in self.runs)

    @property
    def bytes(self) -> int:
        """How many bytes their texts have."""
        return sum(run.bytes for run in self.runs)


def plan_purge(instance: dg.DagsterInstance, older_than: timedelta, now: datetime) -> PurgePlan:
    """What a purge of runs that ended longer ago than `older_than` would remove. Reads only."""
    before = now - older_than
    return PurgePlan(before, tuple(old_runs(instance, before)))


def purge(instance: dg.DagsterInstance, plan: PurgePlan) -> int:
    """Carry out the plan; how many events were removed. Interrupted, it can be run again."""
    with shrunk_index(instance):
        return sum(remove_events(instance, run) for run in plan.runs)


def purge_job(catalogs: Mapping[str, Catalog]) -> dg.JobDefinition:
    """Remove the events of old runs that no page of the UI needs, their compute logs, and old delivered alerts.

    How old they have to be is a setting, BACKUP_KEEP_EVENTS_DAYS, and nothing that whoever starts a run can say.
    """

    @dg.op(name="purged_events", out=dg.Out(dg.Nothing), description="Runs, events and bytes stand in the metadata.")
    def purged(context: dg.OpExecutionContext, backups: BackupResource) -> dg.Output[None]:
        older_than = timedelta(days=Settings().keep_events_days)
        try:
            plan = plan_purge(context.instance, older_than, utc_now())
            removed = purge(context.instance, plan)
            alerts = _forget_delivered(catalogs, backups, plan.before)
        except Exception as error:  # noqa: BLE001  # told here: a job without a catalog is not the failure sensor's
            known = BackupError(redact(in_our_words(error)), do="Run `backup-pipeline purge-events`.")
            _tell(catalogs, backups, known, context.run.run_id)
            raise failure(known) from None
        before = plan.before.isoformat()
        metadata: dict[str, Any] = {
            "runs": len(plan.runs),
            "events": removed,
            "bytes": plan.bytes,
            "delivered alerts": alerts,
            "ended before": before,
        }
        return dg.Output(None, metadata=metadata)

    @dg.job(
        name=PURGE_JOB,
        description="Remove events of old runs that no page of the UI needs; materializations and checks stay.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        purged()

    return job


def _forget_delivered(catalogs: Mapping[str, Catalog], backups: BackupResource, before: datetime) -> int:
    """Remove alerts that were delivered long ago from the ledger's outbox; the audit keeps that they were."""
    with backups.open(next(iter(catalogs.values()))) as ports:
        return ports.ledger.outbox.forget(before)


def purge_schedule() -> dg.ScheduleDefinition:
    """Sundays, when little else runs; on by default."""
    return dg.ScheduleDefinition(
        name=f"{PURGE_JOB}_weekly",
        cron_schedule=_WEEKLY,
        job_name=PURGE_JOB,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The event log would grow without end.",
    )


def _tell(catalogs: Mapping[str, Catalog], backups: BackupResource, error: BackupError, run_id: str) -> None:
    catalog = next(iter(catalogs.values()))
    alert = Alert(
        severity=Severity.WARNING,
        title="Dagster's event log could not be purged",
        what=error.what,
        do=error.do,
        catalog=catalog.catalog,
        run_id=run_id,
        run_url=run_url(run_id),
        at=utc_now(),
    )
    with backups.open(catalog) as ports:
        tell(alert, ports)
