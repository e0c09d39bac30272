"""The tables of a catalog: one step with an asset per table, so that one snapshot spans them."""

from collections.abc import Generator, Iterator
from contextlib import closing

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import BackupError, ExportFailedError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.attempts import Request
from backup_pipeline.operations.back_up import end_tables, export_attempt
from backup_pipeline.operations.results import TableResult
from backup_pipeline.orchestration.checks import check_results, failed_table_check, table_check_specs
from backup_pipeline.orchestration.config import BackupConfig
from backup_pipeline.orchestration.failures import attempt_of, refuse_checks_alone
from backup_pipeline.orchestration.keys import bundle_key, table_key, tables_op
from backup_pipeline.orchestration.metadata import table_metadata
from backup_pipeline.orchestration.resources import BackupResource
from backup_pipeline.orchestration.run_facts import request_of, run_assets
from backup_pipeline.orchestration.specs import table_specs
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import work_dir

_Event = dg.MaterializeResult[None] | dg.AssetCheckResult
_Events = Iterator[_Event]


def tables_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The multi-asset that exports any subset of the catalog's tables from one snapshot."""

    @dg.multi_asset(
        name=tables_op(catalog),
        specs=table_specs(catalog),
        check_specs=table_check_specs(catalog),
        can_subset=True,
        pool=f"source_{catalog.catalog}",
    )
    def export(context: dg.AssetExecutionContext, config: BackupConfig, backups: BackupResource) -> _Events:
        refuse_checks_alone(context)
        yield from backups.whole(_attempt(context, request_of(context, config, catalog, reads=True), backups))

    return export


def _attempt(context: dg.AssetExecutionContext, request: Request, backups: BackupResource) -> Generator[_Event]:
    catalog = request.catalog
    with backups.open(catalog) as world, attempt_of(request, world, context.log) as (attempt, ports):
        yield from _export(context, request, attempt, ports)
        if bundle_key(catalog) not in run_assets(context):
            end_tables(attempt, ports, spool=work_dir(Settings()))


def _export(context: dg.AssetExecutionContext, request: Request, attempt: Attempt, ports: Ports) -> _Events:
    """Events for each table as it ends; an error naming every failed table at the end.

    A step that does not yield an asset and does not raise is a success to Dagster, so what came is counted.
    """
    wanted = {key.path[-1] for key in context.selected_asset_keys}
    done: set[str] = set()
    failed: dict[str, BackupError] = {}
    settings = Settings()
    tables = [table for table in request.catalog.tables if table in wanted]
    results = export_attempt(attempt, request, tables, ports, spool=work_dir(settings), workers=settings.workers)
    with closing(results):
        for result in results:
            key = table_key(request.catalog, result.table)
            if result.error is not None:
                failed[result.table] = result.error
                context.log.error("Table %s failed: %s", result.table, result.error)
                yield failed_table_check(key, result.error)
                continue
            done.add(result.table)
            yield _materialization(key, result, ports)
    for table in wanted - done - set(failed):
        failed[table] = BackupError("it was not exported, and no error came.", do="Report this.")
    if failed:
        raise ExportFailedError(failed, len(wanted))


def _materialization(key: dg.AssetKey, result: TableResult, ports: Ports) -> dg.MaterializeResult[None]:
    checksums = [file.sha256 for file in result.partition.table.files] if result.partition else []
    return dg.MaterializeResult(
        asset_key=key,
        metadata=table_metadata(result, ports.store.url),
        check_results=list(check_results(key, result.checks)),
        data_version=dg.DataVersion(checksums[0][:32]) if checksums else None,
    )
