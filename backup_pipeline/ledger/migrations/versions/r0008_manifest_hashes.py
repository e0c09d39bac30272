"""backup_logs.manifest_sha256 and seal_key: what the manifest in the store must be, and which key sealed it.

Backups from before have neither; what vouches for them is the SHA-256 of their bundle.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0008"
down_revision = "r0007"
branch_labels = None
depends_on = None

_COLUMNS = ("manifest_sha256", "seal_key")


def upgrade() -> None:
    """Add the columns."""
    for name in _COLUMNS:
        op.add_column("backup_logs", sa.Column(name, sa.Text))


def downgrade() -> None:
    """Drop them."""
    for name in _COLUMNS:
        op.drop_column("backup_logs", name)
