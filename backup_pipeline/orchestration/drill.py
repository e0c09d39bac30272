"""The weekly drill of a catalog: what the command line's `drill` does, with its report in the UI."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.errors import UsageError
from backup_pipeline.operations.browse import LATEST, find_backup
from backup_pipeline.operations.drill import DrillRequest, drill_backup
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

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


def drill_metadata(report: DrillReport) -> Metadata:
    """What was seen; the numbers are plotted over the runs."""
    return {
        "backup_id": report.backup_id,
        "passed": dg.MetadataValue.bool(report.passed),
        "findings": len(report.findings),
        "tables": len(report.tables),
        "rows": report.rows,
        "bundle_bytes": report.bytes,
        "seconds": report.seconds,
        "restore_seconds": report.stages.restore,
        "predicted_restore_seconds": report.predicted_restore_seconds or 0.0,
        "stale": report.stale or "no",
        "report": dg.MetadataValue.md(markdown(drill_document(report))),
    }


WEEKLY = "0 4 * * 0"
"""Sundays at four, in the catalog's timezone: long after the daily backup."""


class DrillConfig(dg.Config):
    """Which backup is drilled, and whether a fault is put into a copy of it."""

    backup_id: str = Field(default=LATEST, description="A backup id, or `latest`: the newest good full one.")
    inject: str = Field(
        default="",
        description=(
            "bitflip, drop-row, drop-file or stale: try the drill itself. The run then fails, as it should; no level "
            "is recorded and nobody is alerted."
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
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            fault = _fault(config.inject)
            sandbox = partial(open_sandbox, backups.settings)
            with backups.open(catalog, context.log) as ports:
                request = DrillRequest(
                    attempt=find_backup(config.backup_id, ports.ledger, catalog=catalog.catalog),
                    actor=actor_of(context.run),
                    catalog=drilled_catalog(backups.settings, catalog.catalog),
                    newest=config.backup_id == LATEST,
                    fault=fault,
                    run_id=context.run.run_id,
                    run_url=backups.run_url(context.run.run_id),
                )
                report, error = drill_backup(request, ports, sandbox)
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


def _fault(name: str) -> Fault | None:
    if name and name not in set(Fault):
        message = f"There is no fault {name!r}."
        raise UsageError(message, do=f"Use one of {', '.join(Fault)}, or none.")
    return Fault(name) if name else None
