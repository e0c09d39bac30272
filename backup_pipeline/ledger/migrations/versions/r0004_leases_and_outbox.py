"""leases and alert_outbox, and who may see them: the roles, the policies and the promises that backup_logs has.

    role                      leases, alert_outbox
    admin, super_admin        select, insert, update
    backup_pipeline_writer    select, insert, update
    everybody else            nothing

Rows are never deleted: a lease that was given back keeps its token, an alert that was delivered is history.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_ROLES = ", ".join((*PEOPLE, WRITER))


def upgrade() -> None:
    """Make both tables and their policies."""
    op.create_table("leases", *_lease_columns())
    op.create_index("leases_holder", "leases", ["holder"])
    op.create_table("alert_outbox", *_entry_columns())
    undelivered = sa.text("delivered_at IS NULL")
    op.create_index("alert_outbox_undelivered", "alert_outbox", ["id"], postgresql_where=undelivered)
    _guard("leases")
    _guard("alert_outbox")


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("alert_outbox")
    op.drop_table("leases")


def _lease_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held_by", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("owner_host", sa.Text, nullable=False),
        sa.Column("owner_pid", sa.Integer, nullable=False),
        sa.Column("owner_started", sa.Double, nullable=False),
        sa.Column("acquired_at", _INSTANT, nullable=False),
        sa.Column("heartbeat_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("released_at", _INSTANT),
    ]


def _entry_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("alert", JSONB, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_try_at", _INSTANT, nullable=False),
        sa.Column("claimed_until", _INSTANT),
        sa.Column("delivered_at", _INSTANT),
        sa.Column("last_error", sa.Text),
        sa.Column("given_up_at", _INSTANT),
    ]


def _guard(table: str) -> None:
    """Let the ledger's roles read, add and change rows, and nobody anything else; forced on the owner too."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {_ROLES}")
    clauses = {"SELECT": "USING (true)", "INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
    for verb, clause in clauses.items():
        op.execute(f"CREATE POLICY {table}_{verb.lower()} ON {table} FOR {verb} TO {_ROLES} {clause}")
