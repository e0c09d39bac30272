"""The ledger's tables, and who may see them.

Row-level security is on and forced, so that nobody but a superuser passes it, the tables' owner included:

    table               admin, super_admin                backup_pipeline_writer
    backup_logs         select, insert, update            select, insert, update
    backup_audit        select, insert                    select, insert
    backup_copies       select, insert, update            select, insert, update
    backup_shapes       select, insert, update            select, insert, update
    backup_tallies      select, insert, update            select, insert, update
    backup_readings     select, insert, update, delete    select, insert, update, delete
    restore_requests    select, insert, update            select, insert, update
    leases              select, insert, update            select, insert, update
    due_accounts        select, insert, update            select, insert, update
    alert_threads       select, insert, update            select, insert, update
    alert_outbox        select, insert, update            select, insert, update; delete what was delivered

Everybody else: nothing. `backup_pipeline_writer` is the pipeline itself. The role that migrates becomes its member, so
ownership gives no right that membership does not. What happened is never deleted: a deleted backup, a removed copy and a
request that came to nothing are statuses, a lease that was given back keeps its token. `backup_audit` only grows: no
role may update, delete or truncate, and a trigger refuses those statements even to a superuser.

A trigger counts each attempt of `backup_logs` in `backup_tallies` when it ends, so that nobody has to read all rows.

It is the first revision, and numbered r0007 because ledgers of version 0.1 are at that number, with these very tables;
the order of the columns is theirs, too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import PEOPLE
from backup_pipeline.ledger.migrate import WRITER
from backup_pipeline.ledger.migrate import require_roles

revision = "r0007"
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_ROLES = ", ".join((*PEOPLE, WRITER))
_GROWS = ("SELECT", "INSERT")
_CHANGES = (*_GROWS, "UPDATE")
_COMES_AND_GOES = (*_CHANGES, "DELETE")
_CLAUSES = {
    "SELECT": "USING (true)",
    "INSERT": "WITH CHECK (true)",
    "UPDATE": "USING (true) WITH CHECK (true)",
    "DELETE": "USING (true)",
}


def upgrade() -> None:
    """Make the tables, their roles, their policies and their triggers."""
    require_roles(op.get_bind())
    _make_backup_logs()
    _make_backup_audit()
    _make_restore_requests()
    _make_backup_copies()
    _make_leases()
    _make_alert_outbox()
    _make_backup_shapes()
    _make_due_accounts()
    _make_alert_threads()
    _make_backup_readings()
    _make_backup_tallies()
    op.execute(f"GRANT SELECT ON backup_ledger_version TO {WRITER}")


def downgrade() -> None:
    """Drop the tables; the roles stay, because other databases of the cluster may use them."""
    op.execute("DROP TABLE backup_tallies, backup_readings, alert_threads, due_accounts, backup_shapes, alert_outbox")
    op.execute("DROP TABLE leases, backup_copies, restore_requests, backup_audit, backup_logs")
    op.execute("DROP FUNCTION backup_tally()")
    op.execute("DROP FUNCTION backup_audit_is_append_only()")


def _make_backup_logs() -> None:
    newest = [sa.text("created_at DESC"), sa.text("backup_id DESC")]
    statuses = "expected running success success_with_warnings failed missed canceled expired deleted"
    op.create_table(
        "backup_logs",
        *_attempt_columns(),
        *_outcome_columns(),
        _status_check("backup_logs", statuses),
    )
    op.create_index("backup_logs_newest", "backup_logs", newest)
    op.create_index("backup_logs_catalog_newest", "backup_logs", ["catalog", *newest])
    op.create_index("backup_logs_day", "backup_logs", ["catalog", "partition_date"])
    op.create_index("backup_logs_run", "backup_logs", ["run_id"])
    _index_where("backup_logs_running", "backup_logs", ["catalog"], "status = 'running'")
    _index_where("backup_logs_expected", "backup_logs", ["catalog"], "status = 'expected'")
    good = "status IN ('success', 'success_with_warnings')"
    _index_where("backup_logs_good", "backup_logs", [sa.text("catalog"), *newest], good)
    set_only = sa.text("due_at IS NOT NULL")  # a due time has one row
    op.create_index("backup_logs_due", "backup_logs", ["catalog", "due_at"], unique=True, postgresql_where=set_only)
    _guard("backup_logs", _CHANGES)


def _attempt_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("file_name", sa.Text),
        sa.Column("file_path", sa.Text),
        sa.Column("file_size_bytes", sa.BigInteger),
        sa.Column("record_count", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("backup_id", sa.Text, nullable=False, unique=True),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("business", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("partition_date", sa.Date, nullable=False),
        sa.Column("tables_wanted", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    ]


def _outcome_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("run_id", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.Column("heartbeat_at", _INSTANT),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("snapshot_at", _INSTANT),
        sa.Column("table_counts", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("sha256", sa.Text),
        sa.Column("consistent", sa.Boolean),
        sa.Column("warnings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("verification_level", sa.Text),
        sa.Column("verified_at", _INSTANT),
        sa.Column("held_until", _INSTANT),
        sa.Column("held_reason", sa.Text),
        sa.Column("held_by", sa.Text),
        sa.Column("expires_at", _INSTANT),
        sa.Column("table_bytes", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("due_at", _INSTANT),
    ]


def _make_backup_audit() -> None:
    op.create_table(
        "backup_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("backup_id", sa.Text),
        sa.Column("detail", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    )
    op.create_index("backup_audit_of_backup", "backup_audit", ["backup_id", "id"])
    _guard("backup_audit", _GROWS)
    op.execute(
        "CREATE FUNCTION backup_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'backup_audit is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege'; "
        "END $$"
    )
    # A statement trigger: a row trigger would stay silent where policies hide every row.
    op.execute(
        "CREATE TRIGGER backup_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON backup_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION backup_audit_is_append_only()"
    )
    # ALWAYS: also in a session that plays a replica, where ordinary triggers are off.
    op.execute("ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER backup_audit_append_only")


def _make_restore_requests() -> None:
    op.create_table(
        "restore_requests",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        *_wish_columns(),
        *_decision_columns(),
        _status_check("restore_requests", "requested approved rejected running done failed canceled"),
    )
    op.create_index("restore_requests_of_backup", "restore_requests", ["backup_id", "id"])
    op.create_index("restore_requests_catalog", "restore_requests", ["catalog", "id"])
    op.create_index("restore_requests_run", "restore_requests", ["run_id"])
    _index_where("restore_requests_running", "restore_requests", ["id"], "status = 'running'")
    _guard("restore_requests", _CHANGES)


def _wish_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("backup_id", sa.Text, nullable=False),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("tables", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("into_schema", sa.Text),
        sa.Column("rename", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("fill", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("safety_backup", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
    ]


def _decision_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", _INSTANT),
        sa.Column("decision_reason", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.Column("heartbeat_at", _INSTANT),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("plan", JSONB),
        sa.Column("report", JSONB),
        sa.Column("error_message", sa.Text),
        sa.Column("store", sa.Text, nullable=False, server_default="first"),
    ]


def _make_backup_copies() -> None:
    op.create_table(
        "backup_copies",
        sa.Column("backup_id", sa.Text, primary_key=True),
        sa.Column("store", sa.Text, primary_key=True),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("sha256", sa.Text),
        sa.Column("verification_level", sa.Text),
        sa.Column("verified_at", _INSTANT),
        sa.Column("error_message", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        _status_check("backup_copies", "copying good failed deleted"),
    )
    op.create_index("backup_copies_catalog", "backup_copies", ["catalog", "backup_id"])
    _index_where("backup_copies_good", "backup_copies", ["catalog"], "status = 'good'")
    _guard("backup_copies", _CHANGES)


def _make_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held_by", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("owner_host", sa.Text, nullable=False),
        sa.Column("owner_pid", sa.Integer, nullable=False),
        sa.Column("owner_started", sa.Double, nullable=False),
        sa.Column("acquired_at", _INSTANT, nullable=False),
        sa.Column("heartbeat_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("released_at", _INSTANT),
    )
    op.create_index("leases_holder", "leases", ["holder"])
    _guard("leases", _CHANGES)


def _make_alert_outbox() -> None:
    op.create_table(
        "alert_outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("alert", JSONB, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_try_at", _INSTANT, nullable=False),
        sa.Column("claimed_until", _INSTANT),
        sa.Column("delivered_at", _INSTANT),
        sa.Column("last_error", sa.Text),
        sa.Column("given_up_at", _INSTANT),
    )
    _index_where("alert_outbox_undelivered", "alert_outbox", ["id"], "delivered_at IS NULL")
    _guard("alert_outbox", _CHANGES)
    # What was delivered may go once it is old; what was not is never removed, by anybody.
    op.execute(f"GRANT DELETE ON alert_outbox TO {WRITER}")
    delivered = "USING (delivered_at IS NOT NULL)"
    op.execute(f"CREATE POLICY alert_outbox_delete ON alert_outbox FOR DELETE TO {WRITER} {delivered}")


def _make_backup_shapes() -> None:
    op.create_table(
        "backup_shapes",
        sa.Column("backup_id", sa.Text, primary_key=True),
        sa.Column("shape", JSONB, nullable=False),
    )
    _guard("backup_shapes", _CHANGES)


def _make_due_accounts() -> None:
    op.create_table(
        "due_accounts",
        sa.Column("catalog", sa.Text, primary_key=True),
        sa.Column("accounted_until", _INSTANT),
    )
    _guard("due_accounts", _CHANGES)


def _make_alert_threads() -> None:
    op.create_table(
        "alert_threads",
        sa.Column("catalog", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("opened_at", _INSTANT),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("told_at", _INSTANT),
        sa.Column("heard", sa.Boolean, nullable=False, server_default=sa.text("true")),
    )
    _guard("alert_threads", _CHANGES)


def _make_backup_readings() -> None:
    op.create_table(
        "backup_readings",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("backup_id", sa.Text, nullable=False),
        sa.Column("work", sa.Text, nullable=False),
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("owner_host", sa.Text, nullable=False),
        sa.Column("owner_pid", sa.Integer, nullable=False),
        sa.Column("owner_started", sa.Double, nullable=False),
        sa.Column("began_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
    )
    op.create_index("backup_readings_of_backup", "backup_readings", ["backup_id"])
    _guard("backup_readings", _COMES_AND_GOES)


_COUNT = """
CREATE FUNCTION backup_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backup_tallies AS told (catalog, ended_as, attempts) VALUES (NEW.catalog, NEW.status, 1)
    ON CONFLICT (catalog, ended_as) DO UPDATE SET attempts = told.attempts + 1;
    RETURN NULL;
