"""A backup that stops being good is news however old it is; a webhook can be removed; calls of keys are added up by hour.

`backup_logs_backup_event_1` told of changes of status alone of what had ended a day ago or later, so that the rows that a
rebuild brings back are no news. A clean-up lets go what is weeks old, and no open list learned of it. Only what was
merely expected until now, and comes back as an old backup, is still left out.

What keys did, by hour, key and route, is added up once when the hour is over, not at each look at a week of calls. The
calls of one key, also those that were refused, are found by an index of their own.

    table               viewer        business_admin    admin     super_admin   pipeline_console   pipeline_writer
    webhooks            -             -                 -         siud          siud               -
    webhook_deliveries  -             -                 -         sud           siud               -
    api_usage_hours     own s         own s             s         s             siud               -

*own*: of the key that asks.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import CONSOLE

revision = "r0021"
down_revision = "r0020"
branch_labels = None
depends_on = None

_NEWS = "coalesce(NEW.finished_at, now()) > now() - interval '1 day'"
_OF_PEOPLE = "(NEW.business IS NULL OR NEW.type = 'manual')"
"""Of the hundreds of backups of businesses that a tick makes, the tick is the event."""
_TRIGGER = "backup_logs_backup_event_1"
_MAY_REMOVE = (("webhooks", "super_admin"), ("webhooks", CONSOLE), ("webhook_deliveries", "super_admin"))
_OWN_KEY = "key_id = nullif(current_setting('backup.key', true), '')::bigint"
_INDEX = "api_usage_logs_key"
_TABLE = "api_usage_hours"


def upgrade() -> None:
    """Tell of every change of what was more than expected, let webhooks be removed, and make the table of sums."""
    _replace(f"(OLD.status <> 'expected' OR {_NEWS}) AND {_OF_PEOPLE}")
    for table, role in _MAY_REMOVE:
        op.execute(f"GRANT DELETE ON {table} TO {role}")
        op.execute(f"CREATE POLICY {table}_delete_{role} ON {table} FOR DELETE TO {role} USING (true)")
    _make_hours()


def downgrade() -> None:
    """Undo it."""
    op.drop_table(_TABLE)
    op.drop_index(_INDEX, "api_usage_logs")
    for table, role in _MAY_REMOVE:
        op.execute(f"DROP POLICY {table}_delete_{role} ON {table}")
        op.execute(f"REVOKE DELETE ON {table} FROM {role}")
    _replace(f"{_NEWS} AND {_OF_PEOPLE}")


def _replace(condition: str) -> None:
    op.execute(f"DROP TRIGGER {_TRIGGER} ON backup_logs")
    changed = "OLD.status IS DISTINCT FROM NEW.status AND NEW.status <> 'expected'"
    op.execute(
        f"CREATE CONSTRAINT TRIGGER {_TRIGGER} AFTER UPDATE ON backup_logs DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW WHEN ({changed} AND {condition}) "
        "EXECUTE FUNCTION realtime_event('backup', 'backup_id', 'status kind type record_count')"
    )


def _make_hours() -> None:
    op.create_table(
        _TABLE,
        sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("key_id", sa.BigInteger, primary_key=True),
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("slowest", sa.Integer, nullable=False),
        sa.Column("addresses", JSONB, nullable=False),
    )
    op.create_index(_INDEX, "api_usage_logs", ["key_id", "at", "request_id"])
    op.execute(f"ALTER TABLE {_TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {_TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {_TABLE} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {_TABLE} FROM CURRENT_USER")
    for command in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        _allow((CONSOLE,), command)
    _allow(("admin", "super_admin"), "SELECT")
    _allow(("backup_viewer", "backup_business_admin"), "SELECT", _OWN_KEY)


def _allow(roles: tuple[str, ...], command: str, rows: str = "true") -> None:
    using = "" if command == "INSERT" else f"USING ({rows})"
    checked = f"WITH CHECK ({rows})" if command in {"INSERT", "UPDATE"} else ""
    for role in roles:
        op.execute(f"GRANT {command} ON {_TABLE} TO {role}")
        policy = f"{_TABLE}_{command.lower()}_{role}"
        op.execute(f"CREATE POLICY {policy} ON {_TABLE} FOR {command} TO {role} {using} {checked}")
