"""The weekly clean-up of a catalog: what the command line's `prune --confirm` does, with its plan in the UI."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.retention.prune import PrunePlan
from backup_pipeline.operations.prune import PruneReport, prune_catalog
from backup_pipeline.operations.prune.plan import prune_requests
from backup_pipeline.orchestration.due import care_schedule
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.keys import CATALOG_TAG, PRUNE_TAG, Automation, actor_of, prune_job_name, prune_op
from backup_pipeline.orchestration.resources import BackupResource, with_backups
from backup_pipeline.presentation import joined
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.prune import left_document, plan_document

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
        with told_as_failure(context.log), backups.open(catalog, context.log) as ports:
            requests = prune_requests(catalog, actor_of(context.run), backups.settings.prune_versions)
            plans, reports = prune_catalog(
                requests,
                ports,
                confirmed=not config.dry_run,
                show=lambda plan: context.log.info(markdown(plan_document(plan))),
            )
            yield dg.Output(None, metadata=dict(prune_metadata(plans, reports)))
            _raise(reports, context.log)

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


def _raise(reports: Sequence[PruneReport], log: dg.DagsterLogManager) -> None:
    """Fail the run when something stays that will not go by itself; what is locked goes when its time comes."""
    for report in reports:
        for left in report.left:
            log.warning("%s: %s: %s %s", left.why, left.key, left.message, left.do)
    for report in reports:
        if report.left and not report.only_locked:
            raise report.error()
