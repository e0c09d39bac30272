"""The definitions of catalogs: of all that an installation has, or of one inside a Dagster project of somebody's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.orchestration.analytics import analytics_definitions
from backup_pipeline.orchestration.backup import assets_of, copying, full_backup_job, tables_only_job
from backup_pipeline.orchestration.businesses import business_assets, business_jobs, tick_schedule, tick_share_jobs
from backup_pipeline.orchestration.due import daily_schedule, overdue_sensor
from backup_pipeline.orchestration.keys import Automation, full_job
from backup_pipeline.orchestration.read import resources_of
from backup_pipeline.orchestration.resources import BackupResource, installed
from backup_pipeline.orchestration.restore import restore_job
from backup_pipeline.orchestration.retention import prune_job, prune_schedule, purge_job, purge_schedule
from backup_pipeline.orchestration.sensors import build_sensors
from backup_pipeline.orchestration.shards import share_jobs
from backup_pipeline.orchestration.upkeep import upkeep_jobs
from backup_pipeline.orchestration.verification import drill_job, drill_schedule, proofs_of
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import UnresolvedAssetJobDefinition


def assemble(catalogs: Mapping[str, Catalog], settings: Settings) -> dg.Definitions:
    """Every catalog of an installation, one set of sensors that watches them all, and the purge of the event log.

    The executor is the in-process one, also for runs from the UI: the export has threads of its own, and a process
    per step would only add seconds.
    """
    automation = Automation(running=settings.automation == "running")
    resources = {name: installed(settings) for name in catalogs}
    own = dg.Definitions(
        jobs=[purge_job(catalogs)], schedules=[purge_schedule(automation)], executor=dg.in_process_executor
    )
    return dg.Definitions.merge(
        definitions_of(catalogs, resources, automation), analytics_definitions(catalogs, automation), own
    )


def backup_definitions(catalog: Catalog, resource: BackupResource, *, running: bool = False) -> dg.Definitions:
    """What stands in a project of somebody's for one catalog, beside whatever else is in it.

    Every name begins with the catalog's; there is no executor for all jobs, and nothing that is not of the catalog:
    the purge of Dagster's event log is the owner's of the instance to want.
    """
    automation = Automation(running=running, prefix=catalog.catalog)
    return definitions_of({catalog.catalog: catalog}, {catalog.catalog: resource}, automation)


def definitions_of(
    catalogs: Mapping[str, Catalog], resources: Mapping[str, BackupResource], automation: Automation
) -> dg.Definitions:
    """The assets, jobs and schedules of the catalogs, and one set of sensors for them."""
    every = list(catalogs.values())
    jobs = [job for catalog in every for job in jobs_of(catalog)]
    full = {full_job(catalog) for catalog in every}
    overdue = overdue_sensor(catalogs, [job for job in jobs if job.name in full], automation)
    copied = any(resource.copies for resource in resources.values())
    copy_jobs, copy_sensors = copying(catalogs, automation) if copied else ((), ())
    return dg.Definitions(
        assets=[
            asset
            for name, catalog in catalogs.items()
            for asset in (*assets_of(catalog, in_s3=resources[name].in_s3), *business_assets(catalog))
        ],
        asset_checks=[check for catalog in every for check in proofs_of(catalog)],
        jobs=[*jobs, *copy_jobs],
        schedules=[schedule for catalog in every for schedule in schedules_of(catalog, automation)],
        sensors=[*build_sensors(catalogs, automation), overdue, *copy_sensors],
        resources=resources_of(resources),
    )


def jobs_of(catalog: Catalog) -> Sequence[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """Every job of a catalog."""
    backups = [full_backup_job(catalog), tables_only_job(catalog)]
    care = [restore_job(catalog), drill_job(catalog), prune_job(catalog), *upkeep_jobs(catalog)]
    return [*backups, *share_jobs(catalog), *care, *business_jobs(catalog), *tick_share_jobs(catalog)]


def schedules_of(catalog: Catalog, automation: Automation) -> Sequence[dg.ScheduleDefinition]:
    """Every schedule of a catalog."""
    daily, prune = catalog.schedule, catalog.retention.schedule
    care = [daily_schedule(catalog, daily, automation), drill_schedule(catalog, automation)] if daily else []
    if catalog.businesses:
        care.append(tick_schedule(catalog, catalog.businesses, automation))
    return [*care, prune_schedule(catalog, prune, automation)] if prune else care
