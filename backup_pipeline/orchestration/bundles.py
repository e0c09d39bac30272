"""The bundle of a catalog: the asset downstream of all its tables."""

from collections.abc import Iterator

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.operations.back_up import bundle_attempt
from backup_pipeline.orchestration.calendar_metadata import calendar_metadata
from backup_pipeline.orchestration.checks import bundle_check_results, bundle_check_specs
from backup_pipeline.orchestration.config import BackupConfig
from backup_pipeline.orchestration.failures import attempt_of, refuse_checks_alone
from backup_pipeline.orchestration.keys import bundle_key, bundle_op
from backup_pipeline.orchestration.metadata import bundle_metadata
from backup_pipeline.orchestration.resources import BackupResource
from backup_pipeline.orchestration.run_facts import bundle_tables, request_of
from backup_pipeline.orchestration.specs import bundle_spec
from backup_pipeline.orchestration.statistics_metadata import statistics_metadata
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import work_dir


def bundle_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset that bundles the newest partitions of a date, stores them with a manifest, and ends the ledger row."""

    # Without can_subset Dagster refuses a run that names the asset but not its check.
    @dg.multi_asset(
        name=bundle_op(catalog),
        specs=[bundle_spec(catalog)],
        check_specs=bundle_check_specs(catalog),
        can_subset=True,
    )
    def bundle(
        context: dg.AssetExecutionContext, config: BackupConfig, backups: BackupResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        refuse_checks_alone(context)
        request = request_of(context, config, catalog, reads=False)
        tables = bundle_tables(context, catalog)
        with backups.open(catalog) as world, attempt_of(request, world, context.log) as (attempt, ports):
            manifest = bundle_attempt(attempt, request, tables, ports, spool=work_dir(Settings()))
            for warning in manifest.warnings:
                context.log.warning(warning)
            yield dg.MaterializeResult(
                asset_key=bundle_key(catalog),
                metadata={
                    **bundle_metadata(manifest, ports.store.url),
                    **calendar_metadata(catalog, ports.ledger, ports.clock()),
                    **statistics_metadata(catalog, ports.ledger, ports.clock()),
                },
                check_results=list(bundle_check_results(manifest)),
                data_version=dg.DataVersion(manifest.bundle.sha256[:32]),
            )

    return bundle
