"""Runs that people ask for: the form of every button that makes one, the list, and one of them, live."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import Response

from backup_pipeline.core.access import FRESH_LOGIN, Permission, check_permission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import DagsterAwayError, RefusedError, UsageError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.payments.accounts import AccountStatus
from backup_pipeline.core.runs import RequestStatus, RunProgress, RunRequest, RunVerb
from backup_pipeline.core.text import visible
from backup_pipeline.operations.browse import LATEST
from backup_pipeline.operations.progress import LogEnd, progress_in_words, work_now
from backup_pipeline.operations.run_requests import RunWish, cancel_request
from backup_pipeline.presentation import duration
from backup_pipeline.web.people import CONFIRM, Visitor, allowed, launched, launcher_of, not_there
from backup_pipeline.web.rendering import chosen_system, local_path, page, redirect, systems_of

router = APIRouter()

PERMISSIONS: Mapping[RunVerb, Permission] = {
    RunVerb.BACKUP: Permission.RUN_BACKUP,
    RunVerb.TABLES: Permission.RUN_BACKUP,
    RunVerb.VERIFY: Permission.VERIFY,
    RunVerb.DRILL: Permission.DRILL,
    RunVerb.COPY: Permission.PRUNE,
    RunVerb.PRUNE: Permission.PRUNE,
    RunVerb.DELETE: Permission.DELETE,
    RunVerb.RENDER: Permission.DOWNLOAD,
    RunVerb.ADOPT: Permission.REQUEST_RESTORE,
    RunVerb.TICK: Permission.RUN_BACKUP,
    RunVerb.BUSINESS: Permission.RUN_BACKUP,
}
"""What each button takes. A restore is asked for, approved and run on pages of its own."""
WORDS: Mapping[RequestStatus, tuple[str, str]] = {
    RequestStatus.REQUESTED: ("asked for", "active"),
    RequestStatus.LAUNCHED: ("waiting for its turn", "active"),
    RequestStatus.RUNNING: ("running", "active"),
    RequestStatus.DONE: ("done", "good"),
    RequestStatus.FAILED: ("failed", "failure"),
    RequestStatus.CANCELED: ("canceled", "warning"),
    RequestStatus.REFUSED: ("refused", "failure"),
}
_MOST = 200
_Short = Annotated[str, Form(max_length=200)]


@router.post("/runs")
def ask(  # noqa: PLR0913  # the fields of the form
    request: Request,
    visitor: Annotated[Visitor, Depends(allowed(Permission.SEE))],
    verb: _Short,
    catalog: _Short,
    request_id: Annotated[UUID, Form(alias="request")],
    backup_id: _Short = "",
    tables: Annotated[list[str], Form()] = [],  # noqa: B006  # FastAPI copies it
    type_: Annotated[str, Form(alias="type", max_length=20)] = "manual",
    level: _Short = "",
    inject: _Short = "",
    rendering: _Short = "",
    business: _Short = "",
    kind: _Short = "",
    confirm: _Short = "",
    dry_run: _Short = "",
    key: Annotated[str, Form(max_length=1_000)] = "",
    reason: Annotated[str, Form(max_length=1_000)] = "",
    next_: Annotated[str, Form(alias="next", max_length=500)] = "",
) -> Response:
    """Ask for a run. The id comes with the form: sent twice, it is one run."""
    wanted = _verb(verb, tables)
    _check_may(wanted, visitor, next_)
    of = _business(visitor, catalog, business) if wanted is RunVerb.BUSINESS else None
    system = _system(request, catalog, backup_id, visitor, of)
    given = {"backup_id": backup_id, "tables": tables, "level": level, "inject": inject, "rendering": rendering,
             "confirm": confirm, "key": key, "dry_run": dry_run == "true",
             "automatic": type_ == "automatic", "kind": _kind(kind) if of else ""}  # fmt: skip
    detail = {name: value for name, value in given.items() if value}
    wish = RunWish(request_id, wanted, system, visitor.actor, reason.strip(), detail, of)
    row = launched(request, visitor, wish)
    if row.status is RequestStatus.REFUSED:
        why = (row.error_message or "").partition("\n")[0]
        return redirect(request, f"/runs/{row.id}", f"It does not run. {why}", tone="failure")
    where = local_path(next_, f"/runs/{row.id}") if next_ else f"/runs/{row.id}"
    return redirect(request, where, f"The {_named(wanted)} is on its way.", tone="active")


def _verb(text: str, tables: list[str]) -> RunVerb:
    known = {verb.value: verb for verb in PERMISSIONS}
    if text not in known:
        message = f"{visible(text)!r} is nothing that can be run from here."
        raise UsageError(message, do=f"There are {', '.join(known)}.")
    return RunVerb.TABLES if known[text] is RunVerb.BACKUP and tables else known[text]


def _check_may(verb: RunVerb, visitor: Visitor, next_: str) -> None:
    """RefusedError without the permission; to the password first where that is wanted anew."""
    permission = PERMISSIONS[verb]
    check_permission(visitor.user, permission)
    if permission in FRESH_LOGIN and not visitor.session.is_fresh(visitor.ports.clock()):
        raise HTTPException(303, headers={"Location": f"{CONFIRM}?next={quote(local_path(next_), safe='/')}"})


def _business(visitor: Visitor, catalog: str, key: str) -> str:
    """The key, where there is such a business for the visitor; UsageError for one that is not backed up."""
    account = visitor.ledger.businesses.get(catalog, key)
    if account is None:
        raise not_there()
    if account.status is not AccountStatus.ACTIVE:
        message = f"{visible(account.name)} is not active in the registry of {catalog}."
        raise UsageError(message, do="Only active businesses are backed up. Its backups stay.")
    return account.business


def _kind(text: str) -> str:
    """What a business gets; UsageError for anything else."""
    kinds = {"full", "incremental", "manual"}
    if text and text not in kinds:
        message = f"{visible(text)!r} is no kind of a business's backup."
        raise UsageError(message, do=f"There are {', '.join(sorted(kinds))}.")
    return text or "manual"


def _system(request: Request, name: str, backup_id: str, visitor: Visitor, business: str | None = None) -> Catalog:
    """The catalog, where what the run is about exists for the visitor: a backup's business, one of these, or all."""
    declared = systems_of(request)
    if name not in declared or (business is not None and declared[name].businesses is None):
        raise not_there()
    if business is not None:
        return declared[name]
    if backup_id in {"", LATEST}:
        visitor.check_sees(None)
        return declared[name]
    attempt = visitor.ledger.get(backup_id)
    if attempt is None or attempt.scope.catalog != name:
        raise not_there()
    return declared[name]


