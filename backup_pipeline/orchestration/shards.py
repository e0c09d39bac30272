"""Several runs of Dagster over one snapshot: how a backup launches them, and the job that each of them is."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.attempts import Work
from backup_pipeline.operations.export.shared import take_part
from backup_pipeline.operations.shards import Crew
from backup_pipeline.orchestration.keys import CATALOG_TAG, SHARD_TAG, share_job, shared_op
from backup_pipeline.orchestration.resources import BackupResource, told_as_failure, with_backups

logger = logging.getLogger(__name__)

_QUEUE = "QUEUED_RUN_COORDINATOR"
_SILENT = timedelta(minutes=2)
_NOT_GIVEN_ON = ("dagster/", ".dagster/", "backup_pipeline/")
"""Of these tags of a run its own are no business of others; the rest say where and how runs are to be executed."""


class RunCrew:
    """The port `Crew` over Dagster: runs of `job`, launched as Dagster launches any, with the tags of this run.

    Where nothing would take them from the queue, and for a run of the command line, which no launcher has begun, none
    is launched, and the log says so: this run then does everything itself. `what` is how the log calls the work.
    """

    def __init__(self, context: dg.AssetExecutionContext, job: str, work: str, what: str) -> None:
        self._context, self._instance = context, context.instance
        self._job, self._work, self._what = job, work, what
        self._launched: list[str] = []

    def launch(self, count: int) -> None:
        """Ask for so many runs."""
        if count <= 0:
            return
        try:
            why_not = self._why_not()
            if why_not:
                self._context.log.info("%s This run does all of %s itself.", why_not, self._what)
                return
            for _ in range(count):
                self._launched.append(self._submit())
        except Exception as error:  # noqa: BLE001  # whatever a launcher raises, the work goes on without
            self._context.log.warning("No further run is launched for a part of %s: %s", self._what, error)
        if self._launched:
            launched = ", ".join(self._launched[-count:])
            self._context.log.info("Runs that do a part of %s: %s.", self._what, launched)

    def is_over(self, run_id: str) -> bool:
        """Whether Dagster knows that it has ended; of this run it asks nobody."""
        run = self._run(run_id)
        return run is not None and run.is_finished

    def bury(self, run_id: str) -> None:
        """End a run whose process is gone: Dagster would take it for alive."""
        run = self._run(run_id)
        if run is not None and not run.is_finished:
            with suppress(Exception):  # Dagster's storage may be away for a moment, which stops no backup
                self._instance.report_run_failed(run, "Its process gave no sign any more; another run does its part.")

    def _run(self, run_id: str) -> dg.DagsterRun | None:
        """Another run than this one, where Dagster can be asked."""
        with suppress(Exception):
            return self._instance.get_run_by_id(run_id) if run_id != self._context.run.run_id else None
        return None

    def stop(self) -> None:
        """Take from the queue what has not begun."""
        for run_id in self._launched:
            try:
                run = self._instance.get_run_by_id(run_id)
                if run is not None and run.status in {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}:
                    self._instance.report_run_canceled(run, message="What it was to do is done.")
            except Exception:
                logger.exception("Run %s is not taken from the queue.", run_id)

    def _why_not(self) -> str:
        if self._context.run.job_code_origin is None:
            return "No launcher of Dagster has begun this run, so none begins others for it."
        if type(self._instance.run_coordinator).__name__ != "QueuedRunCoordinator":
            return ""
        beat = self._instance.get_daemon_heartbeats().get(_QUEUE)
        if beat is None or datetime.now(UTC) - datetime.fromtimestamp(beat.timestamp, UTC) > _SILENT:
            return "No daemon of Dagster takes runs from the queue."
        return ""

    def _submit(self) -> str:
        parent = self._context.run
        code, remote = parent.job_code_origin, parent.remote_job_origin
        given = {name: value for name, value in parent.tags.items() if not name.startswith(_NOT_GIVEN_ON)}
        job = self._context.repository_def.get_job(self._job)
        run = self._instance.create_run_for_job(
            job,
            tags={**job.run_tags, **given, SHARD_TAG: self._work},
            job_code_origin=code._replace(job_name=self._job) if code else None,
            remote_job_origin=remote.repository_origin.get_job_origin(self._job) if remote else None,
        )
        # A queue wants no workspace, and neither do the launchers that begin a run elsewhere.
        self._instance.submit_run(run.run_id, cast(Any, None))
        return str(run.run_id)


def crew_of(context: dg.AssetExecutionContext, work: Work) -> Crew | None:
    """The other runs of a backup, where its catalog wants several."""
    catalog = work.request.catalog
    backup_id = work.attempt.backup_id
    return RunCrew(context, share_job(catalog), backup_id, f"backup {backup_id}") if catalog.runs > 1 else None


@dataclass(frozen=True)
class SharedWork:
    """What several runs do together: its name in sentences, its job and op with what they do, and how a run takes part.

    `take` gets the work's name, the ports and the run's id, and says how many parts were done. `tags` are the job's.
    """

    noun: str
    job: str
    op: str
    job_does: str
    op_does: str
    take: Callable[[str, Ports, str], int]
    tags: Mapping[str, str] = field(default_factory=dict)


def share_jobs(catalog: Catalog) -> Sequence[dg.JobDefinition]:
    """The job of the other runs of a backup, for a catalog that wants several."""
    if catalog.runs == 1:
        return []
    return [shared_job(catalog, _shared_backup(catalog))]


def _shared_backup(catalog: Catalog) -> SharedWork:
    return SharedWork(
        "backup",
        share_job(catalog),
        shared_op(catalog),
        f"Launched by a backup of {catalog.title or catalog.catalog}: it reads a part of its snapshot.",
        "Tables, and ranges of large ones, of a snapshot that the run of a backup holds.",
        lambda work, ports, run_id: take_part(str(parse_backup_id(work)), catalog, ports, run_id),
    )


def shared_job(catalog: Catalog, shared: SharedWork) -> dg.JobDefinition:
    """The job that each of the other runs is."""

    @dg.op(name=shared.op, out=dg.Out(dg.Nothing), description=shared.op_does)
    @with_backups(catalog)
    def take(context: dg.OpExecutionContext, backups: BackupResource) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log), backups.open(catalog, context) as ports:
            work = context.run.tags.get(SHARD_TAG)
            if work is None:
                message = f"This run is for no {shared.noun}."
                do = f"Run the {shared.noun} of {catalog.catalog}: it launches runs of this job."
                raise RefusedError(message, do=do)
            parts = shared.take(work, ports, context.run.run_id)
            yield dg.Output(None, metadata={"parts": parts, shared.noun: work})

    @dg.job(
        name=shared.job,
        description=shared.job_does,
        tags={CATALOG_TAG: catalog.catalog, **shared.tags},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        take()

    return job
