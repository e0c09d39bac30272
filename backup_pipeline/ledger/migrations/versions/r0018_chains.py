"""backup_logs.goes_on_from: of an incremental backup, the backup that it is the changes since.

What is kept keeps its chain, and a clean-up of hundreds of backups a day can not read a manifest for each. Rows of before
have nothing there, and are taken to go on from the nearest older one: `rebuild` writes what their manifests say.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0018"
down_revision = "r0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("backup_logs", sa.Column("goes_on_from", sa.Text))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("backup_logs", "goes_on_from")