def _named(verb: RunVerb) -> str:
    return {RunVerb.TABLES: "backup", RunVerb.VERIFY: "verification", RunVerb.PRUNE: "clean-up",
            RunVerb.DELETE: "deletion", RunVerb.RENDER: "download",
            RunVerb.ADOPT: "adoption", RunVerb.BUSINESS: "backup"}.get(verb, verb.value)  # fmt: skip


@router.get("/runs")
def runs_page(request: Request, visitor: Annotated[Visitor, Depends(allowed(Permission.SEE))]) -> Response:
    """What goes on, and what people have asked for, newest first."""
    system = chosen_system(request)
    rows = visitor.ledger.run_requests.list(catalog=system.catalog if system else None, limit=_MOST)
    work = work_now(visitor.ledger, visitor.ports.clock())
    return page(
        request,
        "runs.html",
        rows=rows,
        work=work,
        may_stop=visitor.user.may(Permission.HANDLE_ALERTS),
        words=WORDS,
        more=len(rows) == _MOST,
        command="backup-pipeline list",
        live=True,
    )


@router.get("/runs/{number}")
def run_page(request: Request, number: UUID, visitor: Annotated[Visitor, Depends(allowed(Permission.SEE))]) -> Response:
    """One request: who wants what and why, how far it is, what it came to."""
    row = visitor.ledger.run_requests.get(number)
    if row is None:
        raise not_there()
    progress = _progress(row, visitor)
    log, no_log = _log(request, row)
    result = json.dumps(row.result, indent=1, default=str, ensure_ascii=False) if row.result else ""
    return page(
        request,
        "run.html",
        row=row,
        words=WORDS,
        facts=list(_facts(row)),
        progress=progress_in_words(progress) if progress else "",
        stage=progress.stage if progress else "",
        table=progress.table if progress else "",
        message=progress.message if progress else "",
        result=result,
        may_cancel=may_cancel(row, visitor),
        run_url=f"{visitor.settings.dagster_url.rstrip('/')}/runs/{row.run_id}" if row.run_id else "",
        log=log,
        no_log=no_log,
        log_command=f"backup-pipeline runs log {row.id}{'' if row.status.over else ' --follow'}",
        command=row.command,
        live=not row.status.over,
    )


