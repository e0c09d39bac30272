"""The definitions of a set of catalogs."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.orchestration.bundles import bundle_asset
from backup_pipeline.orchestration.jobs import jobs_of
from backup_pipeline.orchestration.resources import BackupResource, s3_resource
from backup_pipeline.orchestration.schedules import daily_schedule
from backup_pipeline.orchestration.sensors import build_sensors
from backup_pipeline.orchestration.tables import tables_asset
from backup_pipeline.settings import Settings


def assemble(catalogs: Mapping[str, Catalog], settings: Settings) -> dg.Definitions:
    """Every catalog's assets, jobs and schedule, and the sensors that watch them all.

    The executor is the in-process one, also for runs from the UI: the export has threads of its own, and a process
    per step would only add seconds.
    """
    every = list(catalogs.values())
    return dg.Definitions(
        assets=[asset for catalog in every for asset in (tables_asset(catalog), bundle_asset(catalog))],
        jobs=[job for catalog in every for job in jobs_of(catalog)],
        schedules=[daily_schedule(catalog, catalog.schedule) for catalog in every if catalog.schedule],
        sensors=build_sensors(catalogs),
        resources={"backups": BackupResource(s3=s3_resource(settings))},
        executor=dg.in_process_executor,
    )
