"""What happens is written into `realtime_events`, by whichever way it comes into the ledger, and told on a channel.

Constraint triggers that are deferred see to it: they run when the transaction commits. An event then takes a lock of the
transaction, gets its number, and is told (`NOTIFY backup_events`, with the number and nothing else); the lock ends with
the commit. So numbers grow in the order of the commits: whoever has read up to a number has missed no smaller one, which
numbers alone do not promise. Nothing but other events waits for the lock, and whoever holds it waits for nothing more.

The functions have the rights of their owner: who changes a backup needs none on events. Rows that a rebuild brings back
are no news, and make no events; nor do due times that are only expected.
"""

from __future__ import annotations

from alembic import op

revision = "r0011"
down_revision = "r0010"
branch_labels = None
depends_on = None

_LOCK = int.from_bytes(b"events", "big")
_FUNCTION = """
CREATE FUNCTION realtime_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry jsonb := to_jsonb(NEW);
    key text := coalesce(entry ->> 'scope', '');
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    INSERT INTO {schema}.realtime_events (kind, catalog, business, subject, detail) VALUES (
        TG_ARGV[0],
        coalesce(entry ->> 'catalog', nullif(split_part(key, '/', 1), '')),
        coalesce(entry ->> 'business', nullif(split_part(key, '/businesses/', 2), '')),
        coalesce(entry ->> TG_ARGV[1], ''),
        (SELECT coalesce(jsonb_object_agg(name, entry -> name), '{{}}'::jsonb)
         FROM unnest(string_to_array(TG_ARGV[2], ' ')) AS name WHERE entry ->> name IS NOT NULL)
    ) RETURNING id INTO number;
    PERFORM pg_notify('backup_events', number::text);
    RETURN NULL;
END $$
"""
_NEWS = "coalesce(NEW.finished_at, now()) > now() - interval '1 day'"
_TRIGGERS = (
    # kind, table, subject, what of the row, on which commands, when
    ("backup", "backup_logs", "backup_id", "status kind type record_count",
     "INSERT", f"NEW.status <> 'expected' AND {_NEWS}"),
    ("backup", "backup_logs", "backup_id", "status kind type record_count",
     "UPDATE", f"OLD.status IS DISTINCT FROM NEW.status AND NEW.status <> 'expected' AND {_NEWS}"),
    ("verification", "backup_logs", "backup_id", "verification_level verification_passed",
     "UPDATE", "NEW.verified_at IS DISTINCT FROM OLD.verified_at AND NEW.verified_at IS NOT NULL"),
    ("hold", "backup_logs", "backup_id", "held_until",
     "UPDATE", "NEW.held_actor IS DISTINCT FROM OLD.held_actor"),
    ("restore", "restore_requests", "id", "status backup_id target",
     "INSERT", "true"),
    ("restore", "restore_requests", "id", "status backup_id target",
     "UPDATE", "OLD.status IS DISTINCT FROM NEW.status"),
    ("run_request", "run_requests", "id", "status verb run_id",
     "INSERT", "true"),
    ("run_request", "run_requests", "id", "status verb run_id",
     "UPDATE", "OLD.status IS DISTINCT FROM NEW.status"),
    ("alert", "alert_threads", "topic", "failures opened_at",
     "INSERT", "NEW.opened_at IS NOT NULL"),
    ("alert", "alert_threads", "topic", "failures opened_at",
     "UPDATE", "(OLD.opened_at, OLD.failures) IS DISTINCT FROM (NEW.opened_at, NEW.failures)"),
)  # fmt: skip
# The audit has no catalog; what it tells of a backup belongs to whom that backup belongs to.
_DRILL_FUNCTION = """
CREATE FUNCTION realtime_drill() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    INSERT INTO {schema}.realtime_events (kind, catalog, business, subject, detail)
    SELECT 'drill', logs.catalog, logs.business, NEW.backup_id, jsonb_build_object('action', NEW.action)
    FROM {schema}.backup_logs AS logs WHERE logs.backup_id = NEW.backup_id
    RETURNING id INTO number;
    IF number IS NOT NULL THEN
        PERFORM pg_notify('backup_events', number::text);
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Make the functions and the triggers."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(_FUNCTION.format(lock=_LOCK, schema=schema))
    op.execute(_DRILL_FUNCTION.format(lock=_LOCK, schema=schema))
    for number, (kind, table, subject, columns, command, when) in enumerate(_TRIGGERS):
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {table}_{kind}_event_{number} AFTER {command} ON {table} "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({when}) "
            f"EXECUTE FUNCTION realtime_event('{kind}', '{subject}', '{columns}')"
        )
    op.execute(
        "CREATE CONSTRAINT TRIGGER backup_audit_drill_event AFTER INSERT ON backup_audit "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.action LIKE 'drill%') EXECUTE FUNCTION realtime_drill()"
    )


def downgrade() -> None:
    """Undo it."""
    op.execute("DROP TRIGGER backup_audit_drill_event ON backup_audit")
    for number, (kind, table, *_) in enumerate(_TRIGGERS):
        op.execute(f"DROP TRIGGER {table}_{kind}_event_{number} ON {table}")
    op.execute("DROP FUNCTION realtime_event()")
    op.execute("DROP FUNCTION realtime_drill()")
