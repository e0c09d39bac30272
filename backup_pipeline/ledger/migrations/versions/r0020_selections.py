"""restore_requests.selection: what of one business is brought back: which changes, which rows, as of when.

Without it a request is for tables of a backup, as all of before are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "r0020"
down_revision = "r0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("restore_requests", sa.Column("selection", JSONB))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("restore_requests", "selection")
