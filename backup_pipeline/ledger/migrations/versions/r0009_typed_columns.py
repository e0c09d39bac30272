"""What a row is about, who acts and what a verification came to have columns of their own.

What it is about: `catalog`, `business` and `purpose`. The rows of safety backups had a catalog of their own that ends in
`_before_restore`; now they have the catalog's and the purpose `safety`. `backup_tallies` and `alert_threads` name the
whole as one key, which is the text that they had. A thread says of how much, and when, people were `notified`.

Who acts is `actor` in every table, in place of `created_by`, `requested_by`, `held_by` of leases and `reader`. Where a
row knows two, the second has what it did in front: `held_actor`, `decided_actor`.

`verification_level` was a text, such as `2`, or `1 FAILED` where something was wrong at level 2; NULL with a time where
something was wrong at level 0 already. Now it is the level that is known to be good, beside `verification_passed`.
"""

from __future__ import annotations

import sqlalchemy as sa
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
    ("backup_tallies", "catalog", "scope"),
    ("alert_threads", "catalog", "scope"),
    ("alert_threads", "told", "notified"),
    ("alert_threads", "told_at", "notified_at"),
    ("alert_threads", "heard", "reached"),
)
_SCOPED = ("backup_logs", "restore_requests", "backup_copies")
_VERIFIED = ("backup_logs", "backup_copies")
_COUNT = """
CREATE OR REPLACE FUNCTION backup_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backup_tallies AS tally ({column}, ended_as, attempts) VALUES ({scope}, NEW.status, 1)
    ON CONFLICT ({column}, ended_as) DO UPDATE SET attempts = tally.attempts + 1;
    RETURN NULL;
END $$
"""
_KEY = (
    "NEW.catalog || CASE NEW.purpose WHEN 'safety' THEN '_before_restore' ELSE '' END "
    "|| coalesce('/businesses/' || NEW.business, '')"
)


def upgrade() -> None:
    """Make the columns. Values are set by a change of type, not an UPDATE: it sees every row, whoever migrates."""
    for table, before, after in _RENAMED:
        op.alter_column(table, before, new_column_name=after)
    op.execute(_COUNT.format(column="scope", scope=_KEY))
    for table in _SCOPED:
        if table != "backup_logs":
            op.add_column(table, sa.Column("business", sa.Text))
        op.add_column(table, sa.Column("purpose", sa.Text, nullable=False, server_default="backup"))
        _set(table, "purpose", "text", "CASE WHEN catalog ~ '_before_restore$' THEN 'safety' ELSE 'backup' END")
        _set(table, "catalog", "text", "regexp_replace(catalog, '_before_restore$', '')")
    for table in _VERIFIED:
        op.add_column(table, sa.Column("verification_passed", sa.Boolean))
        passed = "CASE WHEN verified_at IS NOT NULL THEN coalesce(verification_level !~ 'FAILED', false) END"
        _set(table, "verification_passed", "boolean", passed)
        _set(table, "verification_level", "integer", "split_part(verification_level, ' ', 1)::integer")


def downgrade() -> None:
    """Undo it."""
    for table in _VERIFIED:
        failed = "CASE WHEN verification_passed THEN '' ELSE ' FAILED' END"
        _set(table, "verification_level", "text", f"verification_level::text || {failed}")
        op.drop_column(table, "verification_passed")
    for table in _SCOPED:
        safety = "CASE purpose WHEN 'safety' THEN '_before_restore' ELSE '' END"
        _set(table, "catalog", "text", f"catalog || {safety}")
        op.drop_column(table, "purpose")
        if table != "backup_logs":
            op.drop_column(table, "business")
    for table, before, after in _RENAMED:
        op.alter_column(table, after, new_column_name=before)
    op.execute(_COUNT.format(column="catalog", scope="NEW.catalog"))


def _set(table: str, column: str, type_: str, value: str) -> None:
    op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_} USING {value}")
