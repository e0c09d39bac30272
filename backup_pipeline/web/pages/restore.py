"""The restore wizard: what, when, the plan, the confirmation; then the request waits for approval.

Where somebody stands is in the address until the plan is made, and in the ledger from then on: nothing is lost by a
reload, and nothing needs a script.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from backup_pipeline.core.access import Permission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError, PreflightRefusedError, UsageError
from backup_pipeline.core.ledger import GOOD, Attempt
from backup_pipeline.core.listing import BackupFilter
from backup_pipeline.core.restore import TABLE_MODES, Mode, RemarkSeverity, RowChange, Selection
from backup_pipeline.core.restore.businesses import BusinessPlan
from backup_pipeline.core.restore.requests import kept_plan
from backup_pipeline.core.runs import RunRequest, RunVerb
from backup_pipeline.core.scope import Purpose
from backup_pipeline.operations.restore.decisions import (
    AskedRestore,
    RestoreWish,
    ask_for_approval,
    read_wish,
)
from backup_pipeline.operations.restore.requests import RestoreCaller
from backup_pipeline.operations.run_requests import RunWish
from backup_pipeline.presentation.restore import MODES, kept_plan_document
from backup_pipeline.web.pages.backups import visible_backup
from backup_pipeline.web.pages.drills import predicted_seconds
from backup_pipeline.web.pages.rows import sees_rows
from backup_pipeline.web.people import Visitor, allowed, launched, not_there
from backup_pipeline.web.rendering import page, redirect, systems_of
from backup_pipeline.wiring.restore import NamedTarget, offered_targets, wished_target

router = APIRouter()

STEPS = ("What", "When", "Plan", "Confirm", "Approval")
_ASKS = Depends(allowed(Permission.REQUEST_RESTORE))
_LOOKED_AT = 500
_BACKUPS = 8
"""So many of the newest are offered; an older one is found by its date, or on its own page."""


class RestoreChoice(BaseModel):
    """What was chosen so far, as it stands in the address. `at` is a time on the wall clock of the system."""

    step: str = "what"
    system: str = ""
    table: list[str] = Field(default_factory=list)
    mode: str = Mode.INSERT_MISSING.value
    target: str = ""
    schema_: str = Field(default="", alias="schema")
    backup: str = ""
    at: str = ""

    def fields(self, *but: str) -> Sequence[tuple[str, str]]:
        """The choice as the fields of a form, without those named."""
        single = {"system": self.system, "mode": self.mode, "target": self.target, "schema": self.schema_}
        single |= {"backup": self.backup, "at": self.at}
        given = [(name, value) for name, value in single.items() if value and name not in but]
        return [*given, *(("table", name) for name in self.table if "table" not in but)]


@dataclass(frozen=True)
class Chosen:
    """The choice against what there is: the catalog, its targets, its backups; `problem` is what does not fit."""

    choice: RestoreChoice
    catalog: Catalog
    targets: Mapping[str, NamedTarget]
    newest: Sequence[Attempt]
    backup: Attempt | None = None
    problem: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@router.get("/restore")
def restore(request: Request, visitor: Annotated[Visitor, _ASKS]) -> Response:
    """The wizard's beginning."""
    return redirect(request, "/restore/new")


@router.get("/restore/new")
def wizard(request: Request, choice: Annotated[RestoreChoice, Query()], visitor: Annotated[Visitor, _ASKS]) -> Response:
    """The first three steps: what, when, and all of it once more before a plan is made."""
    systems = systems_of(request)
    if choice.backup and not choice.system:
        choice = choice.model_copy(update={"system": visible_backup(choice.backup, visitor).scope.catalog})
    if not choice.system and len(systems) == 1:
        choice = choice.model_copy(update={"system": next(iter(systems))})
    if not choice.system:
        return page(request, "restore.html", step=1, steps=STEPS, chosen=None, command=_HELP)
    if choice.system not in systems:
        message = f"There is no system {choice.system}."
        raise NotFoundError(message, do=f"There are {', '.join(systems)}.")
    chosen = _chosen(choice, systems[choice.system], visitor)
    step = {"what": 1, "when": 2, "plan": 3}.get(choice.step, 1)
    if step > 1 and (problem := _problem_of_what(chosen)):
        chosen, step = replace(chosen, problem=problem), 1
    if step > 2 and chosen.backup is None:
        chosen, step = replace(chosen, problem=chosen.problem or "Choose a backup, or a date."), 2
    status = 422 if chosen.problem else 200
    return page(request, "restore.html", status=status, step=step, steps=STEPS, **_shown(chosen))


