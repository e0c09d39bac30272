"""Retention: the rules as sentences, what goes in the days to come and why, holds, and deleting one backup by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission, Role
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, RefusedError, UsageError
from backup_pipeline.core.ledger import GOOD, Attempt, Hold
from backup_pipeline.core.payments.accounts import AccountFilter
from backup_pipeline.core.retention import grace_until, objections
from backup_pipeline.core.runs import RunRequest, RunVerb
from backup_pipeline.core.schedule import day_end, next_due
from backup_pipeline.operations.retention.businesses import TICKS_KEPT
from backup_pipeline.operations.retention.forecast import FORETOLD_DAYS, Forecasts, SystemForecast
from backup_pipeline.operations.retention.hold import hold_backup, release_backup
from backup_pipeline.operations.retention.plan import basis_of, prune_request
from backup_pipeline.operations.run_requests import RunWish
from backup_pipeline.presentation.retention import rule_sentences
from backup_pipeline.web.pages.backups import visible_backup
from backup_pipeline.web.people import Visitor, allowed, fresh, launched, not_there
from backup_pipeline.web.rendering import chosen_system, page, redirect, systems_of

router = APIRouter()

_SEES = Depends(allowed(Permission.SEE))
_HOLDS = Depends(allowed(Permission.HOLD))
_PRUNES = Depends(allowed(Permission.PRUNE))
_DELETES = Depends(fresh(Permission.DELETE))
_Reason = Annotated[str, Form(max_length=1_000)]


@dataclass(frozen=True)
class SystemRetention:
    """The rules of one system, and what they come to. `problem`: why that is not known.

    `businesses` is the rule of what ticks make, empty where there are none; `names` those of the forecast's businesses.
    """

    catalog: Catalog
    automatic: Sequence[str]
    manual: Sequence[str]
    businesses: Sequence[str]
    next_cleanup: datetime | None
    forecast: SystemForecast = field(default_factory=lambda: SystemForecast(0, ()))
    names: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@router.get("/retention")
def retention_page(request: Request, visitor: Annotated[Visitor, _SEES]) -> Response:
    """The rules of each system that is chosen, what goes, and what is held."""
    chosen = chosen_system(request)
    catalogs = [chosen] if chosen else list(systems_of(request).values())
    held = [row for row in visitor.ledger.listings.held() if chosen is None or row.scope.catalog == chosen.catalog]
    each = [_retention_of(catalog, visitor, request.app.state.forecasts) for catalog in catalogs]
    return page(
        request,
        "retention.html",
        each=each,
        live=any(of.forecast.as_of is not None for of in each),
        held=held,
        days=FORETOLD_DAYS,
        ticks_kept=TICKS_KEPT.days,
        request_uuid=lambda: str(uuid4()),
        command=f"backup-pipeline prune{f' --catalog {chosen.catalog}' if chosen else ''}",
    )


def _retention_of(catalog: Catalog, visitor: Visitor, forecasts: Forecasts) -> SystemRetention:
    rules, now = catalog.retention, visitor.ports.clock()
    first = SystemRetention(
        catalog,
        rule_sentences(rules.automatic),
        rule_sentences(rules.manual),
        rule_sentences(catalog.businesses.retention) if catalog.businesses else (),
        next_due(rules.schedule, catalog.timezone, now) if rules.schedule else None,
    )
    try:
        sees_all = visitor.user.role is not Role.BUSINESS_ADMIN
        versions = visitor.settings.prune_versions
        foretold = forecasts.of(catalog, visitor.actor, versions, visitor.ports, sees_all=sees_all)
    except BackupError as error:
        return replace(first, problem=str(error))
    keys = tuple(each.business for each in foretold.businesses)
    of_these = AccountFilter(catalog=catalog.catalog, keys=keys)
    names = {each.business: each.name for each in visitor.ledger.businesses.list(of_these)} if keys else {}
    return replace(first, forecast=foretold, names=names)


@router.post("/retention/plan")
def plan_cleanup(
    request: Request,
    visitor: Annotated[Visitor, _PRUNES],
    request_id: Annotated[UUID, Form(alias="request")],
    catalog: Annotated[str, Form()] = "",
) -> Response:
    """Let a run look at ledger and store, and say what a clean-up would remove now."""
    wish = RunWish(request_id, RunVerb.PRUNE, _declared(request, catalog), visitor.actor, detail={"dry_run": True})
    launched(request, visitor, wish)
    return redirect(request, f"/retention/runs/{request_id}")


@router.post("/retention/run")
def run_cleanup(
    request: Request,
    visitor: Annotated[Visitor, _PRUNES],
    request_id: Annotated[UUID, Form(alias="request")],
    plan: Annotated[UUID, Form()],
    reason: _Reason = "",
) -> Response:
    """Let a run remove what the rules let go, after the plan of it was looked at."""
    seen = _cleanup(plan, visitor)
    if not seen.detail.get("dry_run") or not (seen.result or {}).get("plans"):
        message = "A clean-up is run from its plan."
        raise UsageError(message, do="Make the plan first, and look at it.")
    catalog = _declared(request, seen.scope.catalog)
    wish = RunWish(request_id, RunVerb.PRUNE, catalog, visitor.actor, reason.strip(), {"dry_run": False})
    launched(request, visitor, wish)
    return redirect(request, f"/retention/runs/{request_id}")


@router.get("/retention/runs/{request_id}")
def cleanup_page(request: Request, request_id: UUID, visitor: Annotated[Visitor, _PRUNES]) -> Response:
    """A clean-up: its plan, and what was removed where it was run."""
    run = _cleanup(request_id, visitor)
    result = run.result or {}
    return page(
        request,
        "cleanup.html",
        run=run,
        dry=bool(run.detail.get("dry_run")),
        plans=_documents(result.get("plans")),
        reports=_documents(result.get("reports")),
        businesses=next(iter(_documents([result.get("businesses")])), None),
        request_uuid=uuid4(),
        command=run.command,
        live=not run.status.over,
    )


def _documents(found: object) -> Sequence[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list | tuple) else []


def _cleanup(request_id: UUID, visitor: Visitor) -> RunRequest:
    run = visitor.ledger.run_requests.get(request_id)
    if run is None or run.verb is not RunVerb.PRUNE:
        raise not_there()
    return run


def _declared(request: Request, name: str) -> Catalog:
    systems = systems_of(request)
    if name not in systems:
        message = f"There is no system {name!r}."
        raise UsageError(message, do=f"Choose one of {', '.join(systems)}.")
    return systems[name]


@router.post("/backups/{backup_id}/hold")
def hold(
    request: Request,
    backup_id: str,
    visitor: Annotated[Visitor, _HOLDS],
    reason: _Reason = "",
    until: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Keep the backup from every removal: until the end of a day on the system's clock, or until it is released."""
    row = visible_backup(backup_id, visitor)
    systems = systems_of(request)
    zone = systems[row.scope.catalog].timezone if row.scope.catalog in systems else "UTC"
    held = Hold(visitor.actor, reason.strip(), _day_end(until, zone) if until.strip() else None)
    hold_backup(row, held, visitor.ports)
    text = f"Held until the end of {until}." if until.strip() else "Held until somebody releases it."
    return redirect(request, f"/backups/{backup_id}", text)


