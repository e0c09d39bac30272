"""The console: its tables, its roles, what each role sees of every table, and the chain of the audit.

A person's SQL runs as the role of the person (`SET LOCAL ROLE`), with who it is in settings of the transaction:
`backup.user` (the number in `users`), `backup.actor`, `backup.businesses` and `backup.switches` (with commas between),
`backup.session`, `backup.address` and `backup.request`. `backup_pipeline_console` is the console before it knows who asks,
and may become each of the four. It inherits from none of them: whoever logs in as its member has no more than it has.

    table               viewer        business_admin    admin     super_admin   pipeline_console   pipeline_writer
    backup_logs         s             s own             siu       siu           -                  siu
    backup_copies       s             s own             siu       siu           -                  siu
    backup_shapes       s             s own             siu       siu           -                  siu
    backup_tallies      s             s own             siu       siu           -                  siu
    backup_readings     s, siud (d)   siud own          siud      siud          -                  siud
    backup_audit        own si        own si            si        si            si                 si
    restore_requests    s             s own, i, u (c)   siu       siu           -                  siu
    leases              s             s own             siu       siu           -                  siu
    due_accounts        s             s nothing         siu       siu           -                  siu
    alert_threads       s             s own             siu       siu           -                  siu
    alert_outbox        s             s nothing         siu       siu           -                  siu, d delivered
    users               own s         own s             own s     siu           siu                -
    console_sessions    own s, end    own s, end        own ...   s, end        siud               -
    login_failures      -             -                 -         s             siud               -
    one_time_links      -             -                 -         siu           siud               -
    download_links      own s, i (d)  s own, i, end     siu       siu           siu                -
    run_requests        s, i, u (r)   s own, i, u       siu       siu           siu                siu
    run_progress        s             s own             s         s             s                  siud
    realtime_events     s             s own             s         s             s                  sid
    dagster_outbox      i (r)         i                 siu       siu           siu                siud
    system_settings     -             -                 s         siu           siu                s

s, i, u, d: select, insert, update, delete. *own*: of one's businesses, or for people, sessions, links and audit one's own
rows. (r), (d): with the switch for runs, for downloads. (c): to take one's own request back. Rows that say who acts can
be added by a viewer or a business_admin in their own name only.

Row-level security is forced on each table. The rights of `admin`, `super_admin` and `backup_pipeline_writer` on the tables
of before stay as they were.

**The audit's chain.** Every row of `backup_audit` has the SHA-256 of what it says and of the row before it. Triggers see to
it, whoever writes: a lock of the transaction is taken before the row gets its number, so that the order of the numbers is
the order of the chain. The rows of before are chained here, as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import CONSOLE
from backup_pipeline.ledger.migrate import WRITER
from backup_pipeline.ledger.migrate import require_console_roles

revision = "r0010"
down_revision = "r0009"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_EMPTY_OBJECT = sa.text("'{}'::jsonb")
_EMPTY_LIST = sa.text("'[]'::jsonb")

VIEWER, OWN_ADMIN, ADMIN, SUPER = "backup_viewer", "backup_business_admin", "admin", "super_admin"
_EVERYBODY = (VIEWER, OWN_ADMIN, ADMIN, SUPER)

_PERSON = "nullif(current_setting('backup.user', true), '')::bigint"
_IN_OWN_NAME = "actor = nullif(current_setting('backup.actor', true), '')"
_BUSINESSES = "ANY (string_to_array(current_setting('backup.businesses', true), ','))"
_OWN = f"business = {_BUSINESSES}"
_SWITCHES = "ANY (string_to_array(current_setting('backup.switches', true), ','))"
_MAY_RUN = f"'run' = {_SWITCHES}"
_MAY_DOWNLOAD = f"'download' = {_SWITCHES}"

_NEW = ("users", "console_sessions", "login_failures", "one_time_links", "download_links", "run_requests",
        "run_progress", "realtime_events", "dagster_outbox", "system_settings")  # fmt: skip
_BEFORE = ("backup_logs", "backup_audit", "backup_copies", "backup_shapes", "backup_tallies", "backup_readings",
           "restore_requests", "leases", "due_accounts", "alert_threads", "alert_outbox")  # fmt: skip


def upgrade() -> None:
    """Make the tables, the roles, their policies, and the chain of the audit.

    No foreign keys: PostgreSQL looks them up with the rights of the table's owner, who has none.
    """
    require_console_roles(op.get_bind())
    _make_people()
    _make_links()
    _make_runs()
    _make_events()
    for table in _NEW:
        _close(table)
    _let_people_see_backups()
    _let_people_ask()
    _let_people_sign_in()
    _let_people_run()
    _chain_the_audit()


def downgrade() -> None:
    """Undo it. The roles stay, because other databases of the cluster may use them."""
    for trigger in ("backup_audit_in_turn", "backup_audit_chain"):
        op.execute(f"DROP TRIGGER {trigger} ON backup_audit")
    for function in ("backup_audit_in_turn()", "backup_audit_chain()", "backup_audit_sha256(backup_audit)"):
        op.execute(f"DROP FUNCTION {function}")
    for column in ("address", "session", "request_id", "previous", "sha256"):
        op.drop_column("backup_audit", column)
    op.execute(f"DROP TABLE {', '.join(_NEW)}")
    people = ", ".join((VIEWER, OWN_ADMIN, CONSOLE))
    for table in _BEFORE:
        op.execute(f"REVOKE ALL ON {table} FROM {people}")
        for name in _policies_of(table):
            if name.endswith((f"_{VIEWER}", f"_{OWN_ADMIN}", f"_{CONSOLE}")):
                op.execute(f"DROP POLICY {name} ON {table}")


def _policies_of(table: str) -> list[str]:
    query = sa.text("SELECT polname FROM pg_policy WHERE polrelid = to_regclass(:table)")
    return list(op.get_bind().scalars(query, {"table": table}))


def _make_people() -> None:
    op.create_table(
        "users",
        _number(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("may_run", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("may_download", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("businesses", JSONB, nullable=False, server_default=_EMPTY_LIST),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("disabled_at", _INSTANT),
        sa.Column("last_login_at", _INSTANT),
        sa.Column("password_hash", sa.Text),
        sa.Column("password_at", _INSTANT),
        sa.Column("totp_secret", sa.Text),
        sa.Column("totp_at", _INSTANT),
        sa.Column("totp_step", sa.BigInteger),
        sa.Column("recovery_codes", JSONB, nullable=False, server_default=_EMPTY_LIST),
        sa.Column("oidc_subject", sa.Text, unique=True),
        _check("users", "role", "viewer business_admin admin super_admin"),
    )
    op.create_index("users_name", "users", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "console_sessions",
        _number(),
        sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("seen_at", _INSTANT, nullable=False),
        sa.Column("password_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("address", sa.Text, nullable=False, server_default=""),
        sa.Column("agent", sa.Text, nullable=False, server_default=""),
        sa.Column("factors", sa.Text, nullable=False, server_default="password"),
        sa.Column("ended_at", _INSTANT),
        sa.Column("ended_why", sa.Text),
    )
    op.create_index("console_sessions_of_user", "console_sessions", ["user_id", "id"])
    op.create_table(
        "login_failures",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", _INSTANT, nullable=False),
    )


def _make_links() -> None:
    op.create_table(
        "one_time_links",
        _number(),
        sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("used_at", _INSTANT),
        _check("one_time_links", "purpose", "first_admin invite"),
    )
    op.create_table(
        "download_links",
        _number(),
        sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
        sa.Column("backup_id", sa.Text, nullable=False),
        *_scope(),
        sa.Column("rendering", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False, server_default=_EMPTY_OBJECT),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("revoked_at", _INSTANT),
        sa.Column("used_at", _INSTANT),
        sa.Column("uses", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    op.create_index("download_links_of_backup", "download_links", ["backup_id", "id"])
    op.create_table(
        "system_settings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", JSONB, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )


def _make_runs() -> None:
    op.create_table(
        "run_requests",
        sa.Column("id", sa.Uuid, primary_key=True),
        *_scope(),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False, server_default=_EMPTY_OBJECT),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("launched_at", _INSTANT),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("alerted_at", _INSTANT),
        sa.Column("error_message", sa.Text),
        sa.Column("command", sa.Text, nullable=False, server_default=""),
        sa.Column("result", JSONB),
        _check("run_requests", "status", "requested launched running done failed canceled refused"),
    )
    op.create_index("run_requests_catalog", "run_requests", ["catalog", sa.text("created_at DESC")])
    op.create_index("run_requests_run", "run_requests", ["run_id"])
    open_ = sa.text("status IN ('requested', 'launched', 'running')")
    op.create_index("run_requests_open", "run_requests", ["created_at"], postgresql_where=open_)
    op.create_table(
        "run_progress",
        sa.Column("run_id", sa.Text, primary_key=True),
        *_scope(),
        sa.Column("stage", sa.Text, nullable=False, server_default=""),
        sa.Column("table_name", sa.Text, nullable=False, server_default=""),
        sa.Column("tables_done", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tables_total", sa.Integer),
        sa.Column("rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("estimated_rows", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("total_bytes", sa.BigInteger),
        sa.Column("message", sa.Text, nullable=False, server_default=""),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
    )


def _make_events() -> None:
    op.create_table(
        "realtime_events",
        _number(),
        sa.Column("at", _INSTANT, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("catalog", sa.Text),
        sa.Column("business", sa.Text),
        sa.Column("subject", sa.Text, nullable=False, server_default=""),
        sa.Column("detail", JSONB, nullable=False, server_default=_EMPTY_OBJECT),
    )
    op.create_index("realtime_events_at", "realtime_events", ["at"])
    op.create_table(
        "dagster_outbox",
        _number(),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("asset", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False, server_default=_EMPTY_OBJECT),
        sa.Column("sent_at", _INSTANT),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("last_error", sa.Text),
    )


def _number() -> sa.Column[object]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _scope() -> list[sa.Column[object]]:
    return [
        sa.Column("catalog", sa.Text, nullable=False),
        sa.Column("business", sa.Text),
        sa.Column("purpose", sa.Text, nullable=False, server_default="backup"),
    ]


def _check(table: str, column: str, values: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values.split())
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{table}_{column}_check")


def _let_people_see_backups() -> None:
    """What there was before the console. Who reads notes it, and what is read is kept as long."""
    key = "split_part({}, '/businesses/', 2) = " + _BUSINESSES
    visible = "EXISTS (SELECT FROM backup_logs AS visible WHERE visible.backup_id = {}.backup_id)"
    own = {
        "backup_logs": _OWN,
        "backup_copies": _OWN,
        "restore_requests": _OWN,
        "backup_shapes": visible.format("backup_shapes"),
        "backup_readings": visible.format("backup_readings"),
        "backup_tallies": key.format("scope"),
        "alert_threads": key.format("scope"),
        "leases": key.format("name"),
        "due_accounts": "false",
        "alert_outbox": "false",
    }
    for table, condition in own.items():
        _allow(table, (VIEWER,), "SELECT")
        _allow(table, (OWN_ADMIN,), "SELECT", condition)
    for command in ("INSERT", "UPDATE", "DELETE"):
        _allow("backup_readings", (VIEWER,), command, _MAY_DOWNLOAD)
        _allow("backup_readings", (OWN_ADMIN,), command, own["backup_readings"])
    for command in ("SELECT", "INSERT"):
        _allow("backup_audit", (VIEWER, OWN_ADMIN), command, _IN_OWN_NAME)
        _allow("backup_audit", (CONSOLE,), command)


def _let_people_ask() -> None:
    """A business_admin asks for a restore, and may take that back as long as nobody has decided."""
    _allow("restore_requests", (OWN_ADMIN,), "INSERT", f"{_OWN} AND {_IN_OWN_NAME} AND status = 'requested'")
    mine = f"{_OWN} AND {_IN_OWN_NAME}"
    taken_back = f"{mine} AND status IN ('requested', 'canceled')"
    _allow("restore_requests", (OWN_ADMIN,), "UPDATE", f"{mine} AND status = 'requested'", taken_back)
    for command in ("SELECT", "INSERT", "UPDATE"):
        _allow("download_links", (ADMIN, SUPER, CONSOLE), command)
    _allow("download_links", (VIEWER,), "SELECT", f"user_id = {_PERSON}")
    _allow("download_links", (OWN_ADMIN,), "SELECT", _OWN)
    for command in ("INSERT", "UPDATE"):
        _allow("download_links", (VIEWER,), command, f"user_id = {_PERSON} AND {_IN_OWN_NAME} AND {_MAY_DOWNLOAD}")
        _allow("download_links", (OWN_ADMIN,), command, f"user_id = {_PERSON} AND {_IN_OWN_NAME} AND {_OWN}")


def _let_people_sign_in() -> None:
    """People see themselves; a super_admin sees everybody. Who failed to sign in is the console's matter."""
    for command in ("SELECT", "INSERT", "UPDATE"):
        _allow("users", (SUPER, CONSOLE), command)
        _allow("one_time_links", (SUPER, CONSOLE), command)
        _allow("console_sessions", (CONSOLE,), command)
        _allow("login_failures", (CONSOLE,), command)
    for table in ("one_time_links", "console_sessions", "login_failures"):
        _allow(table, (CONSOLE,), "DELETE")
    _allow("login_failures", (SUPER,), "SELECT")
    _allow("users", (VIEWER, OWN_ADMIN, ADMIN), "SELECT", f"id = {_PERSON}")
    for role, rows in ((VIEWER, "own"), (OWN_ADMIN, "own"), (ADMIN, "own"), (SUPER, "all")):
        mine = f"user_id = {_PERSON}" if rows == "own" else "true"
        _allow("console_sessions", (role,), "SELECT", mine)
        _allow("console_sessions", (role,), "UPDATE", mine, columns="ended_at, ended_why")
    _allow("system_settings", (ADMIN, SUPER, CONSOLE, WRITER), "SELECT")
    for command in ("INSERT", "UPDATE"):
        _allow("system_settings", (SUPER, CONSOLE), command)


