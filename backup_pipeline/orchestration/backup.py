"""The backup of a catalog in Dagster: an asset a table, exported in one step, the bundle, and jobs."""

import inspect
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import BackupError, ExportFailedError, LedgerError, SettingsError, parse_advice
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.runs import COPY_JOB
from backup_pipeline.operations.attempts import Request
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.copy import copy_missing, missing_copies
from backup_pipeline.operations.export import TableResult
from backup_pipeline.orchestration.assets import (
    bundle_metadata,
    bundle_spec,
    calendar_metadata,
    evaluations,
    placed_specs,
    source_observation,
    source_specs,
    statistics_metadata,
    table_metadata,
    table_specs,
)
from backup_pipeline.orchestration.due import refuse_days
from backup_pipeline.orchestration.internals import remember_outputs
from backup_pipeline.orchestration.keys import (
    CARE_TAG,
    CATALOG_TAG,
    Automation,
    BackupConfig,
    Event,
    PlacedCatalog,
    actor_of,
    bundle_key,
    bundle_op,
    full_job,
    request_of,
    table_key,
    tables_job,
    tables_op,
    with_bundle,
)
from backup_pipeline.orchestration.resources import (
    WHAT_TO_DO,
    BackupResource,
    Backups,
    attempt_of,
    failure,
    with_backups,
)
from backup_pipeline.orchestration.shards import crew_of
from backup_pipeline.orchestration.verification import (
    bundle_check_results,
    bundle_check_specs,
    bundle_checked_again,
    check_results,
    failed_table_check,
    table_check_specs,
    tables_checked_again,
)
from backup_pipeline.presentation.backup import copies_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.wiring.addresses import utc_now

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import UnresolvedAssetJobDefinition


def tables_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The multi-asset that exports any subset of the catalog's tables from one snapshot."""

    @dg.multi_asset(
        name=tables_op(catalog),
        specs=placed_specs(catalog, table_specs(catalog)),
        check_specs=table_check_specs(catalog),
        can_subset=True,
        pool=f"source_{catalog.catalog}",
    )
    @with_backups(catalog)
    def export(context: dg.AssetExecutionContext, config: BackupConfig, backups: BackupResource) -> Iterator[Event]:
        if not context.selected_asset_keys:
            yield from tables_checked_again(context, catalog, backups)
            return
        refuse_days(context, catalog, utc_now(), late=config.late)
        request = request_of(context, config, catalog, backups, reads=True)
        yield from backups.whole(_performed(catalog, context, _export(context, request, backups)))

    return export


def _export(context: dg.AssetExecutionContext, request: Request, backups: BackupResource) -> Generator[Event]:
    """Events for each table as it ends; an error naming every failed table at the end.

    A step that does not yield an asset and does not raise is a success to Dagster, so what came is counted. Where the
    run is for tables alone, they get a bundle of their own here: a backup that can be restored, like any other.
    """
    remember_outputs(context)
    selected = context.selected_asset_keys
    tables = tuple(table for table in request.catalog.tables if table_key(request.catalog, table) in selected)
    failed = {table: BackupError("it was not exported, and no error came.", do="Report this.") for table in tables}
    with (
        backups.open(request.catalog, context) as ports,
        attempt_of(request, _of_run(context, ports), context.log) as work,
        closing(
            export_attempt(replace(work, request=replace(request, tables=tables)), crew_of(context, work))
        ) as results,
    ):
        ended: list[TableResult] = []
        try:
            for result in results:
                failed.pop(result.table)
                if result.error is not None:
                    failed[result.table] = result.error
                ended.append(result)
                if not result.more:
                    yield from _table_events(ended, request.catalog, context, ports.store.url)
                    ended = []
        except BackupError:  # the run is void; what had ended before has happened all the same
            yield from _table_events(ended, request.catalog, context, ports.store.url)
            raise
        if failed:
            raise ExportFailedError(failed, len(tables))
        if not with_bundle(context, request.catalog):
            _log_bundle(bundle_attempt(work), context.log)


def _table_events(
    group: Sequence[TableResult], catalog: Catalog, context: dg.AssetExecutionContext, store_url: str
) -> Iterator[Event]:
    """What Dagster is to know of tables that have ended: each one's rows and source, then the checks of all."""
    checks: list[dg.AssetCheckResult] = []
    for result in group:
        key = table_key(catalog, result.table)
        if result.error is not None:
            context.log.error("Table %s failed: %s", result.table, result.error)
            checks.append(failed_table_check(key, result.error))
            continue
        if observed := source_observation(catalog, result):
            context.log_event(observed)
        yield _materialization(key, result, store_url)
        checks += check_results(key, result.checks)
    yield from evaluations(checks, context)


