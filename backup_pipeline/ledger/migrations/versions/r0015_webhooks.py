"""Webhooks, and what is to be sent to them.

    table               viewer   business_admin   admin   super_admin   pipeline_console   pipeline_writer
    webhooks            -        -                -       siu           siu                -
    webhook_deliveries  -        -                -       su            siud               -

The secret of a webhook is sealed with the console's own key: whoever reads the ledger can sign nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import CONSOLE

revision = "r0015"
down_revision = "r0014"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_TABLES = ("webhooks", "webhook_deliveries")


def upgrade() -> None:
    """Make the tables and their policies."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("kinds", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("business", sa.Text),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("last_event", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("disabled_at", _INSTANT),
    )
    op.create_index("webhooks_name", "webhooks", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("webhook_id", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("event", JSONB, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_try_at", _INSTANT),
        sa.Column("delivered_at", _INSTANT),
        sa.Column("given_up_at", _INSTANT),
        sa.Column("status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.UniqueConstraint("webhook_id", "event_id", name="webhook_deliveries_once"),
    )
    due = sa.text("next_try_at IS NOT NULL")
    op.create_index("webhook_deliveries_due", "webhook_deliveries", ["next_try_at"], postgresql_where=due)
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    for command in ("SELECT", "INSERT", "UPDATE"):
        _allow("webhooks", ("super_admin", CONSOLE), command)
        _allow("webhook_deliveries", (CONSOLE,), command)
    for command in ("SELECT", "UPDATE"):
        _allow("webhook_deliveries", ("super_admin",), command)
    _allow("webhook_deliveries", (CONSOLE,), "DELETE")


def downgrade() -> None:
    """Undo it."""
    op.execute(f"DROP TABLE {', '.join(_TABLES)}")


def _allow(table: str, roles: tuple[str, ...], command: str) -> None:
    using = "" if command == "INSERT" else "USING (true)"
    checked = "WITH CHECK (true)" if command in {"INSERT", "UPDATE"} else ""
    for role in roles:
        op.execute(f"GRANT {command} ON {table} TO {role}")
        policy = f"{table}_{command.lower()}_{role}"
        op.execute(f"CREATE POLICY {policy} ON {table} FOR {command} TO {role} {using} {checked}")