def _let_people_run() -> None:
    """Runs are asked for by people, and written about by the pipeline."""
    for command in ("SELECT", "INSERT", "UPDATE"):
        _allow("run_requests", (ADMIN, SUPER, CONSOLE, WRITER), command)
        _allow("dagster_outbox", (ADMIN, SUPER, CONSOLE, WRITER), command)
        _allow("run_progress", (WRITER,), command)
    for table in ("run_requests", "run_progress", "realtime_events"):
        _allow(table, (VIEWER,), "SELECT")
        _allow(table, (OWN_ADMIN,), "SELECT", _OWN)
    for command in ("INSERT", "UPDATE"):
        _allow("run_requests", (VIEWER,), command, f"{_IN_OWN_NAME} AND {_MAY_RUN}")
        _allow("run_requests", (OWN_ADMIN,), command, f"{_IN_OWN_NAME} AND {_OWN}")
    for table in ("run_progress", "realtime_events"):
        _allow(table, (ADMIN, SUPER, CONSOLE), "SELECT")
    for command in ("SELECT", "INSERT"):
        _allow("realtime_events", (WRITER,), command)
    for table in ("run_progress", "realtime_events", "dagster_outbox"):
        _allow(table, (WRITER,), "DELETE")


def _close(table: str) -> None:
    """Nobody, the owner included, has any right on a table but those that are given below."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")


def _allow(
    table: str, roles: tuple[str, ...], command: str, rows: str = "true", after: str = "", columns: str = ""
) -> None:
    """Let the roles do `command` on those `rows`, which are, when written, as `after` says (without it, `rows`)."""
    of = f" ({columns})" if columns else ""
    using = "" if command == "INSERT" else f"USING ({rows})"
    checked = f"WITH CHECK ({after or rows})" if command in {"INSERT", "UPDATE"} else ""
    for role in roles:
        op.execute(f"GRANT {command}{of} ON {table} TO {role}")
        policy = f"{table}_{command.lower()}_{role}"
        op.execute(f"CREATE POLICY {policy} ON {table} FOR {command} TO {role} {using} {checked}")


_LOCK = int.from_bytes(b"audit", "big")
_SHA256 = """
CREATE FUNCTION backup_audit_sha256(entry backup_audit) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    content text := '';
    value text;
