"""Rows of the ledger as JSON for programs, with names that stay when fields and columns get others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backup_pipeline.core.alerts import OutboxEntry, alert_json
from backup_pipeline.core.copies import Copy
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.restore.requests import RestoreRow
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Verification


def attempt_json(row: Attempt, copies: Sequence[Copy] | None = None) -> dict[str, object]:
    """A row of `backup_logs`; with those of `copies` that are its own, when they are given."""
    hold = row.hold
    kept = {name: value for name, value in vars(row).items() if name not in {"scope", "actor", "verification", "hold"}}
    shown = {
        **kept,
        "business": None,
        **_scope_json(row.scope),
        "created_by": str(row.actor),
        **_verification_json(row.verification),
        "held_until": hold.until if hold else None,
        "held_reason": hold.reason if hold else None,
        "held_by": str(hold.actor) if hold else None,
    }
    if copies is None:
        return shown
    return {**shown, "copies": [copy_json(copy) for copy in copies if copy.backup_id == row.backup_id]}


def copy_json(copy: Copy) -> dict[str, object]:
    """A row of `backup_copies`."""
    kept = {name: value for name, value in vars(copy).items() if name not in {"scope", "verification"}}
    return {**kept, **_scope_json(copy.scope), **_verification_json(copy.verification)}


def restore_json(row: RestoreRow) -> dict[str, object]:
    """A row of `restore_requests`."""
    kept = {name: value for name, value in vars(row).items() if name not in {"scope", "actor", "decided_actor"}}
    decided = str(row.decided_actor) if row.decided_actor else None
    return {**kept, **_scope_json(row.scope), "requested_by": str(row.actor), "decided_by": decided}


def entry_json(entry: OutboxEntry) -> dict[str, object]:
    """A row of `alert_outbox`."""
    return {**vars(entry), "alert": alert_json(entry.alert)}


def _scope_json(scope: Scope) -> dict[str, object]:
    catalog: dict[str, object] = {"catalog": str(replace(scope, business=None))}
    return catalog if scope.business is None else {**catalog, "business": scope.business}


def _verification_json(verification: Verification | None) -> dict[str, object]:
    """`2` when level 2 was reached; `1 FAILED` when something was wrong at the next; a time alone when it was at 0."""
    if verification is None:
        return {"verification_level": None, "verified_at": None}
    failed = "" if verification.passed else " FAILED"
    level = None if verification.level is None else f"{verification.level.value}{failed}"
    return {"verification_level": level, "verified_at": verification.at}
