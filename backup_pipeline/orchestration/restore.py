"""The job that performs an approved restore request of a catalog, with its plan and report in the UI."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ports import Progress
from backup_pipeline.core.restore import RestoreReport, TableReport
from backup_pipeline.core.restore.businesses import BusinessPlan, BusinessReport
from backup_pipeline.core.restore.requests import Plan, RestoreRow, RestoreStatus
from backup_pipeline.operations.restore import Confirmation, plan_requested
from backup_pipeline.operations.restore import restore as perform_restore
from backup_pipeline.operations.restore.decisions import read_wish
from backup_pipeline.operations.restore.requests import (
    RestoreCaller,
    find_performable,
    find_request,
    hidden_json,
    planned,
)
from backup_pipeline.operations.run_requests import note_result
from backup_pipeline.orchestration.keys import (
    CATALOG_TAG,
    RESTORE_TAG,
    RestoreConfig,
    actor_of,
    requested,
    restore_job_name,
    restore_op,
)
from backup_pipeline.orchestration.resources import BackupResource, told_as_failure, with_backups
from backup_pipeline.presentation import Hide
from backup_pipeline.presentation.markdown import bullets, markdown
from backup_pipeline.presentation.restore import plan_document
from backup_pipeline.wiring.restore import target_of, wished_target

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


def plan_metadata(row: RestoreRow, plan: Plan, hide: Hide) -> Metadata:
    """What will happen, and what speaks against it; `hide` takes out what is secret."""
    amount: Metadata = (
        {"business": plan.name, "rows_to_change": plan.diff.rows}
        if isinstance(plan, BusinessPlan)
        else {"bytes_to_fetch": plan.bytes}
    )
    return {
        "backup_id": plan.backup_id,
        "target": f"{plan.target}, database {plan.database}",
        **amount,
        "plan": dg.MetadataValue.md(plan_markdown(row, plan, hide)),
    }


def report_metadata(report: RestoreReport | BusinessReport, request: int) -> Metadata:
    """What was done; the numbers are plotted over the runs."""
    if isinstance(report, BusinessReport):
        done = {f"rows_{name}": sum(getattr(t, name) for t in report.tables) for name in _DONE}
        others = sum(report.others.values())
        ends = {"seconds": report.seconds, "safety_backup": report.safety_backup_id or "none"}
        return {"request": request, **done, "rows_compared": others, **ends}
    return {
        "request": request,
        "rows_loaded": sum(table.loaded for table in report.tables),
        "rows_inserted": sum(table.inserted for table in report.tables),
        "rows_updated": sum(table.updated for table in report.tables),
        "rows_deleted": sum(table.deleted for table in report.tables),
        "bytes_fetched": report.bytes_fetched,
        "seconds": round(report.seconds, 3),
        "safety_backup": report.safety_backup_id or "none",
        "restored": dg.MetadataValue.table(list(map(_record, report.tables))),
        "notes": dg.MetadataValue.md(bullets(report.notes)),
    }


def plan_markdown(row: RestoreRow, plan: Plan, hide: Hide) -> str:
    """The plan as Markdown; `hide` takes out what is secret."""
    # Dagster asks nobody who he is: values of rows are for the console, by the rights of who looks.
    drawn_plan = plan_document(
        plan, plan.target, request=row.id, safety_backup=row.safety_backup, attended=False, values=False
    )
    return markdown(drawn_plan, hide)


_DONE = ("created", "updated", "deleted")


def _record(table: TableReport) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "table": table.name,
            "target": ".".join(table.target),
            "loaded": table.loaded,
            "inserted": table.inserted,
            "updated": table.updated,
            "deleted": table.deleted,
            "unchanged": table.unchanged,
            "seconds": round(table.seconds, 3),
        }
    )


@dataclass(frozen=True)
class RunDoor:
    """Shows a restore in the event log of its run. Whoever approved this very plan has confirmed what it changes."""

    log: dg.DagsterLogManager
    hide: Hide

    def show(self, row: RestoreRow, plan: Plan) -> None:
        """Log the plan."""
        self.log.info(plan_markdown(row, plan, self.hide))

    def confirm(self, row: RestoreRow, plan: Plan) -> Confirmation:
        """The approval confirms."""
        return Confirmation(plan.confirm_name)

    def watching(self, row: RestoreRow, progress: Progress) -> AbstractContextManager[Progress]:
        """Nothing but what the ports' own progress tells."""
        return nullcontext(progress)