def _log(request: Request, row: RunRequest) -> tuple[LogEnd | None, str]:
    """The end of the log of the row's run, or why there is none."""
    if row.run_id is None:
        return None, ""
    if any(each.name == "Dagster" for each in request.app.state.standing.away):
        return None, "Dagster has it, and does not answer."
    try:
        log = request.app.state.run_logs.of(row.run_id, launcher_of(request))
    except (DagsterAwayError, RefusedError) as error:
        return None, error.what
    return log, "" if log else "Dagster does not know the run any more."


def _facts(row: RunRequest) -> Iterator[tuple[str, object]]:
    yield "By", row.actor.for_people
    yield "When", f"{row.created_at:%Y-%m-%d %H:%M:%S} UTC"
    for name, value in row.detail.items():
        if name != "order":
            yield name.replace("_", " ").capitalize(), ", ".join(value) if isinstance(value, list) else value
    yield "Began", f"{row.started_at:%Y-%m-%d %H:%M:%S} UTC" if row.started_at else None
    yield "Ended", f"{row.finished_at:%Y-%m-%d %H:%M:%S} UTC" if row.finished_at else None
    if row.started_at and row.finished_at:
        yield "Took", duration((row.finished_at - row.started_at).total_seconds())


def _progress(row: RunRequest, visitor: Visitor) -> RunProgress | None:
    now = visitor.ports.clock()
    return next(
        (work.progress for work in work_now(visitor.ledger, now) if work.request and work.request.id == row.id), None
    )


def may_cancel(row: RunRequest, visitor: Visitor) -> bool:
    """Whoever asked for it, and who looks after alerts."""
    mine = row.actor == visitor.actor
    return not row.status.over and (mine or visitor.user.may(Permission.HANDLE_ALERTS))


@router.post("/runs/{number}/cancel")
def cancel(request: Request, number: UUID, visitor: Annotated[Visitor, Depends(allowed(Permission.SEE))]) -> Response:
    """Stop the run, or keep it from beginning."""
    row = visitor.ledger.run_requests.get(number)
    if row is None:
        raise not_there()
    if not row.status.over and not may_cancel(row, visitor):
        message = f"{row.actor.name} has asked for this run."
        raise RefusedError(message, do="Ask them, or an admin, to stop it.")
    after = cancel_request(number, visitor.actor, visitor.ports, launcher_of(request))
    word = "is canceled" if after.status is RequestStatus.CANCELED else "is asked to stop"
    return redirect(request, f"/runs/{number}", f"The run {word}.", tone="warning")


@router.post("/runs/dagster/{run_id}/cancel")
def cancel_unasked(
    request: Request, run_id: str, visitor: Annotated[Visitor, Depends(allowed(Permission.HANDLE_ALERTS))]
) -> Response:
    """Stop a run that nobody asked for here, such as the schedule's, and that the visitor sees at work."""
    going = work_now(visitor.ledger, visitor.ports.clock())
    if not any(work.progress and work.progress.run_id == run_id for work in going):
        raise not_there()
    launcher_of(request).terminate(run_id)
    visitor.ledger.audit(AuditEvent(visitor.ports.clock(), visitor.actor, "run canceled", None, {"run_id": run_id}))
    return redirect(request, "/runs", "The run is asked to stop.", tone="warning")