END $$
"""


def _make_backup_tallies() -> None:
    """An attempt counts once, when it ends: what becomes of its backup later is no other end."""
    op.create_table(
        "backup_tallies",
        sa.Column("catalog", sa.Text, primary_key=True),
        sa.Column("ended_as", sa.Text, primary_key=True),
        sa.Column("attempts", sa.BigInteger, nullable=False),
    )
    _guard("backup_tallies", _CHANGES)
    op.execute(_COUNT)
    ended = "NEW.status NOT IN ('expected', 'running', 'expired', 'deleted')"
    counted = "FOR EACH ROW WHEN ({}) EXECUTE FUNCTION backup_tally()"
    op.execute(f"CREATE TRIGGER backup_logs_tally_insert AFTER INSERT ON backup_logs {counted.format(ended)}")
    ends = f"OLD.status IN ('expected', 'running') AND {ended}"
    op.execute(f"CREATE TRIGGER backup_logs_tally_update AFTER UPDATE OF status ON backup_logs {counted.format(ends)}")


def _status_check(table: str, statuses: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{status}'" for status in statuses.split())
    return sa.CheckConstraint(f"status IN ({listed})", name=f"{table}_status_check")


def _index_where(name: str, table: str, columns: list[str] | list[sa.TextClause], condition: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(condition))


def _guard(table: str, commands: tuple[str, ...]) -> None:
    """Let the ledger's roles do `commands` on `table`, and nobody anything else; forced on the owner too."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    # The owner keeps what changing the table's shape needs; its data is for members only.
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    op.execute(f"GRANT {', '.join(commands)} ON {table} TO {_ROLES}")
    for command in commands:
        policy = f"{table}_{command.lower()}"
        op.execute(f"CREATE POLICY {policy} ON {table} FOR {command} TO {_ROLES} {_CLAUSES[command]}")