BEGIN
    FOREACH value IN ARRAY ARRAY[
        entry.previous, entry.id::text, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        entry.actor, entry.action, entry.backup_id, entry.detail::text, entry.address, entry.session::text,
        entry.request_id
    ] LOOP
        content := content || coalesce(length(value) || ':' || value, '-');
    END LOOP;
    RETURN encode(sha256(convert_to(content, 'UTF8')), 'hex');
END $$
"""
_IN_TURN = f"""
CREATE FUNCTION backup_audit_in_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'backup_audit is written in read committed transactions only: others do not see the row before theirs';
    END IF;
    PERFORM pg_advisory_xact_lock({_LOCK});
    RETURN NULL;
END $$
"""
# Rights of its owner: whoever writes a row may not see the one before it.
_CHAIN = """
CREATE FUNCTION backup_audit_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.previous := coalesce((SELECT sha256 FROM {schema}.backup_audit ORDER BY id DESC LIMIT 1), '');
    NEW.address := coalesce(NEW.address, nullif(current_setting('backup.address', true), ''));
    NEW.session := coalesce(NEW.session, nullif(current_setting('backup.session', true), '')::bigint);
    NEW.request_id := coalesce(NEW.request_id, nullif(current_setting('backup.request', true), ''));
    NEW.sha256 := {schema}.backup_audit_sha256(NEW);
    RETURN NEW;
