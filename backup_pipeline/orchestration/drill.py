"""The weekly drill of a catalog: what the command line's `drill` does, with its report in the UI."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import dagster as dg
from pydantic import Field

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.drill import Fault
from backup_pipeline.operations.browse import LATEST, find_backup
from backup_pipeline.operations.drill import DrillRequest, drill_backup
from backup_pipeline.orchestration.checks import drill_metadata, drill_proofs, evaluation
from backup_pipeline.orchestration.due import care_schedule
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.keys import (
    CATALOG_TAG,
    DRILL_TAG,
    Automation,
    actor_of,
    drill_job_name,
    drill_op,
    refuse_variables,
)
from backup_pipeline.orchestration.resources import BackupResource, with_backups
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.verification import drill_document
from backup_pipeline.wiring.drill import drilled_catalog, open_sandbox

WEEKLY = "0 4 * * 0"
"""Sundays at four, in the catalog's timezone: long after the daily backup."""


class DrillConfig(dg.Config):
    """Which backup is drilled, and whether a fault is put into a copy of it."""

    backup_id: str = Field(default=LATEST, description="A backup id, or `latest`: the newest good full one.")
    inject: Literal["", "bitflip", "drop-row", "drop-file", "stale"] = Field(
        default="",
        description=(
            "A fault that is put into a copy, to try the drill itself. The run then fails, as it should; no level is "
            "recorded and nobody is alerted."
        ),
    )


def drill_job(catalog: Catalog) -> dg.JobDefinition:
    """Rehearse a restore of a backup of the catalog."""

    @dg.op(
        name=drill_op(catalog),
        out=dg.Out(dg.Nothing),
        description="The backup restored into a scratch PostgreSQL, exported again, and compared table by table.",
    )
    @with_backups(catalog)
    def drilled(
        context: dg.OpExecutionContext, config: DrillConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            sandbox = partial(open_sandbox, backups.settings)
            with backups.open(catalog, context.log) as ports:
                request = DrillRequest(
                    attempt=find_backup(config.backup_id, ports.ledger, catalog=catalog.catalog),
                    actor=actor_of(context.run),
                    catalog=drilled_catalog(backups.settings, catalog.catalog),
                    newest=config.backup_id == LATEST,
                    fault=Fault(config.inject) if config.inject else None,
                    run_id=context.run.run_id,
                    run_url=backups.run_url(context.run.run_id),
                )
                report, error = drill_backup(request, ports, sandbox)
                for proof in drill_proofs(report, request.attempt, ports.clock()):
                    yield evaluation(proof, catalog, context.instance)
            context.log.info(markdown(drill_document(report)))
            yield dg.Output(None, metadata=dict(drill_metadata(report)))
            if error is not None:
                raise error

    @dg.job(
        name=drill_job_name(catalog),
        description=f"Drill {catalog.title or catalog.catalog}: restore the newest backup into a scratch database.",
        tags={CATALOG_TAG: catalog.catalog, DRILL_TAG: "true"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        drilled()

    return job


def drill_schedule(catalog: Catalog, automation: Automation) -> dg.ScheduleDefinition:
    """Launch the drill weekly in the catalog's timezone."""
    return care_schedule(
        catalog,
        WEEKLY,
        automation,
        name=f"{catalog.catalog}_drill_weekly",
        job=drill_job_name(catalog),
        work="drill",
        description=f"Restore drill of {catalog.title or catalog.catalog} (Sundays 04:00, {catalog.timezone}).",
    )
