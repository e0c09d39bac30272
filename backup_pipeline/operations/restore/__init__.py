"""A restore from its request to its report: the one sequence that every door runs, and the points where a door shows.

`restore`: tidy, request, plan, `door.show`, refusals, approval, `door.confirm`, `door.watching`, the safety backup,
the transaction, the end. `request_restore` is its first half: what it makes waits for approval.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, ExportFailedError
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports, Progress
from backup_pipeline.core.restore import RestorePlan, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.businesses import BusinessPlan, BusinessReport
from backup_pipeline.core.restore.requests import (
    Plan,
    RestoreRow,
    check_approved_plan,
    check_confirmed,
    check_may_run,
    check_refusals,
    safety_catalog,
)
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Actor, parse_scope
from backup_pipeline.operations.attempts import Request, Work, running_attempt
from backup_pipeline.operations.background import Heartbeat
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.businesses.restore import run_business
from backup_pipeline.operations.restore.requests import (
    RestoreCaller,
    TargetDatabase,
    add_request,
    cancel,
    end_well,
    ended_when_it_fails,
    find_request,
    plan_request,
    start,
    tell_waiting,
    tidy,
)
from backup_pipeline.operations.restore.transfer import run_restore


@dataclass(frozen=True)
class Confirmation:
    """The database's name as it was given, None where it was not; `do` tells a person how to give it."""

    name: str | None
    do: str = ""


class RestoreDoor(Protocol):
    """Where somebody sees a restore. Each point is reached at most once, in this order."""

    def show(self, row: RestoreRow, plan: Plan) -> None:
        """Show the plan; it may be refused, and then the refusal follows as an error."""

    def confirm(self, row: RestoreRow, plan: Plan) -> Confirmation:
        """Confirm the plan, which nothing speaks against. A name that is wrong, or an error, ends the restore."""

    def watching(self, row: RestoreRow, progress: Progress) -> AbstractContextManager[Progress]:
        """The progress to report to while the restore runs; `progress` is that of the ports."""


@dataclass(frozen=True)
class RestoreOutcome:
    """A restore that was performed: its request, the plan that was confirmed, what was done."""

    row: RestoreRow
    plan: Plan
    report: RestoreReport | BusinessReport


def restore(
    request: RestoreRequest | RestoreRow, target: TargetDatabase, ports: Ports, caller: RestoreCaller, door: RestoreDoor
) -> RestoreOutcome:
    """Perform a new request, or one of the ledger: all of it, or the target is as it was.

    A new request ends with this call: as `failed` when its plan is refused, as `canceled` when it is not confirmed. One
    that was made before stays as it is until it begins; so does a new one that waits for approval.

    NotFoundError without such a backup. PreflightRefusedError when the plan is refused, is not the one that was
    approved, or is not confirmed; RefusedError when the request may not run; LockedError when another restore runs on
    the target, or somebody keeps a table of it; VerificationError when a file is damaged.
    """
    tidy(ports)
    new = isinstance(request, RestoreRequest)
    if isinstance(request, RestoreRequest):
        row = add_request(request, target, ports, caller)
    else:
        row = request
        check_may_run(row, needs_approval=caller.needs_approval)
    with ended_when_it_fails(row, target, ports, caller) if new else nullcontext():
        plan = _shown(row, target, ports, door)
    if new and caller.needs_approval:
        tell_waiting(row, ports)
    _check_approval(row, plan, caller)
    with _canceled_unless_confirmed(row, ports) if new else nullcontext():
        plan = _confirmed(row, plan, door)
    with door.watching(row, ports.progress) as progress:
        report = _perform(row, plan, target, replace(ports, progress=progress), caller)
    return RestoreOutcome(row, plan, report)


def request_restore(
    request: RestoreRequest, target: TargetDatabase, ports: Ports, caller: RestoreCaller, door: RestoreDoor
) -> tuple[RestoreRow, Plan]:
    """Make a request, with its plan, for another person to approve; one whose plan is refused ends as `failed`."""
    caller = replace(caller, needs_approval=True)
    tidy(ports)
    row = add_request(request, target, ports, caller)
    plan = plan_requested(row, target, ports, caller, door)
    tell_waiting(row, ports)
    return row, plan


