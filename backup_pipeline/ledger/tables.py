"""The ledger's tables as this version of the code reads and writes them; the migrations make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    Uuid,
    and_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.ledger import Attempt, AuditEvent, Hold, Outcome, Owner, ShardStatus, Status
from backup_pipeline.core.names import Kind, Trigger, backup_uuid
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.core.scope import Actor, Purpose, Scope, parse_actor
from backup_pipeline.core.verification import Level, Verification

metadata = MetaData()

_INSTANT = DateTime(timezone=True)
_STATUSES = ", ".join(f"'{status}'" for status in Status)
_COPY_STATUSES = ", ".join(f"'{status}'" for status in CopyStatus)
_RESTORE_STATUSES = ", ".join(f"'{status}'" for status in RestoreStatus)


def plain_scope_columns() -> tuple[Column[Any], ...]:
    """New columns that say what a row is about."""
    return (
        Column("catalog", Text, nullable=False),
        Column("business", Text),
        Column("purpose", Text, nullable=False, server_default=Purpose.BACKUP.value),
    )


backup_logs = Table(
    "backup_logs",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    # The columns of the source documents.
    Column("file_name", Text),
    Column("file_path", Text),
    Column("file_size_bytes", BigInteger),
    Column("record_count", BigInteger),
    Column("status", Text, nullable=False),
    Column("error_message", Text),
    Column("created_at", _INSTANT, nullable=False),
    # What is requested, by whom.
    Column("backup_id", Text, nullable=False, unique=True),
    *plain_scope_columns(),
    Column("kind", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("actor", Text, nullable=False),
    Column("late", Boolean, nullable=False, server_default=text("false")),
    Column("partition_date", Date, nullable=False),
    Column("tables_wanted", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # Who runs it.
    Column("run_id", Text),
    Column("owner_host", Text),
    Column("owner_pid", Integer),
    Column("owner_started", Double),
    Column("heartbeat_at", _INSTANT),
    Column("started_at", _INSTANT, nullable=False),
    # How it ended.
    Column("finished_at", _INSTANT),
    Column("snapshot_at", _INSTANT),
    Column("table_counts", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("table_bytes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("sha256", Text),
    Column("manifest_sha256", Text),
    Column("seal_key", Text),
    Column("goes_on_from", Text),
    Column("consistent", Boolean),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # What is known and decided about it later.
    Column("verification_level", Integer),
    Column("verification_passed", Boolean),
    Column("verified_at", _INSTANT),
    Column("held_until", _INSTANT),
    Column("held_reason", Text),
    Column("held_actor", Text),
    Column("expires_at", _INSTANT),
    # Which due time of the schedule it is for.
    Column("due_at", _INSTANT),
    CheckConstraint(f"status IN ({_STATUSES})", name="backup_logs_status_check"),
    Index("backup_logs_newest", text("created_at DESC"), text("backup_id DESC")),
    Index("backup_logs_catalog_newest", "catalog", text("created_at DESC"), text("backup_id DESC")),
    Index("backup_logs_day", "catalog", "partition_date"),
    Index("backup_logs_business", "catalog", "business", "snapshot_at", postgresql_where=text("business IS NOT NULL")),
    Index("backup_logs_due", "catalog", "due_at", unique=True, postgresql_where=text("due_at IS NOT NULL")),
    Index("backup_logs_run", "run_id"),
    Index(
        "backup_logs_drilled",
        "catalog",
        text("verified_at DESC"),
        postgresql_where=text("verification_passed AND verification_level >= 4"),
    ),
    Index("backup_logs_running", "catalog", postgresql_where=text("status = 'running'")),
    Index("backup_logs_expected", "catalog", postgresql_where=text("status = 'expected'")),
    Index(
        "backup_logs_good",
        "catalog",
        text("created_at DESC"),
        text("backup_id DESC"),
        postgresql_where=text("status IN ('success', 'success_with_warnings')"),
    ),
)

backup_audit = Table(
    "backup_audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("backup_id", Text),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # From where; a trigger sets it where a writer does not.
    Column("address", Text),
    Column("session", BigInteger),
    Column("request_id", Text),
    # The chain, by a trigger: the SHA-256 of the row before, and of this one with it.
    Column("previous", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Index("backup_audit_of_backup", "backup_id", "id"),
    Index("backup_audit_action", "action", "id"),
)

backup_shapes = Table(
    "backup_shapes",
    metadata,
    Column("backup_id", Text, primary_key=True),
    Column("shape", JSONB, nullable=False),
)

backup_tallies = Table(  # a trigger of backup_logs counts
    "backup_tallies",
    metadata,
    Column("scope", Text, primary_key=True),  # its key
    Column("ended_as", Text, primary_key=True),
    Column("attempts", BigInteger, nullable=False),
)

backup_readings = Table(
    "backup_readings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("backup_id", Text, nullable=False),
    Column("work", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("owner_host", Text, nullable=False),
    Column("owner_pid", Integer, nullable=False),
    Column("owner_started", Double, nullable=False),
    # By the database's clock.
    Column("began_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Index("backup_readings_of_backup", "backup_id"),
)

shards = Table(
    "shards",
    metadata,
    Column("work", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("detail", JSONB, nullable=False),
    Column("status", Text, nullable=False, server_default=ShardStatus.WAITING.value),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    # Who has it, and when that was heard of last, by the database's clock.
    Column("owner_host", Text),
    Column("owner_pid", Integer),
    Column("owner_started", Double),
    Column("run_id", Text),
    Column("heartbeat_at", _INSTANT),
    Column("result", JSONB),
    Column("created_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("status IN ('waiting', 'running', 'done')", name="shards_status_check"),
)

restore_requests = Table(
    "restore_requests",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    # What is requested, by whom.
    Column("backup_id", Text, nullable=False),
    *plain_scope_columns(),
    Column("tables", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("mode", Text, nullable=False),
    Column("into_schema", Text),
    Column("rename", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("fill", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("safety_backup", Boolean, nullable=False, server_default=text("true")),
    Column("store", Text, nullable=False, server_default="first"),
    Column("selection", JSONB(none_as_null=True)),
    Column("target", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", _INSTANT, nullable=False),
    Column("status", Text, nullable=False),
    # Who decided.
    Column("decided_actor", Text),
    Column("decided_at", _INSTANT),
    Column("decision_reason", Text),
    # Who runs it, and how it ended.
    Column("run_id", Text),
    Column("owner_host", Text),
    Column("owner_pid", Integer),
    Column("owner_started", Double),
    Column("heartbeat_at", _INSTANT),
    Column("started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("plan", JSONB(none_as_null=True)),
    Column("report", JSONB(none_as_null=True)),
    Column("error_message", Text),
    CheckConstraint(f"status IN ({_RESTORE_STATUSES})", name="restore_requests_status_check"),
    Index("restore_requests_of_backup", "backup_id", "id"),
    Index("restore_requests_catalog", "catalog", "id"),
    Index("restore_requests_run", "run_id"),
    Index("restore_requests_running", "id", postgresql_where=text("status = 'running'")),
)

backup_copies = Table(
    "backup_copies",
    metadata,
    Column("backup_id", Text, primary_key=True),
    Column("store", Text, primary_key=True),
    *plain_scope_columns(),
    Column("status", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
    Column("bytes", BigInteger),
    Column("sha256", Text),
    Column("verification_level", Integer),
    Column("verification_passed", Boolean),
    Column("verified_at", _INSTANT),
    Column("error_message", Text),
    Column("owner_host", Text),
    Column("owner_pid", Integer),
    Column("owner_started", Double),
    CheckConstraint(f"status IN ({_COPY_STATUSES})", name="backup_copies_status_check"),
    Index("backup_copies_catalog", "catalog", "backup_id"),
    Index("backup_copies_good", "catalog", postgresql_where=text("status = 'good'")),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),
    # Who holds it.
    Column("holder", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("run_id", Text),
    Column("owner_host", Text, nullable=False),
    Column("owner_pid", Integer, nullable=False),
    Column("owner_started", Double, nullable=False),
    # Since when and until when, by the database's clock.
    Column("acquired_at", _INSTANT, nullable=False),
    Column("heartbeat_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("released_at", _INSTANT),
    Index("leases_holder", "holder"),
)

alert_outbox = Table(
    "alert_outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("created_at", _INSTANT, nullable=False),
    Column("alert", JSONB, nullable=False),
    Column("channel", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", _INSTANT, nullable=False),
    Column("claimed_until", _INSTANT),
    Column("delivered_at", _INSTANT),
    Column("last_error", Text),
    Column("given_up_at", _INSTANT),
    Index("alert_outbox_undelivered", "id", postgresql_where=text("delivered_at IS NULL")),
)

due_accounts = Table(
    "due_accounts",
    metadata,
    Column("catalog", Text, primary_key=True),
    Column("accounted_until", _INSTANT),
)

alert_threads = Table(
    "alert_threads",
    metadata,
    Column("scope", Text, primary_key=True),  # its key
    Column("topic", Text, primary_key=True),
    Column("opened_at", _INSTANT),
    Column("failures", Integer, nullable=False),
    Column("notified", Integer, nullable=False),
    Column("notified_at", _INSTANT),
    Column("reached", Boolean, nullable=False, server_default=text("true")),
)


_SAME_NAME = tuple(
    field.name for field in fields(Attempt) if field.name not in {"scope", "owner", "actor", "verification", "hold"}
)
_INSTANTS = tuple(name for name in _SAME_NAME if "datetime" in str(Attempt.__annotations__[name]))
_OUTCOME = tuple(field.name for field in fields(Outcome) if field.name != "verification")


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """The columns of `attempt`."""
    return (
        {"id": backup_uuid(attempt.backup_id)}
        | {name: storable(getattr(attempt, name)) for name in _SAME_NAME}
        | scope_columns(attempt.scope)
        | actor_column(attempt.actor)
        | owner_columns(attempt.owner)
        | hold_columns(attempt.hold)
        | verification_columns(attempt.verification)
    )


def outcome_row(attempt: Attempt) -> dict[str, Any]:
    """Those columns of `attempt` that an outcome may change."""
    changed = {name: storable(getattr(attempt, name)) for name in _OUTCOME}
    return changed | verification_columns(attempt.verification)


def attempt_of(row: RowMapping) -> Attempt:
    """The attempt that a row of `backup_logs` holds, its times in UTC."""
    values = {name: row[name] for name in _SAME_NAME}
    values |= {name: utc(values[name]) for name in _INSTANTS if values[name] is not None}
    values |= {
        "scope": scope_of(row),
        "kind": Kind(row["kind"]),
        "type": Trigger(row["type"]),
        "status": Status(row["status"]),
        "actor": parse_actor(row["actor"]),
        "verification": verification_of(row),
        "hold": hold_of(row),
        "tables_wanted": tuple(row["tables_wanted"]),
        "warnings": tuple(row["warnings"]),
        "owner": owner_of(row),
    }
    return Attempt(**values)


def audit_row(event: AuditEvent) -> dict[str, Any]:
    """The columns of `event`."""
    return {field.name: storable(getattr(event, field.name)) for field in fields(event)} | actor_column(event.actor)


def audit_of(row: RowMapping) -> AuditEvent:
    """The event that a row of `backup_audit` holds, its time in UTC."""
    values = {field.name: utc(row[field.name]) for field in fields(AuditEvent)}
    return AuditEvent(**(values | {"actor": parse_actor(row["actor"])}))


def scope_columns(scope: Scope) -> dict[str, Any]:
    """The columns that say what a row is about."""
    return {"catalog": scope.catalog, "business": scope.business, "purpose": scope.purpose.value}


def scope_of(row: RowMapping) -> Scope:
    """What a row is about."""
    return Scope(row["catalog"], business=row["business"], purpose=Purpose(row["purpose"]))


def is_of(table: Table, scope: Scope) -> ColumnElement[bool]:
    """Whether a row of `table` is about `scope`."""
    business = table.c.business.is_not_distinct_from(scope.business)
    return and_(table.c.catalog == scope.catalog, table.c.purpose == scope.purpose.value, business)


def actor_column(actor: Actor) -> dict[str, Any]:
    """The column that says who acts, of whichever table."""
    return {"actor": storable(str(actor))}


def hold_columns(hold: Hold | None) -> dict[str, Any]:
    """The columns that say who holds it, why and until when."""
    return {
        "held_actor": storable(str(hold.actor)) if hold else None,
        "held_reason": storable(hold.reason) if hold else None,
        "held_until": hold.until if hold else None,
    }


def verification_columns(verification: Verification | None) -> dict[str, Any]:
    """The columns that say what the last verification came to."""
    level = verification.level if verification else None
    return {
        "verification_level": None if level is None else level.value,
        "verification_passed": verification.passed if verification else None,
        "verified_at": verification.at if verification else None,
    }


def verification_of(row: RowMapping) -> Verification | None:
    """The last verification that a row tells of."""
    level, at = row["verification_level"], utc(row["verified_at"])
    return Verification(None if level is None else Level(level), at, passed=row["verification_passed"]) if at else None


def hold_of(row: RowMapping) -> Hold | None:
    """The hold that a row tells of."""
    actor = row["held_actor"]
    return Hold(parse_actor(actor), row["held_reason"] or "", utc(row["held_until"])) if actor is not None else None


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
