"""The console's tables as this version of the code reads and writes them; a migration makes them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.core.access import Role
from backup_pipeline.core.access.sessions import LinkPurpose
from backup_pipeline.ledger.tables import metadata, plain_scope_columns

__all__ = [
    "api_answers",
    "api_keys",
    "api_usage_hours",
    "api_usage_logs",
    "console_sessions",
    "dagster_outbox",
    "download_links",
    "login_failures",
    "metadata",
    "one_time_links",
    "realtime_events",
    "run_progress",
    "run_requests",
    "system_settings",
    "users",
    "webhook_deliveries",
    "webhooks",
]

_INSTANT = DateTime(timezone=True)
_RUN_STATUSES = "'requested', 'launched', 'running', 'done', 'failed', 'canceled', 'refused'"


def _listed(names: type[Role] | type[LinkPurpose]) -> str:
    return ", ".join(f"'{name}'" for name in names)


users = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("may_run", Boolean, nullable=False, server_default=text("false")),
    Column("may_download", Boolean, nullable=False, server_default=text("false")),
    Column("businesses", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("created_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),  # who added the user
    Column("disabled_at", _INSTANT),
    Column("last_login_at", _INSTANT),
    # What a user proves to be: Argon2id; sealed with the console's own key; SHA-256; the provider's issuer and subject.
    Column("password_hash", Text),
    Column("password_at", _INSTANT),
    Column("totp_secret", Text),
    Column("totp_at", _INSTANT),  # since when it is asked for
    Column("totp_step", BigInteger),  # of the newest code that was used
    Column("recovery_codes", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("oidc_subject", Text, unique=True),
    CheckConstraint(f"role IN ({_listed(Role)})", name="users_role_check"),
    Index("users_name", func.lower(text("name")), unique=True),
)

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("user_id", BigInteger, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("seen_at", _INSTANT, nullable=False),
    Column("password_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("address", Text, nullable=False, server_default=""),
    Column("agent", Text, nullable=False, server_default=""),
    Column("factors", Text, nullable=False, server_default="password"),
    Column("ended_at", _INSTANT),
    Column("ended_why", Text),
    Index("console_sessions_of_user", "user_id", "id"),
)

login_failures = Table(
    "login_failures",
    metadata,
    Column("key", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", _INSTANT, nullable=False),
)

one_time_links = Table(
    "one_time_links",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("purpose", Text, nullable=False),
    Column("user_id", BigInteger),
    Column("actor", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("used_at", _INSTANT),
    CheckConstraint(f"purpose IN ({_listed(LinkPurpose)})", name="one_time_links_purpose_check"),
)

download_links = Table(
    "download_links",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("backup_id", Text, nullable=False),
    *plain_scope_columns(),
    Column("rendering", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("user_id", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("revoked_at", _INSTANT),
    Column("used_at", _INSTANT),
    Column("uses", Integer, nullable=False, server_default=text("0")),
    Index("download_links_of_backup", "backup_id", "id"),
)

run_requests = Table(
    "run_requests",
    metadata,
    Column("id", Uuid, primary_key=True),  # the form's own: two clicks are one row
    *plain_scope_columns(),
    Column("verb", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("reason", Text, nullable=False, server_default=""),
    Column("actor", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("status", Text, nullable=False),
    Column("run_id", Text),
    Column("launched_at", _INSTANT),
    Column("started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("alerted_at", _INSTANT),
    Column("error_message", Text),
    Column("command", Text, nullable=False, server_default=""),
    Column("result", JSONB(none_as_null=True)),
    CheckConstraint(f"status IN ({_RUN_STATUSES})", name="run_requests_status_check"),
    Index("run_requests_catalog", "catalog", text("created_at DESC")),
    Index("run_requests_run", "run_id"),
    Index("run_requests_open", "created_at", postgresql_where=text("status IN ('requested', 'launched', 'running')")),
)

run_progress = Table(
    "run_progress",
    metadata,
    Column("run_id", Text, primary_key=True),
    *plain_scope_columns(),
    Column("stage", Text, nullable=False, server_default=""),
    Column("table_name", Text, nullable=False, server_default=""),
    Column("tables_done", Integer, nullable=False, server_default=text("0")),
    Column("tables_total", Integer),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    Column("estimated_rows", BigInteger),
    Column("bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("total_bytes", BigInteger),
    Column("message", Text, nullable=False, server_default=""),
    Column("started_at", _INSTANT, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
)

realtime_events = Table(
    "realtime_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", _INSTANT, nullable=False, server_default=func.clock_timestamp()),
    Column("kind", Text, nullable=False),
    Column("catalog", Text),
    Column("business", Text),
    Column("subject", Text, nullable=False, server_default=""),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Index("realtime_events_at", "at"),
    Index("realtime_events_kind", "kind", "id"),
)

dagster_outbox = Table(
    "dagster_outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("created_at", _INSTANT, nullable=False),
    Column("catalog", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("sent_at", _INSTANT),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
)

system_settings = Table(
    "system_settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("shown", Text, nullable=False),
    Column("business", Text),
    Column("permissions", JSONB, nullable=False),
    Column("hourly_limit", Integer, nullable=False, server_default=text("1000")),
    Column("created_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),  # who made it
    Column("expires_at", _INSTANT),
    Column("revoked_at", _INSTANT),
    Column("last_used_at", _INSTANT),
    Column("last_address", Text),
    CheckConstraint("sha256 ~ '^[0-9a-f]{64}$' AND length(shown) <= 8", name="api_keys_digest_check"),
    CheckConstraint("hourly_limit BETWEEN 1 AND 100000", name="api_keys_limit_check"),
    Index("api_keys_name", func.lower(text("name")), unique=True),
)

api_usage_logs = Table(
    "api_usage_logs",
    metadata,
    Column("at", _INSTANT, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("business", Text),
    Column("route", Text, nullable=False),
    Column("allowed", Boolean, nullable=False),
    Column("calls", Integer, nullable=False, server_default=text("1")),
    Column("status", Integer),
    Column("ms", Integer),
    Column("bytes", BigInteger),
    Column("address", Text, nullable=False, server_default=""),
    Index("api_usage_logs_counted", "key_id", "at", postgresql_where=text("allowed")),
    Index("api_usage_logs_at", "at", "request_id"),
    Index("api_usage_logs_key", "key_id", "at", "request_id"),
    postgresql_partition_by="RANGE (at)",
)

api_usage_hours = Table(
    "api_usage_hours",
    metadata,
    Column("hour", _INSTANT, primary_key=True),
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("route", Text, primary_key=True),
    Column("allowed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("slowest", Integer, nullable=False),
    Column("addresses", JSONB, nullable=False),
)

api_answers = Table(
    "api_answers",
    metadata,
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("idempotency_key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("status", Integer),
    Column("body", Text, nullable=False, server_default=""),
    Index("api_answers_at", "at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # sealed with the console's own key
    Column("kinds", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("business", Text),
    Column("created_at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
    Column("last_event", BigInteger, nullable=False, server_default=text("0")),
    Column("disabled_at", _INSTANT),
    Index("webhooks_name", func.lower(text("name")), unique=True),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("webhook_id", BigInteger, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    Column("event", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_try_at", _INSTANT),
    Column("delivered_at", _INSTANT),
    Column("given_up_at", _INSTANT),
    Column("status", Integer),
    Column("last_error", Text),
    UniqueConstraint("webhook_id", "event_id", name="webhook_deliveries_once"),
    Index("webhook_deliveries_due", "next_try_at", postgresql_where=text("next_try_at IS NOT NULL")),
)
