"""Who sees that drills were done, and indexes for what is looked for among many: the newest drill, one kind of deed.

A viewer sees of `backup_audit` what the viewer did, and since then the rows of drills: whether backups come back is
what everybody with an eye on them wants to know. A business_admin does not: drills are of whole systems.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0014"
down_revision = "r0013"
branch_labels = None
depends_on = None

_POLICY = "backup_audit_drills_backup_viewer"


def upgrade() -> None:
    """Add the policy and the indexes."""
    op.execute(
        f"CREATE POLICY {_POLICY} ON backup_audit FOR SELECT TO backup_viewer "
        "USING (action IN ('drill', 'drill with injected fault'))"
    )
    op.create_index("backup_audit_action", "backup_audit", ["action", "id"])
    op.create_index(
        "backup_logs_drilled",
        "backup_logs",
        ["catalog", sa.text("verified_at DESC")],
        postgresql_where=sa.text("verification_passed AND verification_level >= 4"),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_index("backup_logs_drilled", "backup_logs")
    op.drop_index("backup_audit_action", "backup_audit")
    op.execute(f"DROP POLICY {_POLICY} ON backup_audit")