END $$
"""
_CHAIN_THE_ROWS_OF_BEFORE = """
DO $$
DECLARE
    entry backup_audit;
    last text := '';
BEGIN
    FOR entry IN SELECT * FROM backup_audit ORDER BY id LOOP
        entry.previous := last;
        last := backup_audit_sha256(entry);
        UPDATE backup_audit SET previous = entry.previous, sha256 = last WHERE id = entry.id;
    END LOOP;
END $$
"""


def _chain_the_audit() -> None:
    for name, kind in (("address", sa.Text), ("session", sa.BigInteger), ("request_id", sa.Text)):
        op.add_column("backup_audit", sa.Column(name, kind))
    for name in ("previous", "sha256"):
        op.add_column("backup_audit", sa.Column(name, sa.Text))
    op.execute(_SHA256)
    # Whoever migrates owns the table; as its owner alone, without the rights that all others are refused.
    op.execute("ALTER TABLE backup_audit DISABLE TRIGGER backup_audit_append_only, NO FORCE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT, UPDATE ON backup_audit TO CURRENT_USER")
    op.execute(_CHAIN_THE_ROWS_OF_BEFORE)
    op.execute("REVOKE SELECT, UPDATE ON backup_audit FROM CURRENT_USER")
    op.execute("ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER backup_audit_append_only, FORCE ROW LEVEL SECURITY")
    for name in ("previous", "sha256"):
        op.alter_column("backup_audit", name, nullable=False)
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(_IN_TURN)
    op.execute(_CHAIN.format(schema=schema))
    for name, each in (("backup_audit_in_turn", "STATEMENT"), ("backup_audit_chain", "ROW")):
        op.execute(f"CREATE TRIGGER {name} BEFORE INSERT ON backup_audit FOR EACH {each} EXECUTE FUNCTION {name}()")
        op.execute(f"ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER {name}")
