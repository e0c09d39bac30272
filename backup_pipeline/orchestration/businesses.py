"""Businesses in Dagster: a tick over all that are due, by its schedule; one by hand; what a tick's checks say."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from backup_pipeline.core.businesses.ticks import TickStatus
from backup_pipeline.core.catalog.businesses import Businesses, parse_duration
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.runs import RunVerb, job_name, step_name
from backup_pipeline.operations.businesses import TickReport, TickRequest, run_tick
from backup_pipeline.operations.businesses.changes import declared_businesses
from backup_pipeline.operations.businesses.shared import take_tick_part
from backup_pipeline.operations.run_requests import note_result
from backup_pipeline.orchestration.keys import (
    CATALOG_TAG,
    DUE_TAG,
    WORK_TAG,
    Automation,
    actor_of,
    refuse_variables,
)
from backup_pipeline.orchestration.resources import BackupResource, told_as_failure, with_backups
from backup_pipeline.orchestration.shards import RunCrew, SharedWork, shared_job
from backup_pipeline.presentation import size
from backup_pipeline.presentation.businesses import tick_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline.wiring.ports import open_key_states

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import UnresolvedAssetJobDefinition

_PRIORITY = "10"
"""Before the nightly full: a tick is late after five minutes."""
_LARGEST = 10
CHECKS = ("all_due_protected", "rows_accounted", "chain_equals_full", "within_interval", "within_quota")


class BusinessConfig(dg.Config):
    """What the business, which is the partition, gets; and why."""

    kind: Literal["full", "incremental", "manual"] = Field(
        default="manual", description="full, incremental: as a tick makes them; manual: everything, kept for ever."
    )
    reason: str = Field(default="", description="Why; kept in the ledger and the manifest.")


def backups_key(catalog: Catalog) -> dg.AssetKey:
    """The asset of all businesses' backups."""
    return dg.AssetKey([catalog.catalog, "business_backups"])


def on_demand_key(catalog: Catalog) -> dg.AssetKey:
    """The asset of backups by hand, a partition a business."""
    return dg.AssetKey([catalog.catalog, "business_on_demand"])


def business_partitions(catalog: Catalog) -> dg.DynamicPartitionsDefinition:
    """A partition for each business that a tick has seen in the registry."""
    return dg.DynamicPartitionsDefinition(name=catalog.catalog)


def business_assets(catalog: Catalog) -> Sequence[dg.AssetsDefinition]:
    """The assets of a catalog with businesses."""
    return [_ticked(catalog), _by_hand(catalog)] if catalog.businesses else []


def business_jobs(catalog: Catalog) -> Sequence["UnresolvedAssetJobDefinition"]:
    """The jobs of a catalog with businesses."""
    if catalog.businesses is None:
        return []
    title = catalog.title or catalog.catalog
    described = {
        RunVerb.TICK: (backups_key(catalog), f"Every business of {title} that is due: what changed of each."),
        RunVerb.BUSINESS: (on_demand_key(catalog), f"One business of {title}, now."),
    }
    return [
        dg.define_asset_job(
            job_name(catalog.catalog, verb),
            selection=[key],
            description=text,
            tags={CATALOG_TAG: catalog.catalog, WORK_TAG: verb.value, "dagster/priority": _PRIORITY},
            executor_def=dg.in_process_executor,
        )
        for verb, (key, text) in described.items()
    ]


