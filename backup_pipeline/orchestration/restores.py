"""The restore of a catalog as a job: what the command line's `restore` does, with its plan and report in the UI."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.core.restore_requests import FIRST, SECOND, RestoreRow, Which, check_may_run
from backup_pipeline.core.restoring import Mode, RestoreRequest
from backup_pipeline.ledger.heartbeat import Heartbeat
from backup_pipeline.operations.browse import LATEST, find_backup
from backup_pipeline.operations.restore import plan_restore
from backup_pipeline.operations.restore_access import Access
from backup_pipeline.operations.restore_ends import ended_when_it_fails, tidy
from backup_pipeline.operations.restore_requests import (
    check_confirmed,
    check_refusals,
    find_request,
    perform,
    plan_request,
    request,
    wish_of,
)
from backup_pipeline.orchestration.config import CATALOG_TAG, RESTORE_TAG, USER_TAG, RestoreConfig
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.keys import restore_job_name, restore_op
from backup_pipeline.orchestration.resources import BackupResource
from backup_pipeline.orchestration.restore_metadata import plan_markdown, plan_metadata, report_metadata
from backup_pipeline.orchestration.run_facts import run_url
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import is_dead_restore
from backup_pipeline.wiring.targets import Target, chosen_target, has_password, target_of


@dataclass(frozen=True)
class _Order:
    """What a run is for: the wish with the backup's own id, the request where one is performed, and the target."""

    wish: RestoreRequest
    known: RestoreRow | None
    target: Target
    by: str
    store: Which


def restore_job(catalog: Catalog) -> dg.JobDefinition:
    """Restore a backup of the catalog, or some of its tables, into a database."""

    @dg.op(
        name=restore_op(catalog),
        out=dg.Out(dg.Nothing),
        description="The plan, then one transaction or nothing. A row in `restore_requests` says how it went.",
    )
    def restore(
        context: dg.OpExecutionContext, config: RestoreConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log):
            order = _order(context, config, backups, catalog)
        opened = backups.open_restore(catalog, order.target, second=order.store == SECOND)
        with told_as_failure(context.log, order.target.hide), opened as access:
            run = replace(access, attended=False, run_id=context.run.run_id, run_url=run_url(context.run.run_id))
            yield _shown(context, order, run) if config.dry_run else _restored(context, config, order, run)

    @dg.job(
        name=restore_job_name(catalog),
        description=f"Restore {catalog.title or catalog.catalog}: a backup, or tables of it, into a database.",
        tags={CATALOG_TAG: catalog.catalog, RESTORE_TAG: "true"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        restore()

    return job


def _shown(context: dg.OpExecutionContext, order: _Order, access: Access) -> dg.Output[None]:
    plan = plan_restore(order.wish, access.target, access.ports)
    context.log.info(access.hide(plan_markdown(plan)))
    check_refusals(plan)
    return dg.Output(None, metadata=dict(plan_metadata(plan, access.hide)))


def _restored(context: dg.OpExecutionContext, config: RestoreConfig, order: _Order, access: Access) -> dg.Output[None]:
    """A request that this run made fails with it; one that was there before stays until it is begun."""
    tidy(access, is_dead_restore)
    if order.known is not None:
        check_may_run(order.known, needs_approval=access.needs_approval)
    row = order.known or request(order.wish, access, safety_backup=config.safety_backup, store=order.store)
    with ended_when_it_fails(row, access) if order.known is None else nullcontext():
        plan = plan_request(row, access)
        context.log.info(access.hide(plan_markdown(plan)))
        check_refusals(plan)
    check_may_run(row, needs_approval=access.needs_approval)
    confirmed = replace(plan, request=replace(plan.request, confirm=config.confirm or None))
    with ended_when_it_fails(row, access) if order.known is None else nullcontext():
        check_confirmed(confirmed, do=f"Set `confirm` to {plan.confirm_name!r} in the run's config.")
    with Heartbeat(access.ledger.restores, row.id, clock=access.clock):
        report = perform(row, confirmed, access, by=order.by)
    return dg.Output(None, metadata={**plan_metadata(plan, access.hide), **report_metadata(report, row.id)})


def _order(context: dg.OpExecutionContext, config: RestoreConfig, backups: BackupResource, catalog: Catalog) -> _Order:
    _refuse_plain_password(context)
    by = config.created_by or context.run.tags.get(USER_TAG) or "dagster"
    settings = Settings()
    with backups.open(catalog) as ports:
        if config.request:
            row = find_request(config.request, ports.ledger)
            target = target_of(row, settings, config.target_url or None, to_source=config.to_source)
            return _Order(wish_of(row), row, target, by, row.store)
        attempt = find_backup(config.backup_id, ports.ledger, catalog=_own(config, catalog))
    target = chosen_target(settings, attempt.catalog, config.target_url or None, to_source=config.to_source)
    return _Order(_wish(config, attempt.backup_id, by), None, target, by, _store(config))


def _store(config: RestoreConfig) -> Which:
    for known in (FIRST, SECOND):
        if config.store == known:
            return known
    message = f"There is no store {config.store!r}."
    raise UsageError(message, do=f"Use {FIRST} or {SECOND}.")


def _own(config: RestoreConfig, catalog: Catalog) -> str | None:
    """`latest` is the catalog's own; an id may also be that of a safety backup."""
    return catalog.catalog if config.backup_id == LATEST else None


def _wish(config: RestoreConfig, backup_id: str, by: str) -> RestoreRequest:
    if config.mode not in set(Mode):
        message = f"There is no mode {config.mode!r}."
        raise UsageError(message, do=f"Use one of {', '.join(Mode)}.")
    return RestoreRequest(
        backup_id=backup_id,
        tables=tuple(dict.fromkeys(config.tables)),
        mode=Mode(config.mode),
        into_schema=config.into_schema or None,
        rename=config.rename,
        fill=config.fill,
        requested_by=by,
        reason=config.reason,
    )


def _refuse_plain_password(context: dg.OpExecutionContext) -> None:
    """Raise RefusedError for a password in the run's config, where Dagster keeps and shows it."""
    config: Any = context.run.run_config
    given = config.get("ops", {}).get(context.op.name, {}).get("config", {}).get("target_url")
    if isinstance(given, str) and has_password(given):
        message = "The run's config holds a password: `target_url` has one in it. Nothing was touched."
        do = "Put the URL into an environment variable, and write target_url: {env: NAME}. Then change that password."
        raise RefusedError(message, do=do)
