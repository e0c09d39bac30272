"""The ticks of businesses, whom they missed, and `backup_records`: each backup of a business, and until when it is right.

    table             viewer   business_admin   admin   super_admin   pipeline_writer
    business_ticks    s        s nothing        s       s             siu
    business_misses   s        s own            s       s             si
    backup_records    s        s own            s       s             s        (a view, with the rights of whoever asks)

A business that did not change gets neither row nor object from a tick: that its newest backup is still right follows
from the ticks that looked at it without missing it. The view derives it.

Of automatic backups of businesses no event is made: there are thousands a day. The tick is one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import WRITER

revision = "r0016"
down_revision = "r0015"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
VIEWER, OWN_ADMIN, ADMIN, SUPER = "backup_viewer", "backup_business_admin", "admin", "super_admin"
_OWN = "business = ANY (string_to_array(current_setting('backup.businesses', true), ','))"
_STATUSES = "'running', 'success', 'partial', 'failed', 'skipped', 'missed'"
_COUNTS = ("due", "changed", "unchanged", "failed", "skipped", "fulls", "missed_count")
_RECORDS = """
CREATE VIEW backup_records WITH (security_invoker = true) AS
SELECT l.id, l.backup_id, l.catalog, l.business AS business_id,
       CASE WHEN l.type = 'manual' THEN 'manual' ELSE l.kind END AS backup_type,
       l.status, l.file_path, l.file_size_bytes, l.record_count, l.snapshot_at, l.created_at, l.finished_at,
       l.error_message,
       coalesce((
           SELECT max(t.snapshot_at) FROM business_ticks t
           WHERE l.type = 'automatic' AND t.catalog = l.catalog AND NOT t.by_hand AND t.status IN ('success', 'partial')
           AND t.snapshot_at > l.snapshot_at AND t.snapshot_at < coalesce((
               SELECT min(n.snapshot_at) FROM backup_logs n
               WHERE n.catalog = l.catalog AND n.business = l.business AND n.purpose = 'backup'
               AND n.type = 'automatic' AND n.snapshot_at > l.snapshot_at), 'infinity')
           AND NOT t.left_out @> to_jsonb(l.business)
           AND NOT EXISTS (SELECT FROM business_misses m WHERE m.tick_id = t.id AND m.business = l.business)
       ), l.snapshot_at) AS confirmed_until
FROM backup_logs l WHERE l.business IS NOT NULL AND l.purpose = 'backup'
"""
_BACKUP_EVENTS = (
    ("backup_logs_backup_event_0", "INSERT", "NEW.status <> 'expected' AND {news}"),
    ("backup_logs_backup_event_1", "UPDATE",
     "OLD.status IS DISTINCT FROM NEW.status AND NEW.status <> 'expected' AND {news}"),
)  # fmt: skip
_NEWS = "coalesce(NEW.finished_at, now()) > now() - interval '1 day'"
_OF_PEOPLE = f"{_NEWS} AND (NEW.business IS NULL OR NEW.type = 'manual')"


def upgrade() -> None:
    """Make the tables, the view, and the event of a tick."""
    op.create_table(
        "business_ticks",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("scheduled_at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("by_hand", sa.Boolean, nullable=False, server_default=sa.text("false")),
        *(sa.Column(name, _INSTANT) for name in ("started_at", "finished_at", "snapshot_at", "missed_until")),
        sa.Column("run_id", sa.Text),
        *(sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0")) for name in _COUNTS),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")) for name in ("rows", "bytes")),
        sa.Column("lag_s", sa.Double),
        sa.Column("left_out", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("message", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint(f"status IN ({_STATUSES})", name="business_ticks_status_check"),
    )
    op.create_index("business_ticks_newest", "business_ticks", ["catalog", "scheduled_at", "id"])
    op.create_table(
        "business_misses",
        sa.Column("tick_id", sa.BigInteger, primary_key=True),
        sa.Column("business", sa.Text, primary_key=True),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint("outcome IN ('failed', 'skipped')", name="business_misses_outcome_check"),
    )
    op.create_index("business_misses_of_business", "business_misses", ["catalog", "business", "tick_id"])
    _make_rest()


def _make_rest() -> None:
    op.create_index(
        "backup_logs_business",
        "backup_logs",
        ["catalog", "business", "snapshot_at"],
        postgresql_where=sa.text("business IS NOT NULL"),
    )
    for table in ("business_ticks", "business_misses"):
        _close(table)
        _allow(table, (VIEWER, ADMIN, SUPER, WRITER), "SELECT")
        _allow(table, (WRITER,), "INSERT")
    _allow("business_ticks", (OWN_ADMIN,), "SELECT", "false")
    _allow("business_misses", (OWN_ADMIN,), "SELECT", _OWN)
    _allow("business_ticks", (WRITER,), "UPDATE")
    op.execute(_RECORDS)
    op.execute("REVOKE ALL ON backup_records FROM PUBLIC")
    op.execute(f"GRANT SELECT ON backup_records TO {VIEWER}, {OWN_ADMIN}, {ADMIN}, {SUPER}, {WRITER}")
    _make_backup_events(_OF_PEOPLE)
    op.execute(
        "CREATE CONSTRAINT TRIGGER business_ticks_event AFTER UPDATE ON business_ticks DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) "
        "EXECUTE FUNCTION realtime_event('tick', 'id', 'status due changed unchanged failed skipped')"
    )


def downgrade() -> None:
    """Undo it."""
    op.execute("DROP VIEW backup_records")
    op.execute("DROP TABLE business_misses, business_ticks")
    op.drop_index("backup_logs_business", "backup_logs")
    _make_backup_events(_NEWS)


def _make_backup_events(news: str) -> None:
    for name, command, when in _BACKUP_EVENTS:
        op.execute(f"DROP TRIGGER {name} ON backup_logs")
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {name} AFTER {command} ON backup_logs DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW WHEN ({when.format(news=news)}) "
            "EXECUTE FUNCTION realtime_event('backup', 'backup_id', 'status kind type record_count')"
        )


def _close(table: str) -> None:
    """Nobody, the owner included, has any right on a table but those that are given below."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")


def _allow(table: str, roles: tuple[str, ...], command: str, rows: str = "true") -> None:
    using = "" if command == "INSERT" else f"USING ({rows})"
    checked = f"WITH CHECK ({rows})" if command in {"INSERT", "UPDATE"} else ""
    for role in roles:
        op.execute(f"GRANT {command} ON {table} TO {role}")
        policy = f"{table}_{command.lower()}_{role}"
        op.execute(f"CREATE POLICY {policy} ON {table} FOR {command} TO {role} {using} {checked}")