def tick_schedule(catalog: Catalog, businesses: Businesses, automation: Automation) -> dg.ScheduleDefinition:
    """A tick at every scheduled time; one that comes so late that the next is due is a missed one."""

    @dg.schedule(
        name=f"{catalog.catalog}_tick",
        cron_schedule=businesses.cron,
        execution_timezone="UTC",
        job_name=job_name(catalog.catalog, RunVerb.TICK),
        default_status=automation.schedule,
        description=f"Every business of {catalog.title or catalog.catalog}, every {businesses.every}.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        due = context.scheduled_execution_time.astimezone(UTC)
        if utc_now() >= due + businesses.interval:
            return dg.SkipReason(f"It was due {due:%Y-%m-%d %H:%M} UTC: missed, and not made up for.")
        return dg.RunRequest(run_key=f"{catalog.catalog} tick {due.isoformat()}", tags={DUE_TAG: due.isoformat()})

    return tick


def _share_name(catalog: Catalog) -> str:
    return f"{catalog.catalog}_tick_share"


def tick_share_jobs(catalog: Catalog) -> Sequence[dg.JobDefinition]:
    """The job of the other runs of a tick, for a catalog that wants several."""
    if catalog.businesses is None or catalog.businesses.runs == 1:
        return []
    shared = SharedWork(
        "tick",
        _share_name(catalog),
        f"{catalog.catalog}_tick_shared",
        f"Launched by a tick of {catalog.title or catalog.catalog}: it makes some of its backups.",
        "Backups of businesses in the snapshot that the run of a tick holds.",
        lambda work, ports, run_id: take_tick_part(work, catalog, ports, run_id),
        tags={"dagster/priority": _PRIORITY},
    )
    return [shared_job(catalog, shared)]


def _ticked(catalog: Catalog) -> dg.AssetsDefinition:
    key, declared = backups_key(catalog), declared_businesses(catalog)
    spec = dg.AssetSpec(
        key,
        description="Backups of each business: what changed since its own last snapshot, every few minutes.",
        group_name=catalog.catalog,
        owners=list(catalog.owners),
        kinds={"postgres", "parquet"},
        skippable=True,
    )

    @dg.multi_asset(
        name=step_name(catalog.catalog, RunVerb.TICK),
        specs=[spec],
        check_specs=[dg.AssetCheckSpec(name, asset=key) for name in CHECKS],
        can_subset=True,
    )
    @with_backups(catalog)
    def ticked(context: dg.AssetExecutionContext, backups: BackupResource) -> Iterator[dg.MaterializeResult[None]]:
        with told_as_failure(context.log), backups.open(catalog, context) as ports:
            due = context.run.tags.get(DUE_TAG)
            request = TickRequest(
                catalog,
                actor_of(context, ports.ledger),
                scheduled_at=datetime.fromisoformat(due) if due else None,
                run_id=context.run.run_id,
                crew=(lambda work: RunCrew(context, _share_name(catalog), work, work)) if declared.runs > 1 else None,
            )
            report = run_tick(request, open_key_states(backups.settings), ports)
            if report.tick.status is TickStatus.SKIPPED:
                context.log.warning(report.tick.message)
                return
            _add_partitions(context, catalog, report)
            note_result(context.run.run_id, {"tick": report.tick.number}, ports.ledger)
            checks = list(_checks(catalog, report))
            yield dg.MaterializeResult(asset_key=key, metadata=_metadata(report), check_results=checks)

    return ticked


def _by_hand(catalog: Catalog) -> dg.AssetsDefinition:
    key = on_demand_key(catalog)
    spec = dg.AssetSpec(
        key,
        description="Backups of a business that somebody wanted.",
        group_name=catalog.catalog,
        owners=list(catalog.owners),
        kinds={"postgres", "parquet"},
    )

    @dg.multi_asset(
        name=step_name(catalog.catalog, RunVerb.BUSINESS), specs=[spec], partitions_def=business_partitions(catalog)
    )
    @with_backups(catalog)
    def backed_up(
        context: dg.AssetExecutionContext, config: BusinessConfig, backups: BackupResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        with told_as_failure(context.log), backups.open(catalog, context) as ports:
            refuse_variables(context.run.run_config)
            request = TickRequest(
                catalog,
                actor_of(context, ports.ledger),
                only=frozenset({context.partition_key}),
                full=config.kind == "full",
                apart=config.kind == "manual",
                reason=config.reason,
                run_id=context.run.run_id,
            )
            report = run_tick(request, open_key_states(backups.settings), ports)
            backups_stored = [each.attempt.backup_id for each in report.stored]
            note_result(context.run.run_id, {"tick": report.tick.number, "backups": backups_stored}, ports.ledger)
            if report.tick.misses:
                raise dg.Failure(report.tick.misses[0].reason)
            facts = {**_metadata(report), "backup": ", ".join(backups_stored) or "none"}
            yield dg.MaterializeResult(asset_key=key, metadata=facts)

    return backed_up


def _add_partitions(context: dg.AssetExecutionContext, catalog: Catalog, report: TickReport) -> None:
    """Businesses that Dagster does not know yet; nothing is written where it knows them all."""
    known = set(context.instance.get_dynamic_partitions(catalog.catalog))
    if new := sorted(set(report.registered) - known):
        context.instance.add_dynamic_partitions(catalog.catalog, new)


def _metadata(report: TickReport) -> dict[str, dg.MetadataValue[Any] | int | float | str]:
    """The numbers are plotted over the ticks."""
    tick = report.tick
    sizes = [(each.attempt.file_size_bytes or 0, each.attempt) for each in report.stored]
    largest = sorted(sizes, key=lambda pair: (-pair[0], pair[1].backup_id))[:_LARGEST]
    rows = [f"| {row.scope.business} | {row.kind} | {row.record_count:,} | {size(n)} |" for n, row in largest]
    return {
        "due": tick.due,
        "changed": tick.changed,
        "unchanged": tick.unchanged,
        "failed": tick.failed,
        "skipped": tick.skipped,
        "fulls": tick.fulls,
        "rows": tick.rows,
        "bytes": tick.bytes,
        "seconds": round(tick.seconds or 0.0, 3),
        "lag": round(tick.lag_s or 0.0, 3),
        "tick": dg.MetadataValue.md(markdown(tick_document(report))),
        "largest": dg.MetadataValue.md("\n".join(["| business | kind | rows | size |", "|---|---|---|---|", *rows])),
    }


def _checks(catalog: Catalog, report: TickReport) -> Iterator[dg.AssetCheckResult]:
    tick, key, declared = report.tick, backups_key(catalog), declared_businesses(catalog)

    def result(name: str, *, passed: bool, text: str, warns: bool = False) -> dg.AssetCheckResult:
        severity = dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(asset_key=key, check_name=name, passed=passed, severity=severity, description=text)

    missed = ", ".join(f"{miss.business}: {miss.reason}" for miss in tick.misses)
    yield result("all_due_protected", passed=not tick.misses, text=missed or f"{tick.due} businesses are protected.")
    wrong = ", ".join(f"{name}: {n:,} rows, {a:,} accounted for" for name, (n, a) in report.unaccounted.items())
    yield result("rows_accounted", passed=not wrong, text=wrong or "Every row is of a business, or of none.")
    differing = ", ".join(f"{business}: {why}" for business, why in report.differing.items())
    audited = f"{len(report.audited)} fulls are what their chains and changes give."
    yield result("chain_equals_full", passed=not differing, text=differing or audited)
    late = timedelta(seconds=(tick.lag_s or 0.0) + (tick.seconds or 0.0))
    text = f"Protected {late.total_seconds():.1f} s after the scheduled time, at most {declared.every} apart."
    yield result("within_interval", passed=late <= parse_duration(declared.every), text=text, warns=True)
    over = ", ".join(_over_quota(declared, report))
    text = over or "No business that changed is near its quota."
    yield result("within_quota", passed=not over, text=text, warns=True)


def _over_quota(declared: Businesses, report: TickReport) -> Iterator[str]:
    """Businesses that changed and take most of their room; a quota is never a reason not to back up."""
    yield from (f"{backup_id} is larger than {declared.quota.file}" for backup_id in report.big)
    yield from (f"{use.business} takes {size(use.bytes)} of {size(use.quota_bytes)}" for use in report.crowded)
