"""What goes in time: the weekly clean-up of a catalog's backups, and the purging of Dagster's event log."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pydantic import Field

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, in_our_words
from backup_pipeline.core.retention.prune import PrunePlan
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import redact
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.retention import PruneReport, prune_catalog
from backup_pipeline.operations.retention.businesses import BusinessesPruneReport, prune_businesses
from backup_pipeline.operations.retention.plan import prune_requests
from backup_pipeline.operations.run_requests import note_result
from backup_pipeline.orchestration.due import care_schedule
from backup_pipeline.orchestration.internals import (
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    FAILURE_EVENTS,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from backup_pipeline.orchestration.keys import (
    CARE_TAG,
    CATALOG_TAG,
    PRUNE_TAG,
    Automation,
    actor_of,
    is_all_ours,
    prune_job_name,
    prune_op,
)
from backup_pipeline.orchestration.resources import BackupResource, Backups, failure, told_as_failure, with_backups
from backup_pipeline.presentation import joined
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.retention import businesses_document, left_document, plan_document
from backup_pipeline.wiring.addresses import utc_now

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


def prune_metadata(plans: Sequence[PrunePlan], reports: Sequence[PruneReport]) -> Metadata:
    """What was planned and what was done; the numbers are plotted over the runs."""
    left = [left for report in reports for left in report.left]
    return {
        "kept": sum(len(plan.verdicts) - len(plan.removed) for plan in plans),
        "removed": sum(1 for report in reports for each in report.removed if not each.kept),
        "partitions_removed": sum(len(report.days) for report in reports),
        "bytes_removed": sum(report.bytes for report in reports),
        "plan": dg.MetadataValue.md(markdown(joined(map(plan_document, plans)))),
        "left": dg.MetadataValue.md(markdown(left_document(left)) or "none"),
    }


class PruneConfig(dg.Config):
    """Whether the clean-up only shows its plan.

    What it removes is for the catalog's rules and the settings to say, not for whoever starts a run.
    """

    dry_run: bool = Field(default=False, description="Only show the plan; remove nothing.")


def prune_job(catalog: Catalog) -> dg.JobDefinition:
    """Remove what the catalog's rules let go."""

    @dg.op(
        name=prune_op(catalog),
        out=dg.Out(dg.Nothing),
        description="The plan with a reason for each backup, then what was removed. The audit has both.",
    )
    @with_backups(catalog)
    def pruned(
        context: dg.OpExecutionContext, config: PruneConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log), backups.open(catalog, context) as ports:
            requests = prune_requests(catalog, actor_of(context, ports.ledger), backups.settings.prune_versions)
            plans, reports = prune_catalog(
                requests,
                ports,
                confirmed=not config.dry_run,
                show=lambda plan: context.log.info(markdown(plan_document(plan))),
            )
            businesses = prune_businesses(catalog, requests[0], ports, confirmed=not config.dry_run)
            known: dict[str, object] = {
                "plans": [plan.as_json() for plan in plans],
                "reports": [report.as_json() for report in reports],
            }
            if businesses is not None:
                known["businesses"] = businesses.as_json()
            note_result(context.run.run_id, known, ports.ledger)
            yield dg.Output(None, metadata={**prune_metadata(plans, reports), **_businesses_metadata(businesses)})
            _raise(reports, businesses, context.log)

    @dg.job(
        name=prune_job_name(catalog),
        description=f"Remove old backups of {catalog.title or catalog.catalog} by its rules (docs/retention.md).",
        tags={CATALOG_TAG: catalog.catalog, PRUNE_TAG: "true"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        pruned()

    return job


def prune_schedule(catalog: Catalog, cron: str, automation: Automation) -> dg.ScheduleDefinition:
    """Launch the clean-up by `cron` in the catalog's timezone."""
    return care_schedule(
        catalog,
        cron,
        automation,
        name=f"{catalog.catalog}_prune",
        job=prune_job_name(catalog),
        work="prune",
        description=f"Clean-up of old backups of {catalog.title or catalog.catalog} ({cron}, {catalog.timezone}).",
    )


def _businesses_metadata(report: BusinessesPruneReport | None) -> Metadata:
    if report is None:
        return {}
    return {
        "business_backups_kept": report.kept,
        "business_backups_removed" if report.confirmed else "business_backups_that_go": report.going,
        "business_bytes_removed" if report.confirmed else "business_bytes_that_go": report.bytes,
        "businesses": dg.MetadataValue.md(markdown(businesses_document(report))),
    }


def _raise(reports: Sequence[PruneReport], businesses: BusinessesPruneReport | None, log: dg.DagsterLogManager) -> None:
    """Fail the run when something stays that will not go by itself; what is locked goes when its time comes."""
    every = [left for report in reports for left in report.left]
    for left in (*every, *(businesses.left if businesses else ())):
        log.warning("%s: %s: %s %s", left.why, left.key, left.message, left.do)
    if businesses is not None and businesses.left and not businesses.only_locked:
        raise businesses.error()
    for report in reports:
        if report.left and not report.only_locked:
            raise report.error()


_PAGE = 200
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_BUSY_S = 30.0
_EVENTS = SqlEventLogStorageTable.c
_HISTORY = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.FRESHNESS_STATE_CHANGE,
}
_KEPT = frozenset(kind.value for kind in {*_HISTORY, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS, *FAILURE_EVENTS})
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
"""Only a run that did not go well needs it: by it the UI knows that a partition failed."""


@dataclass(frozen=True)
class OldRun:
    """A run that ended before the date, and what of it can go: so many events, of so many bytes."""

    run_id: str
    job: str
    ended_at: datetime
    went_well: bool
    events: int
    bytes: int


def old_runs(instance: dg.DagsterInstance, catalogs: Mapping[str, Catalog], before: datetime) -> Iterator[OldRun]:
    """The finished runs of ours alone that ended before `before` and still have something to remove, oldest first.

    A run in which an asset or a job of somebody else had a part is for them to keep.
    """
    storage = _storage(instance)
    filters = dg.RunsFilter(statuses=_FINISHED, created_before=before)
    cursor: str | None = None
    while records := instance.get_run_records(filters, limit=_PAGE, ascending=True, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        for record in records:
            ended, run = _ended_at(record), record.dagster_run
            if ended < before and is_all_ours(run, catalogs):
                events, size = _counted(storage, run.run_id, went_well=run.is_success)
                if events:
                    yield OldRun(run.run_id, run.job_name, ended, run.is_success, events, size)


def remove_events(instance: dg.DagsterInstance, run: OldRun) -> int:
    """Remove what the run needs no more, its compute logs too; how many events that were. Safe to repeat."""
    storage = _storage(instance)
    instance.compute_log_manager.delete_logs(prefix=[run.run_id])
    removed = 0
    for place in _places(storage, run.run_id):
        with place as connection:
            deletion = sa.delete(SqlEventLogStorageTable).where(_removable(run.run_id, went_well=run.went_well))
            removed += connection.execute(deletion).rowcount
    if isinstance(storage, SqliteEventLogStorage):
        _shrink(Path(storage.path_for_shard(run.run_id)))
    return removed


def _ended_at(record: dg.RunRecord) -> datetime:
    at = record.end_time
    return datetime.fromtimestamp(at, UTC) if at is not None else record.update_timestamp.replace(tzinfo=UTC)


def _storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        message = f"The event log is in a {type(storage).__name__}, which is no SQL database."
        raise BackupError(message, do="Use PostgreSQL (DAGSTER_PG_URL) or SQLite for Dagster's storage.")
    return storage


def _counted(storage: SqlEventLogStorage, run_id: str, *, went_well: bool) -> tuple[int, int]:
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(_EVENTS.event)), 0))
    events = size = 0
    for place in _places(storage, run_id):
        with place as connection:
            row = connection.execute(query.where(_removable(run_id, went_well=went_well))).one()
            events, size = events + row[0], size + row[1]
    return events, size


