"""shards: the parts of works that several runs do together, such as the tables of one snapshot.

    table     viewer, business_admin    admin, super_admin    pipeline_writer
    shards    nothing                   select                select, insert, update, delete

What is done is forgotten with its work: the backup, its manifest and its audit say what came of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import PEOPLE, WRITER

revision = "r0019"
down_revision = "r0018"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "shards",
        sa.Column("work", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("detail", JSONB, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.Column("run_id", sa.Text),
        sa.Column("heartbeat_at", _INSTANT),
        sa.Column("result", JSONB),
        sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.CheckConstraint("status IN ('waiting', 'running', 'done')", name="shards_status_check"),
    )
    op.execute("ALTER TABLE shards ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE shards FORCE ROW LEVEL SECURITY")
    op.execute("REVOKE ALL ON shards FROM PUBLIC")
    op.execute("REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shards FROM CURRENT_USER")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON shards TO {WRITER}")
    op.execute(f"CREATE POLICY shards_writer ON shards FOR ALL TO {WRITER} USING (true) WITH CHECK (true)")
    readers = ", ".join(PEOPLE)
    op.execute(f"GRANT SELECT ON shards TO {readers}")
    op.execute(f"CREATE POLICY shards_select ON shards FOR SELECT TO {readers} USING (true)")


def downgrade() -> None:
    """Drop it: no backup is under way while a ledger is taken back."""
    op.execute("DROP TABLE shards")
