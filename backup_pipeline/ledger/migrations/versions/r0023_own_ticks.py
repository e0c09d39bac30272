"""own_business_ticks: ticks as somebody sees them who has single businesses: what became of their own, and of nobody else.

    view                  business_admin                        viewer, admin, super_admin, pipeline_writer
    own_business_ticks    of catalogs with a business of theirs  nothing: they see business_ticks

A tick counts everybody, names who was left out, and is `partial` when another business failed: none of that is in the view. It
has its owner's rights, who is one of those that write ticks; whose businesses count is the setting that policies go by.
`backup_records` goes by it where the table shows nothing.
"""

from __future__ import annotations

from alembic import op

revision = "r0023"
down_revision = "r0022"
branch_labels = None
depends_on = None

_READERS = "backup_viewer, backup_business_admin, admin, super_admin, backup_pipeline_writer"
_MINE = "string_to_array(current_setting('backup.businesses', true), ',')"
_OWN = f"""
CREATE VIEW own_business_ticks WITH (security_barrier = true) AS
SELECT t.id, t.catalog, t.scheduled_at, CASE t.status WHEN 'partial' THEN 'success' ELSE t.status END AS status,
       false AS by_hand, t.started_at, t.finished_at, t.snapshot_at, t.missed_until, NULL::text AS run_id,
       0 AS due, 0 AS changed, 0 AS unchanged, 0 AS failed, 0 AS skipped, 0 AS fulls, t.missed_count,
       0::bigint AS rows, 0::bigint AS bytes, t.lag_s,
       (SELECT coalesce(jsonb_agg(each), '[]') FROM jsonb_array_elements_text(t.left_out) AS each
        WHERE each = ANY ({_MINE})) AS left_out,
       CASE WHEN t.status = 'missed' THEN t.message
            WHEN t.status IN ('failed', 'skipped') THEN 'The whole tick was not done.' ELSE '' END AS message
FROM business_ticks t
WHERE coalesce(current_setting('backup.businesses', true), '') <> '' AND NOT t.by_hand
AND EXISTS (SELECT FROM businesses b WHERE b.catalog = t.catalog AND b.business = ANY ({_MINE}))
"""
_CONFIRMED = """
(SELECT t.snapshot_at FROM {ticks} t
           WHERE l.type = 'automatic' AND t.catalog = l.catalog AND NOT t.by_hand AND t.status IN ('success', 'partial')
           AND t.snapshot_at > l.snapshot_at AND t.snapshot_at < coalesce((
               SELECT min(n.snapshot_at) FROM backup_logs n
               WHERE n.catalog = l.catalog AND n.business = l.business AND n.purpose = 'backup'
               AND n.type = 'automatic' AND n.snapshot_at > l.snapshot_at), 'infinity')
           AND NOT t.left_out @> to_jsonb(l.business)
           AND NOT EXISTS (SELECT FROM business_misses m WHERE m.tick_id = t.id AND m.business = l.business)
           ORDER BY t.snapshot_at DESC LIMIT 1)"""
_RECORDS = """
CREATE OR REPLACE VIEW backup_records WITH (security_invoker = true) AS
SELECT l.id, l.backup_id, l.catalog, l.business AS business_id,
       CASE WHEN l.type = 'manual' THEN 'manual' ELSE l.kind END AS backup_type,
       l.status, l.file_path, l.file_size_bytes, l.record_count, l.snapshot_at, l.created_at, l.finished_at,
       l.error_message,
       coalesce({confirmed}, l.snapshot_at) AS confirmed_until
FROM backup_logs l WHERE l.business IS NOT NULL AND l.purpose = 'backup'
"""


def upgrade() -> None:
    """Make the view, and let the other one go by it."""
    op.execute(_OWN)
    op.execute("REVOKE ALL ON own_business_ticks FROM PUBLIC")
    op.execute(f"GRANT SELECT ON own_business_ticks TO {_READERS}")
    both = ", ".join(_CONFIRMED.format(ticks=ticks) for ticks in ("business_ticks", "own_business_ticks"))
    op.execute(_RECORDS.format(confirmed=both))


def downgrade() -> None:
    """Undo it."""
    op.execute(_RECORDS.format(confirmed=_CONFIRMED.format(ticks="business_ticks")))
    op.execute("DROP VIEW own_business_ticks")