@router.post("/backups/{backup_id}/release")
def release(
    request: Request,
    backup_id: str,
    visitor: Annotated[Visitor, _HOLDS],
    reason: _Reason = "",
    next: Annotated[str, Form()] = "",  # noqa: A002  # the name in the form
) -> Response:
    """Let the rules count again for the backup."""
    row = visible_backup(backup_id, visitor)
    was_held = release_backup(row, visitor.ports, actor=visitor.actor, reason=reason.strip())
    text = "Released: the rules count again for it." if was_held else "It was not held."
    return redirect(request, next or f"/backups/{backup_id}", text, tone="good" if was_held else "warning")


def _day_end(text: str, zone: str) -> datetime:
    try:
        return day_end(date.fromisoformat(text.strip()), zone)
    except (ValueError, OverflowError):
        message = f"{text!r} is no date."
        raise UsageError(message, do="Write it as 2026-12-31, or leave it empty.") from None


@router.get("/backups/{backup_id}/delete")
def delete_page(request: Request, backup_id: str, visitor: Annotated[Visitor, _DELETES]) -> Response:
    """What would be deleted, what speaks against it, and the id to type."""
    return _delete_form(request, visible_backup(backup_id, visitor), visitor)


@router.post("/backups/{backup_id}/delete")
def delete(
    request: Request,
    backup_id: str,
    visitor: Annotated[Visitor, _DELETES],
    request_id: Annotated[UUID, Form(alias="request")],
    confirm: Annotated[str, Form(max_length=200)] = "",
    reason: _Reason = "",
) -> Response:
    """Let a run delete the backup; the run looks at rules, holds and the store once more, and may say no."""
    row = visible_backup(backup_id, visitor)
    if confirm.strip() != row.backup_id:
        return _delete_form(request, row, visitor, problem="This is not its id. Nothing was touched.", reason=reason)
    if not reason.strip():
        return _delete_form(request, row, visitor, no_reason="In a year nobody remembers why.", typed=confirm)
    found, until = _objections(request, row, visitor)
    if found:
        message = f"Backup {row.backup_id} stays: {'; '.join(found)}. Nothing was touched."
        end = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until the rules let it go"
        raise RefusedError(message, do=f"Release the hold, or wait {end}." if row.hold else f"Wait {end}.")
    detail = {"backup_id": row.backup_id, "confirm": row.backup_id}
    catalog = _declared(request, row.scope.catalog)
    business = row.scope.business
    wish = RunWish(request_id, RunVerb.DELETE, catalog, visitor.actor, reason.strip(), detail, business)
    run = launched(request, visitor, wish)
    return redirect(request, f"/runs/{run.id}")


def _objections(request: Request, row: Attempt, visitor: Visitor) -> tuple[Sequence[str], datetime | None]:
    """What rules and ledger say against it, and until when it is too young; what only the store knows, the run sees."""
    rules = prune_request(row.scope, systems_of(request), visitor.actor, visitor.settings.prune_versions)
    rows = visitor.ledger.list(scope=row.scope, status=sorted(GOOD))
    basis = basis_of(rules, visitor.ports)
    return objections(row, rows, basis), grace_until(row, basis) if row.status.good else None


def _delete_form(  # a form, and what was typed into it
    request: Request,
    row: Attempt,
    visitor: Visitor,
    *,
    problem: str = "",
    no_reason: str = "",
    typed: str = "",
    reason: str = "",
) -> Response:
    found, until = _objections(request, row, visitor)
    systems = systems_of(request)
    zone = systems[row.scope.catalog].timezone if row.scope.catalog in systems else "UTC"
    return page(
        request,
        "backup_delete.html",
        status=422 if problem or no_reason else 200,
        row=row,
        objections=found,
        until=until,
        zone=zone,
        problem=problem,
        no_reason=no_reason,
        typed=typed,
        reason=reason,
        request_uuid=uuid4(),
        command=f"backup-pipeline delete {row.backup_id} --confirm {row.backup_id} --reason …",
    )
