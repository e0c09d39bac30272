"""restore_requests, and who may see them: the roles, the policies and the promises that backup_logs has.

    role                      restore_requests
    admin, super_admin        select, insert, update
    backup_pipeline_writer    select, insert, update
    everybody else            nothing

Rows are never deleted: a request that came to nothing is a status.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None

_TABLE = "restore_requests"
_INSTANT = sa.DateTime(timezone=True)
_STATUSES = ("requested", "approved", "rejected", "running", "done", "failed", "canceled")
_ROLES = ", ".join((*PEOPLE, WRITER))


def upgrade() -> None:
    """Make the table and its policies."""
    listed = ", ".join(f"'{status}'" for status in _STATUSES)
    op.create_table(
        _TABLE,
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        *_wish_columns(),
        *_run_columns(),
        sa.CheckConstraint(f"status IN ({listed})", name="restore_requests_status_check"),
    )
    op.create_index("restore_requests_of_backup", _TABLE, ["backup_id", "id"])
    op.create_index("restore_requests_catalog", _TABLE, ["catalog", "id"])
    op.create_index("restore_requests_run", _TABLE, ["run_id"])
    op.create_index("restore_requests_running", _TABLE, ["id"], postgresql_where=sa.text("status = 'running'"))
    _guard()


def downgrade() -> None:
    """Drop the table."""
    op.drop_table(_TABLE)


def _wish_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("backup_id", sa.Text, nullable=False),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("tables", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("into_schema", sa.Text),
        sa.Column("rename", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("fill", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("safety_backup", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
    ]


def _run_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", _INSTANT),
        sa.Column("decision_reason", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.Column("heartbeat_at", _INSTANT),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("plan", JSONB),
        sa.Column("report", JSONB),
        sa.Column("error_message", sa.Text),
    ]


def _guard() -> None:
    """Let the ledger's roles read, add and change rows, and nobody anything else; forced on the owner too."""
    op.execute(f"ALTER TABLE {_TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {_TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {_TABLE} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {_TABLE} FROM CURRENT_USER")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {_TABLE} TO {_ROLES}")
    clauses = {"SELECT": "USING (true)", "INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
    for verb, clause in clauses.items():
        op.execute(f"CREATE POLICY {_TABLE}_{verb.lower()} ON {_TABLE} FOR {verb} TO {_ROLES} {clause}")