def plan_requested(
    row: RestoreRow, target: TargetDatabase, ports: Ports, caller: RestoreCaller, door: RestoreDoor
) -> Plan:
    """Plan a request that nobody has decided about yet; it ends as `failed` when its plan is refused.

    The plan stands in its row, also one that is refused. Nothing else is written.
    """
    with ended_when_it_fails(row, target, ports, caller):
        return _shown(row, target, ports, door)


def _shown(row: RestoreRow, target: TargetDatabase, ports: Ports, door: RestoreDoor) -> Plan:
    plan = plan_request(row, target, ports)
    door.show(row, plan)
    check_refusals(plan)
    return plan


def _check_approval(row: RestoreRow, plan: Plan, caller: RestoreCaller) -> None:
    check_may_run(row, needs_approval=caller.needs_approval)
    check_approved_plan(row, plan)


def _confirmed(row: RestoreRow, plan: Plan, door: RestoreDoor) -> Plan:
    confirmation = door.confirm(row, plan)
    plan = plan.confirmed_with(confirmation.name)
    check_confirmed(plan, do=confirmation.do)
    return plan


@contextmanager
def _canceled_unless_confirmed(row: RestoreRow, ports: Ports) -> Iterator[None]:
    try:
        yield
    except BaseException:
        cancel(row, "It was not confirmed.", ports)
        raise


def _perform(
    row: RestoreRow, plan: Plan, target: TargetDatabase, ports: Ports, caller: RestoreCaller
) -> RestoreReport | BusinessReport:
    """Carry out a confirmed plan; the row says how it ended, in every case."""
    # Whoever confirms may take an hour, and the row may have been decided about, or begun, by somebody else meanwhile.
    _check_approval(find_request(row.id, ports.ledger), plan, caller)
    running = start(row, ports, caller)
    with (
        ended_when_it_fails(running, target, ports, caller),
        Heartbeat(lambda: ports.ledger.restores.beat(running.id, ports.clock()), f"restore request {running.id}"),
    ):
        report = _run(running, plan, target, ports)
    end_well(running, report, target, ports, caller)
    return report


def _run(row: RestoreRow, plan: Plan, target: TargetDatabase, ports: Ports) -> RestoreReport | BusinessReport:
    if isinstance(plan, BusinessPlan):
        return run_business(plan, target.business_work, ports, row.id)
    safety = (lambda: target.safety(row, plan)) if row.safety_backup else None
    return run_restore(plan, target.database, ports, safety=safety)


@dataclass(frozen=True)
class SafetyRequest:
    """What to protect: the tables of `plan` that are there, because of restore request `number`, asked for by `actor`.

    `base` is the catalog of the tables, when it is known: what it keeps out of backups stays out of this one.
    """

    plan: RestorePlan
    number: int
    actor: Actor
    base: Catalog | None = None


def safety_backup(wanted: SafetyRequest, ports: Ports) -> str:
    """Back the tables up as any selective backup is; its id, once the store gave the bundle back.

    The source of `ports` is the restore's target. Raises what a backup raises: then nothing may be restored. Its row in
    the ledger says so, and people are alerted.
    """
    request = _request(wanted, ports)
    with running_attempt(request, ports, stopped="The restore that it was for was stopped.") as work:
        _export(work)
        bundle_attempt(work)
    return work.attempt.backup_id


def _request(wanted: SafetyRequest, ports: Ports) -> Request:
    """The selective backup that protects what is there now."""
    with ports.source.snapshot(ports.progress) as snapshot:
        database = snapshot.database()
    scope = parse_scope(wanted.plan.catalog).safety
    catalog = safety_catalog(scope.catalog, wanted.plan.tables, database, wanted.base)
    return Request(
        catalog=catalog,
        kind=Kind.SELECTIVE,
        tables=tuple(catalog.tables),
        day=local_date(ports.clock(), catalog.timezone),
        type=Trigger.MANUAL,
        actor=wanted.actor,
        reason=f"before restore {wanted.number}",
        business=scope.business,
        purpose=scope.purpose,
    )


def _export(work: Work) -> None:
    failed: dict[str, BackupError] = {}
    with closing(export_attempt(work)) as results:
        for result in results:
            if result.error is not None:
                failed[result.table] = result.error
    if failed:
        raise ExportFailedError(failed, len(work.request.tables))
