"""Who reads a backup, how many attempts ended how, and what else was missing.

    role                      backup_readings                   backup_tallies            alert_outbox
    admin, super_admin        select, insert, update, delete    select, insert, update    as before
    backup_pipeline_writer    select, insert, update, delete    select, insert, update    also delete what was delivered
    everybody else            nothing                           nothing                   nothing

A trigger counts each attempt of `backup_logs` in `backup_tallies` when it ends, so that nobody has to read all rows.
Two indexes hold what is there now. A restore request keeps which store it reads; a thread of alerts, whether anybody
but the log was told.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_ROLES = ", ".join((*PEOPLE, WRITER))
_CLAUSES = {
    "SELECT": "USING (true)",
    "INSERT": "WITH CHECK (true)",
    "UPDATE": "USING (true) WITH CHECK (true)",
    "DELETE": "USING (true)",
}
_COUNTED_BEFORE = """
INSERT INTO backup_tallies (catalog, ended_as, attempts)
SELECT catalog, ended_as, count(*)
FROM (
    SELECT catalog, CASE
        WHEN status NOT IN ('expired', 'deleted') THEN status
        WHEN sha256 IS NULL THEN 'failed'
        WHEN warnings <> '[]'::jsonb THEN 'success_with_warnings'
        ELSE 'success' END AS ended_as
    FROM backup_logs WHERE status NOT IN ('expected', 'running')
) AS ended
GROUP BY catalog, ended_as
"""
_COUNT = """
CREATE FUNCTION backup_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backup_tallies AS told (catalog, ended_as, attempts) VALUES (NEW.catalog, NEW.status, 1)
    ON CONFLICT (catalog, ended_as) DO UPDATE SET attempts = told.attempts + 1;
    RETURN NULL;
END $$
"""
_ENDED = "NEW.status NOT IN ('expected', 'running', 'expired', 'deleted')"


def upgrade() -> None:
    """Make the tables, the trigger, the indexes, the columns, and the policies."""
    op.create_table("backup_readings", *_reading_columns())
    op.create_index("backup_readings_of_backup", "backup_readings", ["backup_id"])
    op.create_table(
        "backup_tallies",
        sa.Column("catalog", sa.Text, primary_key=True),
        sa.Column("ended_as", sa.Text, primary_key=True),
        sa.Column("attempts", sa.BigInteger, nullable=False),
    )
    _guard("backup_readings", "SELECT", "INSERT", "UPDATE", "DELETE")
    _guard("backup_tallies", "SELECT", "INSERT", "UPDATE")
    op.execute(_COUNTED_BEFORE)
    _count_from_now_on()
    newest = [sa.text("catalog"), sa.text("created_at DESC"), sa.text("backup_id DESC")]
    good = sa.text("status IN ('success', 'success_with_warnings')")
    op.create_index("backup_logs_good", "backup_logs", newest, postgresql_where=good)
    expected = sa.text("status = 'expected'")
    op.create_index("backup_logs_expected", "backup_logs", ["catalog"], postgresql_where=expected)
    op.create_index("backup_copies_good", "backup_copies", ["catalog"], postgresql_where=sa.text("status = 'good'"))
    op.add_column("restore_requests", sa.Column("store", sa.Text, nullable=False, server_default="first"))
    op.add_column("alert_threads", sa.Column("heard", sa.Boolean, nullable=False, server_default=sa.text("true")))
    _let_delivered_go()


def downgrade() -> None:
    """Take all of it away again."""
    op.execute("DROP POLICY alert_outbox_delete ON alert_outbox")
    op.execute(f"REVOKE DELETE ON alert_outbox FROM {WRITER}")
    op.drop_column("alert_threads", "heard")
    op.drop_column("restore_requests", "store")
    op.drop_index("backup_copies_good", "backup_copies")
    op.drop_index("backup_logs_expected", "backup_logs")
    op.drop_index("backup_logs_good", "backup_logs")
    for verb in ("insert", "update"):
        op.execute(f"DROP TRIGGER backup_logs_tally_{verb} ON backup_logs")
    op.execute("DROP FUNCTION backup_tally()")
    op.drop_table("backup_tallies")
    op.drop_table("backup_readings")


def _reading_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("backup_id", sa.Text, nullable=False),
        sa.Column("work", sa.Text, nullable=False),
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("owner_host", sa.Text, nullable=False),
        sa.Column("owner_pid", sa.Integer, nullable=False),
        sa.Column("owner_started", sa.Double, nullable=False),
        sa.Column("began_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
    ]


def _count_from_now_on() -> None:
    """An attempt counts once, when it ends: what becomes of its backup later is no other end."""
    op.execute(_COUNT)
    called = "FOR EACH ROW WHEN ({}) EXECUTE FUNCTION backup_tally()"
    op.execute(f"CREATE TRIGGER backup_logs_tally_insert AFTER INSERT ON backup_logs {called.format(_ENDED)}")
    began = f"OLD.status IN ('expected', 'running') AND {_ENDED}"
    op.execute(f"CREATE TRIGGER backup_logs_tally_update AFTER UPDATE OF status ON backup_logs {called.format(began)}")


def _let_delivered_go() -> None:
    """What was delivered may go once it is old; what was not is never removed, by anybody."""
    op.execute(f"GRANT DELETE ON alert_outbox TO {WRITER}")
    delivered = "USING (delivered_at IS NOT NULL)"
    op.execute(f"CREATE POLICY alert_outbox_delete ON alert_outbox FOR DELETE TO {WRITER} {delivered}")


def _guard(table: str, *verbs: str) -> None:
    """Let the ledger's roles do this with rows, and nobody anything else; forced on the owner too."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    op.execute(f"GRANT {', '.join(verbs)} ON {table} TO {_ROLES}")
    for verb in verbs:
        op.execute(f"CREATE POLICY {table}_{verb.lower()} ON {table} FOR {verb} TO {_ROLES} {_CLAUSES[verb]}")
