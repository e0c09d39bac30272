"""A verification in three columns: the level that is known to be good, whether it passed, and when.

Before, `verification_level` was a text, such as `2`, or `1 FAILED` where something was wrong at level 2; NULL with a
time where something was wrong at level 0 already.
"""

from __future__ import annotations

from alembic import op

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None

_VERIFIED = ("backup_logs", "backup_copies")


def upgrade() -> None:
    """Split the level of each verification from whether it passed."""
    for table in _VERIFIED:
        passed = "CASE WHEN verified_at IS NOT NULL THEN coalesce(verification_level !~ 'FAILED', false) END"
        op.execute(f"ALTER TABLE {table} ADD COLUMN verification_passed boolean")
        # A change of type, not an UPDATE: it touches every row, whoever may see it.
        op.execute(f"ALTER TABLE {table} ALTER COLUMN verification_passed TYPE boolean USING {passed}")
        level = "split_part(verification_level, ' ', 1)::integer"
        op.execute(f"ALTER TABLE {table} ALTER COLUMN verification_level TYPE integer USING {level}")


def downgrade() -> None:
    """Put them together again."""
    for table in _VERIFIED:
        failed = "CASE WHEN verification_passed THEN '' ELSE ' FAILED' END"
        text = f"verification_level::text || {failed}"
        op.execute(f"ALTER TABLE {table} ALTER COLUMN verification_level TYPE text USING {text}")
        op.execute(f"ALTER TABLE {table} DROP COLUMN verification_passed")
