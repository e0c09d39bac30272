"""Who acts is `actor` in every table, and a verification is three columns.

`actor` took the place of `created_by`, `requested_by`, `held_by` of leases and `reader`. Where a row knows two, the second
has what it did in front: `held_actor`, `decided_actor`.

`verification_level` was a text, such as `2`, or `1 FAILED` where something was wrong at level 2; NULL with a time where
something was wrong at level 0 already. Now it is the level that is known to be good, beside `verification_passed`.
"""

from __future__ import annotations

from alembic import op

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None

_RENAMED = (
    ("backup_logs", "created_by", "actor"),
    ("backup_logs", "held_by", "held_actor"),
    ("restore_requests", "requested_by", "actor"),
    ("restore_requests", "decided_by", "decided_actor"),
    ("leases", "held_by", "actor"),
    ("backup_readings", "reader", "actor"),
)
_VERIFIED = ("backup_logs", "backup_copies")


def upgrade() -> None:
    """Rename the columns of who acts, and split the level of each verification from whether it passed."""
    for table, before, after in _RENAMED:
        op.alter_column(table, before, new_column_name=after)
    for table in _VERIFIED:
        passed = "CASE WHEN verified_at IS NOT NULL THEN coalesce(verification_level !~ 'FAILED', false) END"
        op.execute(f"ALTER TABLE {table} ADD COLUMN verification_passed boolean")
        # A change of type, not an UPDATE: it touches every row, whoever may see it.
        op.execute(f"ALTER TABLE {table} ALTER COLUMN verification_passed TYPE boolean USING {passed}")
        level = "split_part(verification_level, ' ', 1)::integer"
        op.execute(f"ALTER TABLE {table} ALTER COLUMN verification_level TYPE integer USING {level}")


def downgrade() -> None:
    """Undo it."""
    for table in _VERIFIED:
        failed = "CASE WHEN verification_passed THEN '' ELSE ' FAILED' END"
        text = f"verification_level::text || {failed}"
        op.execute(f"ALTER TABLE {table} ALTER COLUMN verification_level TYPE text USING {text}")
        op.execute(f"ALTER TABLE {table} DROP COLUMN verification_passed")
    for table, before, after in _RENAMED:
        op.alter_column(table, after, new_column_name=before)
