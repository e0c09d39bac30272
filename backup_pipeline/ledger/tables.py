"""The ledger's tables as this version of the code reads and writes them; the migrations make them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.core.restore_requests import RestoreStatus
from backup_pipeline.core.statuses import Status

metadata = MetaData()

_INSTANT = DateTime(timezone=True)
_STATUSES = ", ".join(f"'{status}'" for status in Status)
_RESTORE_STATUSES = ", ".join(f"'{status}'" for status in RestoreStatus)

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
    # What was asked, by whom.
    Column("backup_id", Text, nullable=False, unique=True),
    Column("catalog", Text, nullable=False),
    Column("business", Text),
    Column("kind", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_by", Text, nullable=False),
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
    Column("sha256", Text),
    Column("consistent", Boolean),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # What is known and decided about it later.
    Column("verification_level", Text),
    Column("verified_at", _INSTANT),
    Column("held_until", _INSTANT),
    Column("held_reason", Text),
    Column("held_by", Text),
    Column("expires_at", _INSTANT),
    CheckConstraint(f"status IN ({_STATUSES})", name="backup_logs_status_check"),
    Index("backup_logs_newest", text("created_at DESC"), text("backup_id DESC")),
    Index("backup_logs_catalog_newest", "catalog", text("created_at DESC"), text("backup_id DESC")),
    Index("backup_logs_day", "catalog", "partition_date"),
    Index("backup_logs_run", "run_id"),
    Index("backup_logs_running", "catalog", postgresql_where=text("status = 'running'")),
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
    Index("backup_audit_of_backup", "backup_id", "id"),
)

restore_requests = Table(
    "restore_requests",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    # What was asked, by whom.
    Column("backup_id", Text, nullable=False),
    Column("catalog", Text, nullable=False),
    Column("tables", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("mode", Text, nullable=False),
    Column("into_schema", Text),
    Column("rename", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("fill", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("safety_backup", Boolean, nullable=False, server_default=text("true")),
    Column("target", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", _INSTANT, nullable=False),
    Column("status", Text, nullable=False),
    # Who decided.
    Column("decided_by", Text),
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
