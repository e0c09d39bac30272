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

from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.restore_requests import RestoreStatus
from backup_pipeline.core.statuses import Status

metadata = MetaData()

_INSTANT = DateTime(timezone=True)
_STATUSES = ", ".join(f"'{status}'" for status in Status)
_COPY_STATUSES = ", ".join(f"'{status}'" for status in CopyStatus)
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
    Column("table_bytes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("sha256", Text),
    Column("manifest_sha256", Text),
    Column("seal_key", Text),
    Column("consistent", Boolean),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # What is known and decided about it later.
    Column("verification_level", Text),
    Column("verified_at", _INSTANT),
    Column("held_until", _INSTANT),
    Column("held_reason", Text),
    Column("held_by", Text),
    Column("expires_at", _INSTANT),
    # Which due time of the schedule it is for.
    Column("due_at", _INSTANT),
    CheckConstraint(f"status IN ({_STATUSES})", name="backup_logs_status_check"),
    Index("backup_logs_newest", text("created_at DESC"), text("backup_id DESC")),
    Index("backup_logs_catalog_newest", "catalog", text("created_at DESC"), text("backup_id DESC")),
    Index("backup_logs_day", "catalog", "partition_date"),
    Index("backup_logs_due", "catalog", "due_at", unique=True, postgresql_where=text("due_at IS NOT NULL")),
    Index("backup_logs_run", "run_id"),
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
    Index("backup_audit_of_backup", "backup_id", "id"),
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
    Column("catalog", Text, primary_key=True),
    Column("ended_as", Text, primary_key=True),
    Column("attempts", BigInteger, nullable=False),
)

backup_readings = Table(
    "backup_readings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("backup_id", Text, nullable=False),
    Column("work", Text, nullable=False),
    Column("reader", Text, nullable=False),
    Column("owner_host", Text, nullable=False),
    Column("owner_pid", Integer, nullable=False),
    Column("owner_started", Double, nullable=False),
    # By the database's clock.
    Column("began_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Index("backup_readings_of_backup", "backup_id"),
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
    Column("store", Text, nullable=False, server_default="first"),
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

backup_copies = Table(
    "backup_copies",
    metadata,
    Column("backup_id", Text, primary_key=True),
    Column("store", Text, primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
    Column("bytes", BigInteger),
    Column("sha256", Text),
    Column("verification_level", Text),
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
    Column("held_by", Text, nullable=False),
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
    Column("catalog", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("opened_at", _INSTANT),
    Column("failures", Integer, nullable=False),
    Column("told", Integer, nullable=False),
    Column("told_at", _INSTANT),
    Column("heard", Boolean, nullable=False, server_default=text("true")),
)
