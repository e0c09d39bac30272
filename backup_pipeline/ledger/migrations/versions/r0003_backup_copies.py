"""backup_copies, and who may see them: the roles, the policies and the promises that backup_logs has.

    role                      backup_copies
    admin, super_admin        select, insert, update
    backup_pipeline_writer    select, insert, update
    everybody else            nothing

Rows are never deleted: a copy that was removed is a status.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None

_TABLE = "backup_copies"
_INSTANT = sa.DateTime(timezone=True)
_STATUSES = ("copying", "good", "failed", "deleted")
_ROLES = ", ".join((*PEOPLE, WRITER))


def upgrade() -> None:
    """Make the table and its policies."""
    listed = ", ".join(f"'{status}'" for status in _STATUSES)
    op.create_table(
        _TABLE,
        sa.Column("backup_id", sa.Text, primary_key=True),
        sa.Column("store", sa.Text, primary_key=True),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("sha256", sa.Text),
        sa.Column("verification_level", sa.Text),
        sa.Column("verified_at", _INSTANT),
        sa.Column("error_message", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.CheckConstraint(f"status IN ({listed})", name="backup_copies_status_check"),
    )
    op.create_index("backup_copies_catalog", _TABLE, ["catalog", "backup_id"])
    _guard()


def downgrade() -> None:
    """Drop the table."""
    op.drop_table(_TABLE)


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