def restore_job(catalog: Catalog) -> dg.JobDefinition:
    """Perform an approved restore request of the catalog."""

    @dg.op(
        name=restore_op(catalog),
        out=dg.Out(dg.Nothing),
        description="The plan that was approved, then one transaction or nothing. `restore_requests` says how it went.",
    )
    @with_backups(catalog)
    def restore(
        context: dg.OpExecutionContext, config: RestoreConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        if not config.request:
            yield dg.Output(None, metadata=dict(_plan_alone(context, config, backups, catalog)))
            return
        with told_as_failure(context.log):
            row = _wanted(config, backups, catalog)
            named = target_of(row, backups.settings, None, to_source=False)
        opened = backups.open_restore(catalog, named, context, store=row.store)
        with told_as_failure(context.log, named.hide), opened as (target, ports):
            run_id = context.run.run_id
            # Who wanted it, and who approved it, stand in the restore's own request.
            actor = actor_of(context, ports.ledger)
            caller = RestoreCaller(
                actor, needs_approval=True, attended=config.dry_run, run_id=run_id, run_url=backups.run_url(run_id)
            )
            door = RunDoor(context.log, target.hide)
            if config.dry_run:
                plan = plan_requested(row, target, ports, caller, door)
                note_result(run_id, {"restore_request": row.id, "plan": plan.digest}, ports.ledger)
                yield dg.Output(None, metadata=dict(plan_metadata(row, plan, target.hide)))
                return
            outcome = perform_restore(row, target, ports, caller, door)
            metadata = {**plan_metadata(row, outcome.plan, target.hide), **report_metadata(outcome.report, row.id)}
            yield dg.Output(None, metadata=metadata)

    @dg.job(
        name=restore_job_name(catalog),
        description=(
            f"Perform a restore request of {catalog.title or catalog.catalog} that was approved: "
            "`backup-pipeline restore … --ask` makes one, `backup-pipeline restores approve N` approves it."
        ),
        tags={CATALOG_TAG: catalog.catalog, RESTORE_TAG: "true"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        restore()

    return job


def _plan_alone(
    context: dg.OpExecutionContext, config: RestoreConfig, backups: BackupResource, catalog: Catalog
) -> Metadata:
    """Make the plan that the run's own request wants, and keep it there; nobody has asked for the restore yet."""
    with told_as_failure(context.log):
        with backups.open(catalog) as ports:
            row = requested(context, ports.ledger)
        wanted = row.detail.get("plan") if row is not None else None
        if row is None or not isinstance(wanted, Mapping) or not config.dry_run:
            message = "No restore request is named, and the console has no plan for this run to make."
            raise RefusedError(message, do="Name an approved request: `backup-pipeline restores` lists them.")
        wish = read_wish(wanted)
        named = wished_target(backups.settings, catalog.catalog, wish)
    opened = backups.open_restore(catalog, named, context)
    with told_as_failure(context.log, named.hide), opened as (target, ports):
        plan = planned(wish.request(row.actor), target, ports)
        note_result(context.run.run_id, {"plan": hidden_json(plan.as_json(), target.hide)}, ports.ledger)
        drawn_plan = plan_document(plan, plan.target, request=None, safety_backup=True, attended=False, values=False)
        return {"digest": plan.digest, "plan": dg.MetadataValue.md(markdown(drawn_plan, target.hide))}


def _wanted(config: RestoreConfig, backups: BackupResource, catalog: Catalog) -> RestoreRow:
    """RefusedError unless the request is this catalog's, and approved where it is performed."""
    with backups.open(catalog) as ports:
        row = find_request(config.request, ports.ledger)
        if row.scope.catalog != catalog.catalog:
            message = f"Restore request {row.id} is of catalog {row.scope}, not of {catalog.catalog}."
            raise RefusedError(message, do=f"Run the job {row.scope.catalog}_restore.")
        if not config.dry_run:
            return find_performable(config.request, ports.ledger, needs_approval=True)
        if row.status not in _PLANNED:
            message = f"Restore request {row.id} is {row.status.value}: it has no plan to make any more."
            raise RefusedError(message, do="Make a new request.")
        return row


_PLANNED = {RestoreStatus.REQUESTED, RestoreStatus.APPROVED}
