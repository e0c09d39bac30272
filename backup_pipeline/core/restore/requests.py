"""A restore request: one row of `restore_requests`, its statuses and moves, who may approve it; the plan it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backup_pipeline.core.catalog.model import Anomalies, Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.errors import (
    DecidedError,
    LedgerError,
    LockedError,
    PreflightRefusedError,
    RefusedError,
    StalePlanError,
    UsageError,
)
from backup_pipeline.core.ledger import Owner, has_no_owner
from backup_pipeline.core.relations import Database, Relation, write_relation
from backup_pipeline.core.restore import FIRST, Mode, RestorePlan, RestoreReport, RestoreRequest, TableRestore, Which
from backup_pipeline.core.restore.businesses import (
    BusinessPlan,
    BusinessReport,
    changed_since,
    read_selection,
    without_examples,
)
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.core.text import looks_secret

Plan = RestorePlan | BusinessPlan
"""What a restore would do: with tables of a backup, or with the rows of one business."""


@dataclass(frozen=True)
class Address:
    """Where a target is, for people: its URL without the password, and the database's name."""

    url: str
    database: str


class RestoreStatus(StrEnum):
    """Where a restore request stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


_ONWARDS = frozenset({RestoreStatus.RUNNING, RestoreStatus.REJECTED, RestoreStatus.FAILED, RestoreStatus.CANCELED})
MOVES: dict[RestoreStatus, frozenset[RestoreStatus]] = {
    RestoreStatus.REQUESTED: _ONWARDS | {RestoreStatus.APPROVED},
    RestoreStatus.APPROVED: _ONWARDS,
    RestoreStatus.REJECTED: frozenset(),
    RestoreStatus.RUNNING: frozenset({RestoreStatus.DONE, RestoreStatus.FAILED, RestoreStatus.CANCELED}),
    RestoreStatus.DONE: frozenset(),
    RestoreStatus.FAILED: frozenset(),
    RestoreStatus.CANCELED: frozenset(),
}


@dataclass(frozen=True)
class _RequestColumns:
    """What is asked for, and where it stands."""

    backup_id: str
    scope: Scope
    mode: str
    target: str
    database: str
    actor: Actor
    created_at: datetime
    id: int = 0
    tables: tuple[str, ...] = ()
    into_schema: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)
    safety_backup: bool = True
    store: Which = FIRST
    selection: Mapping[str, Any] | None = None
    reason: str = ""
    status: RestoreStatus = RestoreStatus.REQUESTED


@dataclass(frozen=True, kw_only=True)
class _OutcomeColumns:
    """Who decided, when it ran, how it ended."""

    decided_actor: Actor | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    plan: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    error_message: str | None = None
    run_id: str | None = None
    owner: Owner | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True)
class RestoreRow(_OutcomeColumns, _RequestColumns):
    """One row of `restore_requests`. Times are UTC.

    `id` is 0 until the ledger has given a number. `tables` are catalog names, none means all of the backup. `target`
    is the URL without its password; `store` is the one that is read, `first` or `second`; `selection`, what of a
    business is brought back, `plan` and `report` are JSON, as their values write themselves.
    """

    @property
    def last_sign(self) -> datetime:
        """When its owner was last known to live."""
        return self.heartbeat_at or self.started_at or self.created_at

    @property
    def request(self) -> RestoreRequest:
        """What it asks for; not confirmed yet."""
        return RestoreRequest(
            backup_id=self.backup_id,
            tables=self.tables,
            mode=Mode(self.mode),
            into_schema=self.into_schema,
            rename=self.rename,
            fill=self.fill,
            safety_backup=self.safety_backup,
            store=self.store,
            actor=self.actor,
            reason=self.reason,
            selection=None if self.selection is None else read_selection(self.selection),
        )


@dataclass(frozen=True)
class RestoreChange(_OutcomeColumns):
    """What becomes of a request. What is None stays as it is; without a status only an open request may change.

    `of_plan` is the digest of the plan that whoever decides has seen: where another one stands in the row by then,
    nothing changes.
    """

    status: RestoreStatus | None = None
    of_plan: str | None = None


def check_move(number: int, before: RestoreStatus, after: RestoreStatus) -> None:
    """Raise DecidedError unless `before` may become `after`."""
    if after not in MOVES[before]:
        allowed = ", ".join(sorted(MOVES[before])) or "nothing"
        message = f"Restore request {number} is {before} and can not become {after}; it can become {allowed}."
        raise DecidedError(message, do=f"Look at it with `backup-pipeline restores show {number}`.")


def after(row: RestoreRow, change: RestoreChange) -> RestoreRow:
    """The row once `change` is written; DecidedError when its status may not move there, or when it has ended.

    StalePlanError when the change is about another plan than the row's.
    """
    if change.status is not None:
        check_move(row.id, row.status, change.status)
    elif not MOVES[row.status]:
        message = f"Restore request {row.id} is {row.status}: nothing about it can change any more."
        raise DecidedError(message, do=f"Look at it with `backup-pipeline restores show {row.id}`.")
    if change.plan is not None and row.status is RestoreStatus.APPROVED:
        message = f"Restore request {row.id} is approved: the plan that was approved stands, and can not change."
        raise LedgerError(message, do="Reject it, and make a new request.")
    check_seen_plan(row, change.of_plan)
    values = {column.name: getattr(change, column.name) for column in fields(change) if column.name != "of_plan"}
    changed = replace(row, **{name: value for name, value in values.items() if value is not None})
    if not MOVES[changed.status] and changed.plan is not None:
        return replace(changed, plan=without_examples(changed.plan))
    return changed


def check_may_begin(row: RestoreRow) -> None:
    """Raise LedgerError unless the row is `requested`: every other status is earned by a move from there."""
    if row.status is not RestoreStatus.REQUESTED:
        message = f"A restore request can not begin as {row.status}."
        raise LedgerError(message, do="Begin it as requested, then move it.")


def check_seen_plan(row: RestoreRow, digest: str | None) -> None:
    """Raise StalePlanError when somebody decides about the plan `digest`, and the row has another one by now."""
    if digest is None or digest_of(row) == digest:
        return
    message = (
        f"The plan is stale: restore request {row.id} was looked at with the plan {digest[:12]}, and has the plan "
        f"{digest_of(row)[:12] or 'of an older version'} now. Nothing was decided."
    )
    raise StalePlanError(message, do="Look at the plan that it has now, then decide.")


def check_decision(row: RestoreRow, actor: Actor, *, alone: bool = False) -> None:
    """Raise RefusedError when whoever asked for the restore would approve it, UsageError when nobody is named.

    Who is `alone`, because nobody else may approve anything, approves their own requests too. RefusedError as well for
    a request without a plan: there is nothing that the approval would be for.
    """
    if not _person(actor):
        message = f"Nobody is named who approves restore request {row.id}."
        raise UsageError(message, do="Run it as a user of the operating system that has a name.")
    if not alone and _person(actor) == _person(row.actor):
        message = f"Restore request {row.id} was made by {row.actor.for_people}, who can not approve it too."
        do = (
            "Let another super admin approve it in the console, or another user of the machine: "
            f"`sudo -u NAME backup-pipeline restores approve {row.id}`."
        )
        raise RefusedError(message, do=do)
    if row.status is RestoreStatus.REQUESTED and not digest_of(row):
        message = f"Restore request {row.id} has no plan that could be approved."
        raise RefusedError(message, do="Reject it, and make a new one: `backup-pipeline restore … --ask`.")


def check_approved_plan(row: RestoreRow, plan: Plan) -> None:
    """Raise StalePlanError, saying what is different, when the request was approved, but not for this plan."""
    if row.status is not RestoreStatus.APPROVED or digest_of(row) == plan.digest:
        return
    why = "the backup or the target is not what it was"
    if isinstance(plan, BusinessPlan) and row.plan:
        why = changed_since(row.plan, plan.diff)
    message = (
        f"The plan is stale: restore request {row.id} was approved for the plan "
        f"{digest_of(row)[:12] or 'of an older version'}, and what it would do now is another one, {plan.digest[:12]}: "
        f"{why}. Nothing was touched."
    )
    raise StalePlanError(message, do="Make a new request, look at its plan, and have that one approved.")


def check_refusals(plan: Plan) -> None:
    """Raise PreflightRefusedError, with the plan's first reason, when it is refused."""
    if not plan.refused:
        return
    first = plan.refusals[0]
    more = f" ({len(plan.refusals)} reasons in all)" if len(plan.refusals) > 1 else ""
    about = f"{first.table}: " if first.table else ""
    message = f"The restore is refused, and nothing was touched. {about}{first.message}{more}"
    raise PreflightRefusedError(message, do=first.do)


