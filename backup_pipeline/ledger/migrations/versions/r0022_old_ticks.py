"""Old ticks go: the pipeline's role may delete from business_ticks and business_misses, and nobody else."""

from __future__ import annotations

from alembic import op

from backup_pipeline.ledger.migrate import WRITER

revision = "r0022"
down_revision = "r0021"
branch_labels = None
depends_on = None

_TABLES = ("business_ticks", "business_misses")


def upgrade() -> None:
    """Allow it."""
    for table in _TABLES:
        op.execute(f"GRANT DELETE ON {table} TO {WRITER}")
        op.execute(f"CREATE POLICY {table}_delete_{WRITER} ON {table} FOR DELETE TO {WRITER} USING (true)")


def downgrade() -> None:
    """Allow it no more."""
    for table in _TABLES:
        op.execute(f"DROP POLICY {table}_delete_{WRITER} ON {table}")
        op.execute(f"REVOKE DELETE ON {table} FROM {WRITER}")
