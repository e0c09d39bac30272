"""backup_logs and backup_audit, and who may see them.

Row-level security is on and forced, so that nobody but a superuser passes it, the tables' owner included:

    role                      backup_logs              backup_audit
    admin, super_admin        select, insert, update   select, insert
    backup_pipeline_writer    select, insert, update   select, insert
    everybody else            nothing                  nothing

`backup_pipeline_writer` is the pipeline itself. The role that migrates becomes its member, so ownership gives no right
that membership does not. Rows of `backup_logs` are never deleted: a deleted backup is a status. `backup_audit` only
grows: no role may update, delete or truncate, and a trigger refuses those statements even to a superuser.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER
from backup_pipeline.ledger.migrate import require_roles

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_STATUSES = (
    "expected",
    "running",
    "success",
    "success_with_warnings",
    "failed",
    "missed",
    "canceled",
    "expired",
    "deleted",
)
_ROLES = ", ".join((*PEOPLE, WRITER))


def upgrade() -> None:
    """Make both tables, their roles and their policies."""
    require_roles(op.get_bind())
    _make_backup_logs()
    _make_backup_audit()
    _guard("backup_logs", "SELECT", "INSERT", "UPDATE")
    _guard("backup_audit", "SELECT", "INSERT")
    _make_append_only("backup_audit")
    op.execute(f"GRANT SELECT ON backup_ledger_version TO {WRITER}")


def downgrade() -> None:
    """Drop both tables; the roles stay, because other databases of the cluster may use them."""
    op.drop_table("backup_audit")
    op.drop_table("backup_logs")
    op.execute("DROP FUNCTION backup_audit_is_append_only()")


def _make_backup_logs() -> None:
    op.create_table(
        "backup_logs",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("file_name", sa.Text),
        sa.Column("file_path", sa.Text),
        sa.Column("file_size_bytes", sa.BigInteger),
        sa.Column("record_count", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("backup_id", sa.Text, nullable=False, unique=True),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("business", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("partition_date", sa.Date, nullable=False),
        sa.Column("tables_wanted", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        *_run_columns(),
        *_later_columns(),
        sa.CheckConstraint(
            "status IN ({})".format(", ".join(f"'{status}'" for status in _STATUSES)), name="backup_logs_status_check"
        ),
    )
    newest = [sa.text("created_at DESC"), sa.text("backup_id DESC")]
    op.create_index("backup_logs_newest", "backup_logs", newest)
    op.create_index("backup_logs_catalog_newest", "backup_logs", ["catalog", *newest])
    op.create_index("backup_logs_day", "backup_logs", ["catalog", "partition_date"])
    op.create_index("backup_logs_run", "backup_logs", ["run_id"])
    op.create_index("backup_logs_running", "backup_logs", ["catalog"], postgresql_where=sa.text("status = 'running'"))


def _run_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("run_id", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.Column("heartbeat_at", _INSTANT),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("snapshot_at", _INSTANT),
        sa.Column("table_counts", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("sha256", sa.Text),
        sa.Column("consistent", sa.Boolean),
        sa.Column("warnings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    ]


def _later_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("verification_level", sa.Text),
        sa.Column("verified_at", _INSTANT),
        sa.Column("held_until", _INSTANT),
        sa.Column("held_reason", sa.Text),
        sa.Column("held_by", sa.Text),
        sa.Column("expires_at", _INSTANT),
    ]


def _make_backup_audit() -> None:
    op.create_table(
        "backup_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("backup_id", sa.Text),
        sa.Column("detail", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    )
    op.create_index("backup_audit_of_backup", "backup_audit", ["backup_id", "id"])


def _guard(table: str, *commands: str) -> None:
    """Let the ledger's roles do `commands` on `table`, and nobody anything else."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    # The owner keeps what changing the table's shape needs; its data is for members only.
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    op.execute(f"GRANT {', '.join(commands)} ON {table} TO {_ROLES}")
    for verb in commands:
        clauses = {"SELECT": "USING (true)", "INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
        op.execute(f"CREATE POLICY {table}_{verb.lower()} ON {table} FOR {verb} TO {_ROLES} {clauses[verb]}")


def _make_append_only(table: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '{table} is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege'; "
        "END $$"
    )
    # A statement trigger: a row trigger would stay silent where policies hide every row.
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()"
    )
    # ALWAYS: also in a session that plays a replica, where ordinary triggers are off.
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
