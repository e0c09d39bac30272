"""Between the values of `core.ledger` and the rows of the ledger's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping

from backup_pipeline.core.hold import Hold
from backup_pipeline.core.ledger import Attempt, AuditEvent, Outcome, Owner
from backup_pipeline.core.statuses import Status

_SAME_NAME = tuple(field.name for field in fields(Attempt) if field.name != "owner")
_OUTCOME = tuple(field.name for field in fields(Outcome))


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """The columns of `attempt`."""
    return {name: storable(getattr(attempt, name)) for name in _SAME_NAME} | owner_columns(attempt.owner)


def outcome_row(attempt: Attempt) -> dict[str, Any]:
    """Those columns of `attempt` that an outcome may change."""
    return {name: storable(getattr(attempt, name)) for name in _OUTCOME}


def attempt_of(row: RowMapping) -> Attempt:
    """The attempt that a row of `backup_logs` holds, its times in UTC."""
    values = {name: utc(row[name]) for name in _SAME_NAME}
    values |= {
        "status": Status(row["status"]),
        "tables_wanted": tuple(row["tables_wanted"]),
        "warnings": tuple(row["warnings"]),
        "owner": owner_of(row),
    }
    return Attempt(**values)


def audit_row(event: AuditEvent) -> dict[str, Any]:
    """The columns of `event`."""
    return {field.name: storable(getattr(event, field.name)) for field in fields(event)}


def audit_of(row: RowMapping) -> AuditEvent:
    """The event that a row of `backup_audit` holds, its time in UTC."""
    return AuditEvent(**{field.name: utc(row[field.name]) for field in fields(AuditEvent)})


def hold_columns(hold: Hold | None) -> dict[str, Any]:
    """The columns that say who holds it, why and until when."""
    return {
        "held_by": storable(hold.by) if hold else None,
        "held_reason": storable(hold.reason) if hold else None,
        "held_until": hold.until if hold else None,
    }


def owner_columns(owner: Owner | None) -> dict[str, Any]:
    """The columns that say who runs it."""
    return {
        "owner_host": storable(owner.host) if owner else None,
        "owner_pid": owner.pid if owner else None,
        "owner_started": owner.started if owner else None,
    }


def owner_of(row: RowMapping) -> Owner | None:
    """The owner that a row names."""
    return Owner(row["owner_host"], row["owner_pid"], row["owner_started"]) if row["owner_host"] else None


def utc(value: Any) -> Any:
    """`value`, in UTC when it is an instant."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def storable(value: Any) -> Any:
    """`value` as PostgreSQL can hold it.

    Text can hold neither NUL nor lone surrogates, and error messages and file names bring both: a row must close
    whatever the message was, so such characters become U+FFFD and `?`.
    """
    if isinstance(value, str):
        return str(value).replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, tuple | list):
        return [storable(item) for item in value]
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    return value