def _log_bundle(manifest: StoredManifest, log: dg.DagsterLogManager) -> None:
    for warning in manifest.warnings:
        log.warning(warning)
    backup_id, totals = manifest.backup_id, manifest.totals
    log.info(
        "Backup %s (%s) is in the store: %d tables, %d rows, %d bytes. Look at it with `backup-pipeline show %s`.",
        *(backup_id, manifest.kind, totals.tables, totals.rows, manifest.bundle.bytes, backup_id),
    )


def _materialization(key: dg.AssetKey, result: TableResult, store_url: str) -> dg.MaterializeResult[None]:
    checksums = [file.sha256 for file in result.partition.table.files] if result.partition else []
    return dg.MaterializeResult(
        asset_key=key,
        metadata=table_metadata(result, store_url),
        data_version=dg.DataVersion(checksums[0][:32]) if checksums else None,
    )


def bundle_asset(catalog: Catalog, *, in_s3: bool) -> dg.AssetsDefinition:
    """The asset that bundles the newest partitions of a date, stores them with a manifest, and ends the ledger row."""

    # Without can_subset Dagster refuses a run that names the asset but not its check.
    @dg.multi_asset(
        name=bundle_op(catalog),
        specs=placed_specs(catalog, [bundle_spec(catalog, in_s3=in_s3)]),
        check_specs=bundle_check_specs(catalog),
        can_subset=True,
    )
    @with_backups(catalog)
    def bundle(context: dg.AssetExecutionContext, config: BackupConfig, backups: BackupResource) -> Iterator[Event]:
        if not context.selected_asset_keys:
            yield from bundle_checked_again(context, catalog, backups)
            return
        refuse_days(context, catalog, utc_now(), late=True)  # it reads no source: any one day will do
        request = request_of(context, config, catalog, backups, reads=False)
        yield from _performed(catalog, context, _bundle(context, request, backups))

    return bundle


def _bundle(context: dg.AssetExecutionContext, request: Request, backups: BackupResource) -> Generator[Event]:
    catalog = request.catalog
    with (
        backups.open(catalog, context) as ports,
        attempt_of(request, _of_run(context, ports), context.log) as work,
    ):
        manifest = bundle_attempt(work)
        _log_bundle(manifest, context.log)
        yield dg.MaterializeResult(
            asset_key=bundle_key(catalog),
            metadata={
                **bundle_metadata(manifest, ports.store.url, backups.run_url(context.run.run_id)),
                **calendar_metadata(catalog, ports.ledger, ports.clock()),
                **statistics_metadata(catalog, ports.ledger, ports.clock()),
            },
            data_version=dg.DataVersion(manifest.bundle.sha256[:32]),
        )
        yield from evaluations([*bundle_check_results(manifest, bundle_key(catalog))], context)


_ONE_PROCESS = {"in_process", "execute_in_process_executor"}


def _of_run(context: dg.AssetExecutionContext, ports: Ports) -> Ports:
    """`ports` whose owner lives as long as the run.

    Where each step is a process (or a pod) of its own, the attempt outlives the process that began it: nobody may take
    it for dead by that. Its owner then is on no host that anybody could look at, and its heartbeat alone counts.
    """
    if context.job_def.executor_def.name in _ONE_PROCESS:
        return ports
    return replace(ports, owner=replace(ports.owner, host=f"{ports.owner.host}, run {context.run.run_id}"))


def _performed(catalog: Catalog, context: dg.AssetExecutionContext, step: Generator[Event]) -> Generator[Event]:
    """The events of a step, passed on by the `execute` of whoever has placed the catalog in a project of his.

    A Failure where it did not let the step come to its end: Dagster would call the run a success.
    """
    execute = catalog.execute if isinstance(catalog, PlacedCatalog) else None
    if execute is None:
        yield from step
        return
    with closing(step):
        yield from execute(context, step)
        if next(step, None) is not None or inspect.getgeneratorstate(step) != inspect.GEN_CLOSED:
            message = "The `execute` of this project's component did not pass on every event of the step."
            raise dg.Failure(message, {WHAT_TO_DO: "Iterate over all that it is given."}, allow_retries=False)


