"""The assets of a catalog and the jobs that make them: all that a backup by hand needs to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.orchestration.backup import assets_of, full_backup_job, resources, tables_only_job
from backup_pipeline.orchestration.copy import copying
from backup_pipeline.orchestration.drill import drill_job, drill_schedule
from backup_pipeline.orchestration.due import daily_schedule, overdue_sensor
from backup_pipeline.orchestration.keys import full_job
from backup_pipeline.orchestration.prune import prune_job, prune_schedule
from backup_pipeline.orchestration.purge import purge_job, purge_schedule
from backup_pipeline.orchestration.restore import restore_job
from backup_pipeline.orchestration.sensors import build_sensors
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def jobs_of(catalog: Catalog) -> Sequence[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """Every job of a catalog."""
    backups = [full_backup_job(catalog), tables_only_job(catalog)]
    return [*backups, restore_job(catalog), drill_job(catalog), prune_job(catalog)]


def assemble(catalogs: Mapping[str, Catalog], settings: Settings) -> dg.Definitions:
    """Every catalog's assets, jobs and schedule, and the sensors that watch them all.

    The executor is the in-process one, also for runs from the UI: the export has threads of its own, and a process
    per step would only add seconds.
    """
    every = list(catalogs.values())
    jobs = [job for catalog in every for job in jobs_of(catalog)]
    full = {full_job(catalog) for catalog in every}
    overdue = overdue_sensor(catalogs, [job for job in jobs if job.name in full])
    copy_jobs, copy_sensors = copying(catalogs, settings)
    return dg.Definitions(
        assets=[asset for catalog in every for asset in assets_of(catalog)],
        jobs=[*jobs, purge_job(catalogs), *copy_jobs],
        schedules=[
            *(daily_schedule(catalog, catalog.schedule) for catalog in every if catalog.schedule),
            *(drill_schedule(catalog) for catalog in every if catalog.schedule),
            *(prune_schedule(catalog, cron) for catalog in every if (cron := catalog.retention.schedule)),
            purge_schedule(),
        ],
        sensors=[*build_sensors(catalogs), overdue, *copy_sensors],
        resources=resources(settings),
        executor=dg.in_process_executor,
    )
