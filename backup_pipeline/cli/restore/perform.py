"""How a restore goes: request, plan, refusals, approval, confirmation, restore, report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from rich.console import Console
from rich.text import Text

from backup_pipeline.cli.options import Opened, print_json
from backup_pipeline.cli.progress import shown_progress
from backup_pipeline.cli.restore.command import RestoreOptions, same_command, undo_command
from backup_pipeline.cli.restore.requests import print_asked, print_plan, print_report
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.restore.model import RestorePlan, RestoreReport
from backup_pipeline.core.restore.requests import (
    SECOND,
    RestoreRow,
    RestoreStatus,
    check_may_run,
    protected_name,
)
from backup_pipeline.operations.browse import find_sound_backup
from backup_pipeline.operations.leases import Heartbeat
from backup_pipeline.operations.restore.perform import plan_restore
from backup_pipeline.operations.restore.requests import (
    Access,
    cancel,
    check_confirmed,
    check_refusals,
    ended_when_it_fails,
    find_request,
    perform,
    plan_request,
    request,
    stopped,
    tidy,
    wish_of,
)
from backup_pipeline.presentation.terminal import SafeConsole, note_console
from backup_pipeline.wiring.embedded import source_ready
from backup_pipeline.wiring.ports import is_dead_restore
from backup_pipeline.wiring.restore import Target, chosen_target, open_access, target_of


def carry_out(at: Opened, order: RestoreOptions) -> None:
    """Do what was ordered, and print it; see `cli.restore` for what a person is promised."""
    row = find_request(order.number, at.ledger) if order.number is not None else None
    if row is not None and not order.dry_run:
        check_may_run(row, needs_approval=at.settings.restore_approval)
    catalog, order = _resolved(at, order, row)
    with source_ready(at.settings, protected_name(catalog)) if order.to_source else nullcontext():
        target = _target(at, order, row, catalog)
        if order.dry_run:
            _show_only(at, order, row, target, catalog)
            return
        if order.ask:
            _ask(at, order, target, catalog)
            return
        row, plan = _decided(at, order, row, target, catalog)
        report = _performed(at, order, row, plan, target)
    if order.as_json:
        print_json({"request": row.id, "plan": plan.as_json(), "report": report.as_json()})
    else:
        print_report(row, report, undo=undo_command(order, report, target.address.url))


def _resolved(at: Opened, order: RestoreOptions, row: RestoreRow | None) -> tuple[str, RestoreOptions]:
    """The catalog of the backup that is meant, and the order with its id in place of `latest`.

    A request says itself which store it reads.
    """
    if row is not None:
        return row.catalog, replace(order, store=row.store)
    attempt = find_sound_backup(order.wish.backup_id, at.ledger, catalog=order.catalog, store=order.store)
    return attempt.catalog, replace(order, wish=replace(order.wish, backup_id=attempt.backup_id, actor=at.actor))


def _target(at: Opened, order: RestoreOptions, row: RestoreRow | None, catalog: str) -> Target:
    if row is not None:
        return target_of(row, at.settings, order.target_url, to_source=order.to_source)
    return chosen_target(at.settings, catalog, order.target_url, to_source=order.to_source)


def _show_only(at: Opened, order: RestoreOptions, row: RestoreRow | None, target: Target, catalog: str) -> None:
    with open_access(at.settings, target, catalog, second=_second(order)) as access:
        plan = plan_restore(wish_of(row) if row else order.wish, access.target, access.ports)
    _show(order, plan, row, access.address.url)
    if order.as_json:
        print_json({"request": row.id if row else None, "plan": plan.as_json()})
    check_refusals(plan)


def _ask(at: Opened, order: RestoreOptions, target: Target, catalog: str) -> None:
    """Make the request and its plan; one that is refused ends with this command."""
    with open_access(at.settings, target, catalog, second=_second(order)) as opened:
        access = replace(opened, needs_approval=True)
        tidy(access, is_dead_restore)
        row = request(order.wish, access, safety_backup=order.safety_backup, store=order.store)
        with ended_when_it_fails(row, access):
            plan = plan_request(row, access)
            _show(order, plan, row, access.address.url)
            check_refusals(plan)
    if order.as_json:
        print_json({"request": row.id, "plan": plan.as_json()})
    else:
        print_asked(row, plan)


def _decided(
    at: Opened, order: RestoreOptions, known: RestoreRow | None, target: Target, catalog: str
) -> tuple[RestoreRow, RestorePlan]:
    """The request and its plan, seen and confirmed.

    A request that this command made ends with it when it is refused or not confirmed. One that waits for approval, or
    that was made before, stays.
    """
    with open_access(at.settings, target, catalog, second=_second(order)) as access:
        tidy(access, partial(is_dead_restore, clock=access.clock))
        row = known or request(order.wish, access, safety_backup=order.safety_backup, store=order.store)
        with ended_when_it_fails(row, access) if known is None else nullcontext():
            plan = _told(plan_request(row, access), order.wish.confirm)
            _show(order, plan, row, access.address.url)
        with _plan_first(order, row, plan):
            with ended_when_it_fails(row, access) if known is None else nullcontext():
                check_refusals(plan)
            check_may_run(row, needs_approval=access.needs_approval)
            with _canceled_else(row, access) if known is None else nullcontext():
                return row, _confirmed(order, plan, access.address.url)


@contextmanager
def _plan_first(order: RestoreOptions, row: RestoreRow, plan: RestorePlan) -> Iterator[None]:
    """Where JSON is wanted, a refusal comes with the plan that it is about."""
    try:
        yield
    except RefusedError:
        if order.as_json:
            print_json({"request": row.id, "plan": plan.as_json()})
        raise


@contextmanager
def _canceled_else(row: RestoreRow, access: Access) -> Iterator[None]:
    try:
        yield
    except BaseException:
        cancel(row, "It was not confirmed.", access)
        raise


def _confirmed(order: RestoreOptions, plan: RestorePlan, shown_target: str) -> RestorePlan:
    """The plan with what the person typed; PreflightRefusedError, with the command to run, when it is not the name."""
    typed = plan.request.confirm
    if typed is None and plan.confirm_name and sys.stdin.isatty() and not order.as_json:
        typed = _typed(plan)
    told = _told(plan, typed)
    command = same_command(order, plan.backup_id, shown_target, plan.confirm_name or "")
    check_confirmed(told, do=f"Read the plan; if that is what you want, run: {command}")
    return told


def _told(plan: RestorePlan, typed: str | None) -> RestorePlan:
    return replace(plan, request=replace(plan.request, confirm=typed))


def _typed(plan: RestorePlan) -> str | None:
    console = SafeConsole(stderr=True, highlight=False)
    console.print(
        Text.assemble("Type the name of the database, ", (plan.confirm_name or "", "bold"), ", to go ahead: "), end=""
    )
    try:
        return input().strip() or None
    except EOFError:
        return None


def _performed(at: Opened, order: RestoreOptions, row: RestoreRow, plan: RestorePlan, target: Target) -> RestoreReport:
    console = SafeConsole(quiet=True) if order.as_json else note_console()
    try:
        return _watched(at, order, row, plan, target, console)
    except KeyboardInterrupt:
        note_console().print(stopped(replace(row, status=RestoreStatus.RUNNING)).what)
        raise


def _second(order: RestoreOptions) -> bool:
    return order.store == SECOND


def _watched(
    at: Opened, order: RestoreOptions, row: RestoreRow, plan: RestorePlan, target: Target, console: Console
) -> RestoreReport:
    with (
        shown_progress(console) as progress,
        open_access(at.settings, target, row.catalog, progress=progress, second=_second(order)) as access,
        Heartbeat(lambda: access.ledger.restores.beat(row.id, access.clock()), f"restore request {row.id}"),
    ):
        return perform(row, plan, access, actor=at.actor)


def _show(order: RestoreOptions, plan: RestorePlan, row: RestoreRow | None, shown_target: str) -> None:
    if not order.as_json:
        print_plan(plan, row, shown_target, safety_backup=row.safety_backup if row else order.safety_backup)
