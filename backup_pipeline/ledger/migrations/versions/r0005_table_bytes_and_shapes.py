"""backup_logs.table_bytes and backup_shapes, and who may see them: as backup_logs.

    role                      backup_shapes
    admin, super_admin        select, insert, update
    backup_pipeline_writer    select, insert, update
    everybody else            nothing

Backups from before have neither bytes (`{}`) nor a shape.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER

revision = "r0005"
down_revision = "r0004"
branch_labels = None
depends_on = None

_TABLE = "backup_shapes"
_ROLES = ", ".join((*PEOPLE, WRITER))


def upgrade() -> None:
    """Add the column, make the table and its policies."""
    op.add_column(
        "backup_logs", sa.Column("table_bytes", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))
    )
    op.create_table(
        _TABLE,
        sa.Column("backup_id", sa.Text, primary_key=True),
        sa.Column("shape", JSONB, nullable=False),
    )
    _guard()


def downgrade() -> None:
    """Drop both."""
    op.drop_table(_TABLE)
    op.drop_column("backup_logs", "table_bytes")


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