def _places(storage: SqlEventLogStorage, run_id: str) -> Sequence[Any]:
    """Where events of the run are: SQLite has a file a run, and an index over all of them."""
    if not isinstance(storage, SqliteEventLogStorage):
        return [storage.index_connection()]
    own = Path(storage.path_for_shard(run_id)).is_file()  # else connecting would make it
    return [storage.run_connection(run_id), storage.index_connection()] if own else [storage.index_connection()]


def _removable(run_id: str, *, went_well: bool) -> sa.ColumnElement[bool]:
    kept = _KEPT if went_well else _KEPT | {_PLANNED}
    kind = _EVENTS.dagster_event_type
    return sa.and_(_EVENTS.run_id == run_id, sa.or_(kind.is_(None), kind.not_in(sorted(kept))))


def _shrink(file: Path) -> None:
    """Give the room in a SQLite file back to the disk."""
    if file.is_file():
        with closing(sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def shrunk_index(instance: dg.DagsterInstance) -> Iterator[None]:
    """Give the room in SQLite's index back once the context has ended well; PostgreSQL uses it again by itself."""
    yield
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        _shrink(Path(storage.path_for_shard("index")))


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


def plan_purge(
    instance: dg.DagsterInstance, catalogs: Mapping[str, Catalog], older_than: timedelta, now: datetime
) -> PurgePlan:
    """What a purge of the catalogs' runs that ended longer ago than `older_than` would remove. Reads only."""
    before = now - older_than
    return PurgePlan(before, tuple(old_runs(instance, catalogs, before)))


def purge(instance: dg.DagsterInstance, plan: PurgePlan) -> int:
    """Carry out the plan; how many events were removed. Interrupted, it can be run again."""
    with shrunk_index(instance):
        return sum(remove_events(instance, run) for run in plan.runs)


def purge_job(catalogs: Mapping[str, Catalog]) -> dg.JobDefinition:
    """Remove the events of old runs that no page of the UI needs, their compute logs, and old delivered alerts.

    How old they have to be is a setting, BACKUP_KEEP_EVENTS_DAYS, and nothing that whoever starts a run can say.
    """

    @dg.op(name="purged_events", out=dg.Out(dg.Nothing), description="Runs, events and bytes stand in the metadata.")
    @with_backups(*catalogs, each=True)
    def purged(context: dg.OpExecutionContext, backups: Backups) -> dg.Output[None]:
        try:
            plan = plan_purge(context.instance, catalogs, backups.events_kept, utc_now())
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
        description="Remove events of our old runs that no page of the UI needs; materializations and checks stay.",
        tags={CARE_TAG: "events"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        purged()

    return job


def _forget_delivered(catalogs: Mapping[str, Catalog], backups: Backups, before: datetime) -> int:
    """Remove alerts that were delivered long ago from the ledger's outbox; the audit keeps that they were."""
    with backups.open(next(iter(catalogs.values()))) as ports:
        return ports.ledger.outbox.forget(before)


def purge_schedule(automation: Automation) -> dg.ScheduleDefinition:
    """Sundays, when little else runs."""
    return dg.ScheduleDefinition(
        name=f"{PURGE_JOB}_weekly",
        cron_schedule=_WEEKLY,
        job_name=PURGE_JOB,
        execution_timezone="UTC",
        default_status=automation.schedule,
        description="The event log would grow without end.",
    )


def _tell(catalogs: Mapping[str, Catalog], backups: Backups, error: BackupError, run_id: str) -> None:
    catalog = next(iter(catalogs.values()))
    alert = Alert(
        severity=Severity.WARNING,
        title="Dagster's event log could not be purged",
        what=error.what,
        do=error.do,
        scope=Scope(catalog.catalog),
        run_id=run_id,
        run_url=backups.run_url(run_id),
        at=utc_now(),
    )
    with backups.open(catalog) as ports:
        tell(alert, ports)
