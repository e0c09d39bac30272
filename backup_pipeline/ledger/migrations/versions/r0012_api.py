"""Keys of programs, the log of their calls, and answers that are kept for a repeated request.

    table               viewer        business_admin    admin     super_admin   pipeline_console   pipeline_writer
    api_keys            -             -                 -         siu           siu                -
    api_usage_logs      own s         own s             s         s             siu                -
    api_answers         -             -                 -         -             siud               -

*own*: of the key that asks (`backup.key`). The log has a partition a month: `api_usage_months` makes those that come,
and drops what is over for long enough, with the rights of its owner, because nobody else may change tables. A partition
is closed to everybody: it is read and written through the whole.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import CONSOLE

revision = "r0012"
down_revision = "r0011"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_OWN_KEY = "key_id = nullif(current_setting('backup.key', true), '')::bigint"
_TABLES = ("api_keys", "api_usage_logs", "api_answers")
_MONTHS = """
CREATE FUNCTION api_usage_months(kept interval) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month timestamp;
    partition text;
BEGIN
    -- Of two consoles that begin at once, one waits, and finds them made.
    PERFORM pg_advisory_xact_lock({lock});
    FOR ahead IN -1..2 LOOP
        month := first + make_interval(months => ahead);
        partition := 'api_usage_logs_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('{schema}.' || partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE {schema}.%I PARTITION OF {schema}.api_usage_logs FOR VALUES FROM (%L) TO (%L)',
            partition, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE {schema}.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition);
        EXECUTE format('REVOKE ALL ON {schema}.%I FROM PUBLIC', partition);
    END LOOP;
    FOR partition IN
        SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
        WHERE inhparent = '{schema}.api_usage_logs'::regclass
          AND to_date(right(relname, 7), 'YYYY_MM') + interval '1 month' < now() AT TIME ZONE 'UTC' - kept
    LOOP
        EXECUTE format('DROP TABLE {schema}.%I', partition);
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Make the tables, their policies, and the log's first months."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False, unique=True),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("business", sa.Text),
        sa.Column("permissions", JSONB, nullable=False),
        sa.Column("hourly_limit", sa.Integer, nullable=False, server_default="1000"),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("expires_at", _INSTANT),
        sa.Column("revoked_at", _INSTANT),
        sa.Column("last_used_at", _INSTANT),
        sa.Column("last_address", sa.Text),
        # The digest of a key, in hex: whoever writes a key itself into the table is refused.
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$' AND length(shown) <= 8", name="api_keys_digest_check"),
        sa.CheckConstraint("hourly_limit BETWEEN 1 AND 100000", name="api_keys_limit_check"),
    )
    op.create_index("api_keys_name", "api_keys", [sa.text("lower(name)")], unique=True)
    _make_log()
    op.create_table(
        "api_answers",
        sa.Column("key_id", sa.BigInteger, primary_key=True),
        sa.Column("idempotency_key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("api_answers_at", "api_answers", ["at"])
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    for command in ("SELECT", "INSERT", "UPDATE"):
        _allow("api_keys", ("super_admin", CONSOLE), command)
        _allow("api_usage_logs", (CONSOLE,), command)
        _allow("api_answers", (CONSOLE,), command)
    _allow("api_answers", (CONSOLE,), "DELETE")
    _allow("api_usage_logs", ("admin", "super_admin"), "SELECT")
    _allow("api_usage_logs", ("backup_viewer", "backup_business_admin"), "SELECT", _OWN_KEY)


def downgrade() -> None:
    """Undo it."""
    op.execute("DROP FUNCTION api_usage_months(interval)")
    op.execute(f"DROP TABLE {', '.join(_TABLES)}")


def _make_log() -> None:
    op.create_table(
        "api_usage_logs",
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.BigInteger, nullable=False),
        sa.Column("business", sa.Text),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("allowed", sa.Boolean, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False, server_default="1"),
        sa.Column("status", sa.Integer),
        sa.Column("ms", sa.Integer),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("address", sa.Text, nullable=False, server_default=""),
        postgresql_partition_by="RANGE (at)",
    )
    # What the limit counts, and nothing else: refused calls are not in it.
    allowed = sa.text("allowed")
    op.create_index("api_usage_logs_counted", "api_usage_logs", ["key_id", "at"], postgresql_where=allowed)
    op.create_index("api_usage_logs_at", "api_usage_logs", ["at", "request_id"])
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(_MONTHS.format(schema=schema, lock=int.from_bytes(b"usage", "big")))
    op.execute("REVOKE ALL ON FUNCTION api_usage_months(interval) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION api_usage_months(interval) TO {CONSOLE}")
    op.execute("SELECT api_usage_months(interval '90 days')")


def _allow(table: str, roles: tuple[str, ...], command: str, rows: str = "true") -> None:
    using = "" if command == "INSERT" else f"USING ({rows})"
    checked = f"WITH CHECK ({rows})" if command in {"INSERT", "UPDATE"} else ""
    for role in roles:
        op.execute(f"GRANT {command} ON {table} TO {role}")
        policy = f"{table}_{command.lower()}_{role}"
        op.execute(f"CREATE POLICY {policy} ON {table} FOR {command} TO {role} {using} {checked}")