class PlanForm(BaseModel):
    """What a plan is wanted of. `request` is the form's own id: sent twice, it is one run."""

    request: UUID
    backup: str = ""
    mode: str = ""
    target: str = ""
    table: list[str] = Field(default_factory=list)
    schema_: str = Field(default="", alias="schema", max_length=63)

    def wish(self) -> RestoreWish:
        """The same as a wish; UsageError where it is none."""
        wanted = {"backup_id": self.backup, "mode": self.mode, "target": self.target, "tables": self.table}
        return read_wish({**wanted, "into_schema": self.schema_})


@router.post("/restore/plan")
def make_plan(request: Request, visitor: Annotated[Visitor, _ASKS], form: Annotated[PlanForm, Form()]) -> Response:
    """Let a run make the plan; it reads backup and target, and writes nothing but the plan."""
    wish = form.wish()
    return planned_wish(request, visitor, form.request, wish)


def planned_wish(request: Request, visitor: Visitor, request_id: UUID, wish: RestoreWish) -> Response:
    """Let a run make the plan of a wish, in the visitor's name; its page."""
    row = visible_backup(wish.backup_id, visitor)
    catalog = systems_of(request).get(row.scope.catalog)
    if catalog is None:
        message = f"The catalog of backup {row.backup_id}, {row.scope.catalog}, is not declared here any more."
        raise UsageError(message, do="Restore it in a terminal: backup-pipeline restore.")
    named = wished_target(visitor.settings, catalog.catalog, wish)
    detail = {"dry_run": True, "plan": wish.as_json(), "command": command_of(wish, named)}
    wanted = RunWish(request_id, RunVerb.RESTORE, catalog, visitor.actor, detail=detail, business=row.scope.business)
    launched(request, visitor, wanted)
    return redirect(request, f"/restore/plan/{request_id}")


@router.get("/restore/plan/{request_id}")
def plan_page(request: Request, request_id: UUID, visitor: Annotated[Visitor, _ASKS]) -> Response:
    """The plan, once the run has made it; how far it is until then."""
    own = _own_plan(request_id, visitor)
    run, wish, kept = own.run, own.wish, own.kept
    plan = kept_plan(kept) if kept else None
    values = sees_rows(visitor, systems_of(request).get(run.scope.catalog))
    return page(
        request,
        "restore_plan.html",
        steps=STEPS,
        run=run,
        of_business=isinstance(plan, BusinessPlan),
        **_again(wish, run),
        again_request=uuid4(),
        wish=wish,
        words=MODES[wish.mode],
        plan=plan,
        digest=str(kept.get("digest", "")) if kept else "",
        shown=kept_plan_document(kept, request=None, safety_backup=True, values=values) if kept else None,
        command=run.command,
        live=not run.status.over,
    )


@router.get("/restore/plan/{request_id}/confirm")
def confirm_page(request: Request, request_id: UUID, visitor: Annotated[Visitor, _ASKS]) -> Response:
    """What the plan would change, once more in short, and the name to type."""
    own = _own_plan(request_id, visitor)
    if not own.kept or kept_plan(own.kept).refused:
        return redirect(request, f"/restore/plan/{request_id}")
    return _confirm_form(request, visitor, own)


@router.post("/restore/plan/{request_id}/ask")
def ask(
    request: Request,
    request_id: UUID,
    visitor: Annotated[Visitor, _ASKS],
    confirm: Annotated[str, Form(max_length=200)] = "",
    reason: Annotated[str, Form(max_length=1_000)] = "",
) -> Response:
    """Make the request, with this plan. Asked twice for the same plan, it is one request."""
    own = _own_plan(request_id, visitor)
    if not own.kept:
        message = "There is no plan yet."
        raise UsageError(message, do="Wait until it is made.")
    if not reason.strip():
        return _confirm_form(request, visitor, own, Typed(confirm, no_reason="Whoever approves it wants to know why."))
    before = visitor.ledger.restores.list(limit=100)
    known = next((row for row in before if (row.plan or {}).get("run_request") == str(request_id)), None)
    if known is not None:
        return redirect(request, f"/requests/{known.id}", f"Request {known.id} waits already.", tone="active")
    seen = kept_plan(own.kept).confirmed_with(confirm.strip() or None)
    seen = replace(seen, request=replace(seen.request, actor=visitor.actor, reason=reason.strip()))
    goal = wished_target(visitor.settings, own.run.scope.catalog, own.wish)
    asked = AskedRestore(seen, {**own.kept, "run_request": str(request_id)})
    try:
        row = ask_for_approval(asked, goal, visitor.ports, RestoreCaller(visitor.actor))
    except PreflightRefusedError as error:
        return _confirm_form(request, visitor, own, Typed(confirm, reason, problem=error.what))
    return redirect(request, f"/requests/{row.id}", f"Request {row.id} waits for approval. Nothing was touched.")


