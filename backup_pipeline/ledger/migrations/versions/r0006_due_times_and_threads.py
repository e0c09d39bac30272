"""When a backup was due, until when due times are accounted for, and the threads of alerts.

    role                      due_accounts              alert_threads
    admin, super_admin        select, insert, update    select, insert, update
    backup_pipeline_writer    select, insert, update    select, insert, update
    everybody else            nothing                   nothing

A due time has one row of `backup_logs`, which a unique index holds.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER

revision = "r0006"
down_revision = "r0005"
branch_labels = None
depends_on = None

_TABLES = ("due_accounts", "alert_threads")
_INSTANT = sa.DateTime(timezone=True)
_ROLES = ", ".join((*PEOPLE, WRITER))


def upgrade() -> None:
    """Add the column and its index, make both tables and their policies."""
    op.add_column("backup_logs", sa.Column("due_at", _INSTANT))
    set_only = sa.text("due_at IS NOT NULL")
    op.create_index("backup_logs_due", "backup_logs", ["catalog", "due_at"], unique=True, postgresql_where=set_only)
    op.create_table(
        "due_accounts",
        sa.Column("catalog", sa.Text, primary_key=True),
        sa.Column("accounted_until", _INSTANT),
    )
    op.create_table(
        "alert_threads",
        sa.Column("catalog", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("opened_at", _INSTANT),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("told_at", _INSTANT),
    )
    for table in _TABLES:
        _guard(table)


def downgrade() -> None:
    """Drop both tables and the column."""
    for table in _TABLES:
        op.drop_table(table)
    op.drop_column("backup_logs", "due_at")


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
