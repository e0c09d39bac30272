"""What people decide about a restore: to ask for the plan that they have seen, to approve, reject or take it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore import Mode, RestoreRequest, Selection
from backup_pipeline.core.restore.businesses import read_selection
from backup_pipeline.core.restore.requests import (
    Plan,
    RestoreChange,
    RestoreRow,
    RestoreStatus,
    check_confirmed,
    check_decision,
    check_refusals,
    digest_of,
)
from backup_pipeline.core.scope import NOBODY, Actor
from backup_pipeline.operations.alerting import decided_alert, tell
from backup_pipeline.operations.mirror import mirror
from backup_pipeline.operations.restore.requests import (
    Goal,
    RestoreCaller,
    add_request,
    audit_restore,
    cancel,
    find_request,
    tell_waiting,
)


@dataclass(frozen=True)
class RestoreWish:
    """What somebody wants to see the plan of. `target` is the name of a restore target of the settings, or `source`.

    With a `selection` it is one business that is brought back, in the database where it is.
    """

    backup_id: str
    target: str
    mode: Mode = Mode.INSERT_MISSING
    tables: tuple[str, ...] = ()
    into_schema: str | None = None
    selection: Selection | None = None

    def request(self, actor: Actor = NOBODY, reason: str = "") -> RestoreRequest:
        """The same as a request of `actor`; with a safety backup, always."""
        return RestoreRequest(
            self.backup_id,
            self.tables,
            self.mode,
            self.into_schema,
            safety_backup=True,
            actor=actor,
            reason=reason,
            selection=self.selection,
        )

    def as_json(self) -> dict[str, object]:
        """The same as JSON: what a run finds in the ledger."""
        document = {**asdict(self), "mode": self.mode.value, "tables": list(self.tables)}
        if self.selection is None:
            del document["selection"]
            return document
        return document | {"selection": self.selection.as_json()}


def read_wish(document: Mapping[str, Any]) -> RestoreWish:
    """The wish that `as_json` wrote, or that came with a form; UsageError for what is none."""
    mode, known = str(document.get("mode", "")), {mode.value: mode for mode in Mode}
    if mode not in known:
        message = f"{mode!r} is not a way to restore."
        raise UsageError(message, do=f"Choose one of {', '.join(known)}.")
    tables = tuple(dict.fromkeys(str(table) for table in document.get("tables") or ()))
    schema = str(document.get("into_schema") or "").strip() or None
    backup_id = parse_backup_id(str(document.get("backup_id", "")), latest=False)
    chosen = document.get("selection")
    if (known[mode] is Mode.DIFFERENCE) != isinstance(chosen, Mapping):
        message = "Only one business of many is brought back by its difference, and always."
        raise UsageError(message, do="Begin on the page of the business.")
    selection = read_selection(chosen) if isinstance(chosen, Mapping) else None
    return RestoreWish(str(backup_id), str(document.get("target", "")), known[mode], tables, schema, selection)


@dataclass(frozen=True)
class AskedRestore:
    """What somebody asks for who has seen a plan: the plan, and the same as it was kept (JSON, with its digest).

    `plan.request.confirm` is what the person typed.
    """

    plan: Plan
    kept: Mapping[str, Any]


def ask_for_approval(asked: AskedRestore, goal: Goal, ports: Ports, caller: RestoreCaller) -> RestoreRow:
    """Make a request with the plan that somebody has seen, for another person to approve. Nothing is connected.

    It does what the plan says and nothing else: whoever performs it plans anew, and stops where that differs.
    PreflightRefusedError for a plan that is refused, or that was not confirmed by the database's name.
    """
    check_refusals(asked.plan)
    check_confirmed(asked.plan, do=f"Type {asked.plan.confirm_name} to ask for it.")
    if not asked.kept.get("digest"):
        message = "The plan has no digest: nobody could approve it."
        raise UsageError(message, do="Make the plan again.")
    row = add_request(asked.plan.request, goal, ports, replace(caller, needs_approval=True), asked.kept)
    tell_waiting(row, ports)
    return row


def approve(  # who, what, and what they knew
    number: int, actor: Actor, ports: Ports, *, reason: str = "", of_plan: str | None = None, alone: bool = False
) -> RestoreRow:
    """Approve a request, with the plan that stands in its row, in the name of `actor`.

    `of_plan` is the digest of the plan that `actor` has looked at; StalePlanError when the row has another one by now.
    `alone`: nobody else may approve anything. RefusedError when it is `actor` who asked for it and somebody else could
    decide, or when it has no plan.
    """
    row = find_request(number, ports.ledger)
    check_decision(row, actor, alone=alone)
    seen = of_plan if of_plan is not None else digest_of(row)
    return _decide(row, RestoreChange(RestoreStatus.APPROVED, of_plan=seen), actor, reason, ports)


def reject(number: int, actor: Actor, ports: Ports, *, reason: str) -> RestoreRow:
    """Reject a request that has not begun, approved or not; who asked for it may take it back so."""
    row = find_request(number, ports.ledger)
    return _decide(row, RestoreChange(RestoreStatus.REJECTED), actor, reason, ports)


def take_back(number: int, actor: Actor, ports: Ports, *, reason: str = "") -> RestoreRow:
    """End a request of one's own that nobody has decided about; RefusedError for one of somebody else."""
    row = find_request(number, ports.ledger)
    if row.actor != actor:
        message = f"Restore request {row.id} was made by {row.actor.for_people}: only they can take it back."
        raise RefusedError(message, do="A super admin can reject it.")
    cancel(row, f"Taken back. {reason}".strip(), ports)
    ended = find_request(number, ports.ledger)
    tell(decided_alert(ended, actor, reason, ports.clock()), ports)
    return ended


def _decide(row: RestoreRow, change: RestoreChange, actor: Actor, reason: str, ports: Ports) -> RestoreRow:
    now = ports.clock()
    change = replace(change, decided_actor=actor, decided_at=now, decision_reason=reason)
    decided = ports.ledger.restores.change(row.id, change)
    approved = change.status is RestoreStatus.APPROVED
    alone = actor == row.actor if approved else None
    plan = digest_of(decided) if approved else None
    audit_restore(decided, str(change.status), actor, ports, reason=reason, plan=plan, by_who_asked=alone)
    if attempt := ports.ledger.get(decided.backup_id):
        mirror(
            attempt, f"Restore request {decided.id} is {decided.status} by {actor.for_people}. {reason}".strip(), ports
        )
    tell(decided_alert(decided, actor, reason, now), ports)
    return decided