@dataclass(frozen=True)
class Typed:
    """What was typed into the confirmation, and what is wrong with it."""

    name: str = ""
    reason: str = ""
    problem: str = ""
    no_reason: str = ""


def _confirm_form(request: Request, visitor: Visitor, plan_of: OwnPlan, typed: Typed = Typed()) -> Response:
    run, wish, kept = plan_of.run, plan_of.wish, plan_of.kept or {}
    plan = kept_plan(kept)
    return page(
        request,
        "restore_confirm.html",
        status=422 if typed.problem or typed.no_reason else 200,
        steps=STEPS,
        run=run,
        words=MODES[wish.mode],
        plan=plan,
        of_business=isinstance(plan, BusinessPlan),
        digest=str(kept.get("digest", "")),
        warnings=[remark for remark in plan.remarks if remark.severity is RemarkSeverity.WARNING],
        typed=typed,
        predicted=predicted_seconds(run.scope.catalog, visitor),
        command=run.command,
    )


@dataclass(frozen=True)
class OwnPlan:
    """A run that the visitor has asked for, to plan the wish; `kept` is the plan, as JSON, once it is made."""

    run: RunRequest
    wish: RestoreWish
    kept: Mapping[str, Any] | None


def _own_plan(request_id: UUID, visitor: Visitor) -> OwnPlan:
    """The run with that id; as unknown as any where somebody else has asked for it."""
    run = visitor.ledger.run_requests.get(request_id)
    if run is None or run.actor != visitor.actor or run.verb is not RunVerb.RESTORE or "plan" not in run.detail:
        raise not_there()
    wanted, plan = run.detail["plan"], (run.result or {}).get("plan")
    return OwnPlan(
        run, read_wish(wanted if isinstance(wanted, Mapping) else {}), plan if isinstance(plan, Mapping) else None
    )


def _again(wish: RestoreWish, run: RunRequest) -> dict[str, Any]:
    """Where the wish came from, and the form that plans it once more."""
    selection, scope = wish.selection, run.scope
    if selection is None:
        fields = _choice_of(wish, run).fields("system", "at")
        back = f"/restore/new?system={quote(scope.catalog, safe='')}"
        return {"back": back, "again_action": "/restore/plan", "again_fields": fields}
    of_business = f"/businesses/{quote(scope.catalog, safe='')}/{quote(scope.business or '', safe='')}/restore"
    keys = [
        f"{table}={key}" for each in (selection.rows, selection.but) for table, texts in each.items() for key in texts
    ]
    fields = [("backup", wish.backup_id), *(("table", name) for name in wish.tables)]
    fields += [("change", change.value) for change in selection.changes]
    fields += [("rows", "\n".join(keys)), ("how", "but" if selection.but else "only")]
    rows = {"kept_rows": "\n".join(keys), "rows_request": uuid4()}
    return {"back": of_business, "again_action": of_business, "again_fields": fields, **rows}


def _choice_of(wish: RestoreWish, run: RunRequest) -> RestoreChoice:
    """The choice that the wish was made of, to go back to."""
    given = {"system": run.scope.catalog, "table": list(wish.tables), "mode": wish.mode.value, "target": wish.target}
    return RestoreChoice.model_validate({**given, "schema": wish.into_schema or "", "backup": wish.backup_id})


def _chosen(choice: RestoreChoice, catalog: Catalog, visitor: Visitor) -> Chosen:
    newest = _good(catalog, visitor, limit=_BACKUPS)
    chosen = Chosen(choice, catalog, offered_targets(visitor.settings, catalog.catalog), newest)
    counts = newest[0].table_counts if newest else {}
    chosen = replace(chosen, counts=counts)
    if choice.backup:
        row = visible_backup(choice.backup, visitor)
        if row.scope.catalog != catalog.catalog or not (row.status.good and row.kind.bundled):
            return replace(chosen, problem="This backup can not be restored: it is of another system, or not there.")
        return replace(chosen, backup=row)
    if choice.at:
        return _as_of(chosen, visitor)
    return chosen