def check_confirmed(plan: Plan, *, do: str = "") -> None:
    """Raise PreflightRefusedError when the plan has to be confirmed and was not; `do` says how."""
    if plan.confirmed:
        return
    given = f" ({plan.request.confirm!r} is not its name)" if plan.request.confirm else ""
    message = (
        f"The restore can change rows that {plan.whose} has now, and is not confirmed{given}. Nothing was touched."
    )
    raise PreflightRefusedError(message, do=do or f"Look at the plan; then confirm with --confirm {plan.confirm_name}.")


def digest_of(row: RestoreRow) -> str:
    """The digest of the plan that stands in the row; empty without one."""
    return str((row.plan or {}).get("digest", ""))


def check_may_run(row: RestoreRow, *, needs_approval: bool) -> None:
    """Raise unless the request may be performed now: RefusedError with the reason, LockedError when it runs already."""
    if row.status is RestoreStatus.APPROVED or (row.status is RestoreStatus.REQUESTED and not needs_approval):
        return
    if row.status is RestoreStatus.REQUESTED:
        message = f"Restore request {row.id} is not approved yet. Nothing was touched."
        do = (
            f"Another user of the operating system than {row.actor.for_people} approves it: `backup-pipeline restores "
            f"approve {row.id}`; then run `backup-pipeline restore --request {row.id}`."
        )
        raise RefusedError(message, do=do)
    if row.status is RestoreStatus.RUNNING:
        message = f"Restore request {row.id} is running already, since {row.started_at:%Y-%m-%d %H:%M:%S} UTC."
        raise LockedError(message, do=f"Wait for it: `backup-pipeline restores show {row.id}`.")
    message = f"Restore request {row.id} is {row.status}; a request is performed once."
    raise RefusedError(message, do="Make a new one: run `backup-pipeline restore` again with its options.")


