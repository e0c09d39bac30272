"""The restore of a catalog as a job: it performs a request that was approved, and shows plan and report in the UI.

Dagster has no login, takes orders from whatever reaches its port, and keeps run config in plain text. So a run says
nothing but a request's number. What is restored, into which database, in which mode, stands in the ledger, was approved
there by another person together with its plan, and a plan that would do anything else is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.restore_requests import SECOND, RestoreRow, check_approved_plan, check_may_run
from backup_pipeline.core.safety import protected_name
from backup_pipeline.ledger.heartbeat import Heartbeat
from backup_pipeline.operations.restore_access import Access
from backup_pipeline.operations.restore_ends import tidy
from backup_pipeline.operations.restore_requests import check_refusals, find_request, perform, plan_request
from backup_pipeline.orchestration.config import CATALOG_TAG, RESTORE_TAG, RestoreConfig
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.keys import restore_job_name, restore_op
from backup_pipeline.orchestration.resources import BackupResource
from backup_pipeline.orchestration.restore_metadata import plan_markdown, plan_metadata, report_metadata
from backup_pipeline.orchestration.run_facts import run_url
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import is_dead_restore
from backup_pipeline.wiring.targets import Target, target_of

_ACTOR = "dagster"
"""Who performs it, as the audit says. Who wanted it, and who approved it, stand in the request."""


@dataclass(frozen=True)
class _Approved:
    """A request that was approved, and the database it is for, as the settings know it."""

    row: RestoreRow
    target: Target


def restore_job(catalog: Catalog) -> dg.JobDefinition:
    """Perform an approved restore request of the catalog."""

    @dg.op(
        name=restore_op(catalog),
        out=dg.Out(dg.Nothing),
        description="The plan that was approved, then one transaction or nothing. `restore_requests` says how it went.",
    )
    def restore(
        context: dg.OpExecutionContext, config: RestoreConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log):
            approved = _approved(config.request, backups, catalog)
        opened = backups.open_restore(catalog, approved.target, second=approved.row.store == SECOND)
        with told_as_failure(context.log, approved.target.hide), opened as access:
            run = replace(
                access,
                attended=False,
                needs_approval=True,
                run_id=context.run.run_id,
                run_url=run_url(context.run.run_id),
            )
            yield _restored(context, approved.row, run)

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


def _approved(number: int, backups: BackupResource, catalog: Catalog) -> _Approved:
    """RefusedError unless the request is this catalog's and approved; UsageError when no setting knows its database."""
    with backups.open(catalog) as ports:
        row = find_request(number, ports.ledger)
    if protected_name(row.catalog) != catalog.catalog:
        message = f"Restore request {row.id} is of catalog {row.catalog}, not of {catalog.catalog}."
        raise RefusedError(message, do=f"Run the job {protected_name(row.catalog)}_restore.")
    check_may_run(row, needs_approval=True)
    return _Approved(row, target_of(row, Settings(), None, to_source=False))


def _restored(context: dg.OpExecutionContext, row: RestoreRow, access: Access) -> dg.Output[None]:
    tidy(access, partial(is_dead_restore, clock=access.clock))
    plan = plan_request(row, access)
    context.log.info(access.hide(plan_markdown(plan)))
    check_refusals(plan)
    check_approved_plan(row, plan.digest)
    # Whoever approved this very plan has confirmed what it changes.
    confirmed = replace(plan, request=replace(plan.request, confirm=plan.confirm_name))
    with Heartbeat(access.ledger.restores, row.id, clock=access.clock):
        report = perform(row, confirmed, access, by=_ACTOR)
    return dg.Output(None, metadata={**plan_metadata(plan, access.hide), **report_metadata(report, row.id)})