def assets_of(catalog: Catalog, *, in_s3: bool) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """What is read, the tables, and the bundle, which lies in S3 or in a directory."""
    return [*source_specs(catalog), tables_asset(catalog), bundle_asset(catalog, in_s3=in_s3)]


def full_backup_job(catalog: Catalog) -> "UnresolvedAssetJobDefinition":
    """Every table from one snapshot, then the bundle."""
    keys = [*(table_key(catalog, table) for table in catalog.tables), bundle_key(catalog)]
    checks = [spec.key for spec in (*table_check_specs(catalog), *bundle_check_specs(catalog))]
    return dg.define_asset_job(
        full_job(catalog),
        selection=dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks),
        description=f"The full backup of {catalog.title or catalog.catalog}: every table, the bundle, the ledger row.",
        tags={CATALOG_TAG: catalog.catalog},
        executor_def=dg.in_process_executor,
    )


def tables_only_job(catalog: Catalog) -> "UnresolvedAssetJobDefinition":
    """A selective backup: choose one or several tables in the launchpad's asset selection to rerun just those."""
    return dg.define_asset_job(
        tables_job(catalog),
        selection=dg.AssetSelection.assets(*(table_key(catalog, table) for table in catalog.tables)),
        description="Export tables again, one or several (asset selection), as a selective backup with its own bundle.",
        tags={CATALOG_TAG: catalog.catalog},
        executor_def=dg.in_process_executor,
    )


_EVERY_S = 60


def copying(
    catalogs: Mapping[str, Catalog], automation: Automation
) -> tuple[Sequence[dg.JobDefinition], Sequence[dg.SensorDefinition]]:
    """The job and its sensor."""
    return (copies_job(catalogs, automation),), (copies_sensor(catalogs, automation),)


def copies_job(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.JobDefinition:
    """Copy every good backup, of whichever catalog, that has no good copy in the second store."""

    @dg.op(
        name=automation.named("backups_copied"),
        out=dg.Out(dg.Nothing),
        description="Each backup is hashed as it passes, and read back from the second store. The newest come first.",
    )
    @with_backups(*catalogs, each=True)
    def backups_copied(context: dg.OpExecutionContext, backups: Backups) -> Iterator[dg.Output[None]]:
        rows: list[Copy] = []
        try:
            with backups.open(next(iter(catalogs.values())), context) as ports:
                by = actor_of(context, ports.ledger)
                decisions = missing_copies(ports)
                for row in copy_missing(decisions, ports, actor=by):
                    context.log.info("%s: %s", row.backup_id, row.in_short(utc_now()))
                    rows.append(row)
        except BackupError as error:
            raise failure(error) from None
        _raise_failed(rows)
        yield dg.Output(
            None,
            metadata={"copied": len(rows), "backups": dg.MetadataValue.md(markdown(copies_document(rows, decisions)))},
        )

    @dg.job(
        name=automation.named(COPY_JOB),
        description="Fill the gaps of the second store. A sensor starts it, at most once an hour.",
        tags={CARE_TAG: "copies"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        backups_copied()

    return job


def copies_sensor(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    """One sensor for all catalogs."""

    @dg.sensor(
        name=automation.named("backup_copies"),
        job_name=automation.named(COPY_JOB),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        description="Starts copying when a good backup has no good copy in the second store; once an hour at most.",
    )
    @with_backups(*catalogs, each=True)
    def backup_copies(backups: Backups) -> Iterator[dg.RunRequest | dg.SkipReason]:
        try:
            with backups.open(next(iter(catalogs.values()))) as ports:
                decisions = missing_copies(ports)
        except (LedgerError, SettingsError) as error:  # the next tick tries again
            yield dg.SkipReason(str(error))
            return
        missing = [each.attempt.backup_id for each in decisions if each.wanted]
        if missing:
            yield dg.RunRequest(run_key=f"{automation.named(COPY_JOB)} {utc_now():%Y-%m-%dT%H}")
        else:
            yield dg.SkipReason("Every good backup has its copy.")

    return backup_copies


def _raise_failed(rows: Sequence[Copy]) -> None:
    """A red run for what failed; people were alerted when it did."""
    failed = [row for row in rows if row.status is not CopyStatus.GOOD]
    if failed:
        what = f"{len(failed)} of {len(rows)} backups were not copied. {failed[0].error_message or ''}"
        message, do = parse_advice(what)
        raise failure(BackupError(message, do=do)) from None