def is_abandoned(row: RestoreRow, *, now: datetime, host: str, alive: Callable[[Owner], bool]) -> bool:
    """Whether a running restore has no living owner; decided as it is for backups.

    So is one whose process of this host died before it began it. One that waits for approval has no owner yet, and one
    at whose prompt somebody sits on another host gives no sign of life.
    """
    if row.status is RestoreStatus.REQUESTED:
        return row.owner is not None and row.owner.host == host and not alive(row.owner)
    if row.status is not RestoreStatus.RUNNING:
        return False
    return has_no_owner(row.owner, row.last_sign, now=now, host=host, alive=alive)


def _person(actor: Actor) -> str:
    """The name as names are compared: neither case nor spaces, nor another way in, make another person of somebody."""
    return " ".join(actor.name.split()).casefold()


def kept_plan(document: Mapping[str, Any]) -> Plan:
    """The plan that its `as_json` wrote, without the DDL itself: its digest is the one in `document`.

    UsageError when another version wrote it, and it can not be read.
    """
    steps = {"left_out": document.get("left_out", ())}
    try:
        if "diff" in document:
            return _business_plans().validate_python(document)
        return _plans().validate_python({**document, "steps": steps})
    except ValidationError as error:
        message = f"The plan was written by another version, and can not be read: {error.error_count()} fields differ."
        raise UsageError(message, do="Make the plan again.") from error


@cache
def _plans() -> TypeAdapter[RestorePlan]:
    """Made when the first plan is read: that takes some milliseconds."""
    return TypeAdapter(RestorePlan)


@cache
def _business_plans() -> TypeAdapter[BusinessPlan]:
    return TypeAdapter(BusinessPlan)


def kept_report(document: Mapping[str, Any]) -> RestoreReport | BusinessReport:
    """The report that its `as_json` wrote; UsageError when another version wrote it."""
    try:
        if "business" in document:
            return TypeAdapter(BusinessReport).validate_python(dict(document))
        return _reports().validate_python(dict(document))
    except ValidationError as error:
        message = f"The report was written by another version: {error.error_count()} fields differ."
        raise UsageError(message, do="`backup-pipeline restores show` prints what can be read of it.") from error


@cache
def _reports() -> TypeAdapter[RestoreReport]:
    return TypeAdapter(RestoreReport)


_OPEN_SECRET = "looks like a secret, and no catalog says that it may leave the database"  # noqa: S105
_NOT_SHOWN = "not in the backup, which was read from something else than this table: a safe view may hide it"
_UNTOUCHED = "not touched by the restore"


def safety_catalog(catalog: str, tables: Sequence[TableRestore], database: Database, base: Catalog | None) -> Catalog:
    """A catalog of those `tables` of a restore that `database`, its target, has: every column, but for secrets.

    What keeps a column out of backups keeps it out of this one: what `base`, the catalog of the tables, says about it;
    that the backup was not read from this table itself but from something that shows less of it, such as a safe view;
    and a name that looks like a secret which nobody has dealt with.
    """
    return Catalog(
        catalog=catalog,
        title=f"{catalog}, before a restore",
        timezone=base.timezone if base else "UTC",
        schedule=None,
        shrinkage=Shrinkage(ratio=0),
        anomalies=Anomalies(trailing=0),
        tables={
            table.name: _spec(table, database.relations[table.target], base)
            for table in tables
            if table.target in database.relations
        },
        excluded=(Excluded(table="*", reason=_UNTOUCHED),),
    )


def _spec(table: TableRestore, relation: Relation, base: Catalog | None) -> TableSpec:
    known = base is not None and table.name in base.tables
    spec = base.tables[table.name] if base and known else TableSpec()
    there = {column.name for column in relation.columns}
    kept_out = {column: why for column, why in spec.exclude.items() if column in there}
    kept_out |= dict.fromkeys(sorted(_not_shown(table, there) - set(kept_out)), _NOT_SHOWN)
    open_secrets = {column for column in there - set(kept_out) if looks_secret(column) and not spec.handles(column)}
    kept_out |= dict.fromkeys(sorted(open_secrets), _OPEN_SECRET)
    return TableSpec(
        relation=write_relation(*table.target),
        key=spec.key if (there - set(kept_out)).issuperset(spec.key) else (),
        sheet=base.sheet_of(table.name) if base and known else None,
        exclude=kept_out,
        mask=tuple(column for column in spec.mask if column in there and column not in kept_out),
        allow={column: why for column, why in spec.allow.items() if column in there and column not in kept_out},
    )


def _not_shown(table: TableRestore, there: set[str]) -> set[str]:
    """The target's columns that the backup does not hold, where it was read from another relation than the target."""
    return there - {column.target for column in table.columns} if table.source != table.target else set()