def _as_of(chosen: Chosen, visitor: Visitor) -> Chosen:
    """With the newest backup whose rows are of that time or earlier."""
    try:
        local = datetime.fromisoformat(chosen.choice.at)
    except ValueError:
        return replace(chosen, problem="That is no date.")
    at = local if local.tzinfo else local.replace(tzinfo=ZoneInfo(chosen.catalog.timezone))
    rows = _good(chosen.catalog, visitor, limit=5, until=at + timedelta(seconds=1))
    row = next((row for row in rows if (row.snapshot_at or row.started_at) <= at), None)
    if row is None:
        return replace(
            chosen, problem=f"There is no backup of that time: the rows of {chosen.choice.at} are not there."
        )
    return replace(chosen, backup=row)


def _good(catalog: Catalog, visitor: Visitor, *, limit: int, until: datetime | None = None) -> Sequence[Attempt]:
    """The newest good backups of the whole system, or of the businesses that are the visitor's.

    Not those that were made before a restore: their own page leads here with one of them chosen.
    """
    wanted = BackupFilter(catalog.catalog, tuple(sorted(GOOD)), until=until)
    whole = visitor.user.sees_every_business
    rows = (
        row
        for row in visitor.ledger.listings.page(wanted, limit=_LOOKED_AT).rows
        if row.kind.bundled and row.scope.purpose is Purpose.BACKUP and (row.scope.business is None) is whole
    )
    return list(islice(rows, limit))


def _problem_of_what(chosen: Chosen) -> str:
    choice = chosen.choice
    if choice.mode not in {mode.value for mode in TABLE_MODES}:
        return "Choose what is to be done with the rows."
    if choice.target not in chosen.targets:
        return "Choose the database that it goes into: one that is named in the settings."
    if unknown := set(choice.table) - set(chosen.catalog.tables) - set(chosen.counts):
        return f"The system has no table {', '.join(sorted(unknown))}."
    return ""


def _shown(chosen: Chosen) -> dict[str, Any]:
    choice, backup = chosen.choice, chosen.backup
    target = chosen.targets.get(choice.target)
    wish = (
        RestoreWish(backup.backup_id, choice.target, Mode(choice.mode), tuple(choice.table), choice.schema_ or None)
        if backup and target and choice.mode in {mode.value for mode in TABLE_MODES}
        else None
    )
    tables = list(dict.fromkeys([*chosen.catalog.tables, *chosen.counts]))
    return {
        "chosen": chosen,
        "choice": choice,
        "tables": [(name, chosen.counts.get(name)) for name in tables],
        "mode_name": wish_words(choice.mode),
        "modes": [(mode.value, *MODES[mode]) for mode in TABLE_MODES],
        "targets": chosen.targets,
        "target": target,
        "lacking": sorted(set(choice.table) - set(backup.table_counts)) if backup else [],
        "request_uuid": uuid4(),
        "zone": chosen.catalog.timezone,
        "command": command_of(wish, target) if wish and target else _HELP,
    }


def _chosen_words(selection: Selection) -> Iterator[str]:
    for option, keys in (("--row", selection.rows), ("--but", selection.but)):
        for table, texts in keys.items():
            yield from (word for key in texts for word in (option, f"{table}={key}"))
    yield from (word for change in RowChange if change not in selection.changes for word in ("--without", change.value))


def wish_words(mode: str) -> str:
    """The name of a mode, for people."""
    return next((words[0] for known, words in MODES.items() if known.value == mode), "")


_HELP = "backup-pipeline restore --help"


def command_of(wish: RestoreWish, target: NamedTarget) -> str:
    """The same in a terminal: it makes the request, with its plan, for another person to approve."""
    tables = [word for table in wish.tables for word in ("--table", table)]
    if wish.selection is not None:
        return shlex.join(
            [
                "backup-pipeline",
                "businesses",
                "restore",
                wish.backup_id,
                *tables,
                *_chosen_words(wish.selection),
                "--ask",
            ]
        )
    schema = ["--into-schema", wish.into_schema] if wish.into_schema else []
    into = ["--to-source"] if wish.target == "source" else ["--target-url", target.address.url]
    words = ["backup-pipeline", "restore", wish.backup_id, *tables, "--mode", wish.mode.value, *schema, *into, "--ask"]
    return shlex.join(words)
