"""What the ledger shows and lets people do, each as the role of the person: every table, every role."""

from __future__ import annotations

import subprocess
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import LedgerError, RefusedError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.access import identity_settings
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import VERSION_TABLE, head_revision, upgrade
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline_tests.ledger.attempts import NOON, attempt
from backup_pipeline_tests.ledger.logins import as_login, new_login
from backup_pipeline_tests.ledger.revisions import alembic_script, current_revision, step
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

PEOPLE = {
    "viewer": User(1, "viewer", Role.VIEWER, NOON),
    "runner": User(2, "runner", Role.VIEWER, NOON, may_run=True, may_download=True),
    "owner": User(3, "owner", Role.BUSINESS_ADMIN, NOON, businesses=("b1", "b3")),
    "admin": User(4, "admin", Role.ADMIN, NOON),
    "super": User(5, "super", Role.SUPER_ADMIN, NOON),
}
CONSOLE, NOBODY = "console", "nobody"
PIPELINE = "pipeline"
"""The console before it knows who asks; a business_admin without any setting, as from a forgotten call; and runs."""

_BUSINESSES = ("b1", "b2", None)

# Rows that are seen of three: of business b1, of b2, and of the whole catalog. For what belongs to people: of the
# owner, of somebody else, and of nobody in particular. None: not even asking is allowed.
SEEN: dict[str, tuple[int | None, ...]] = {
    # table             viewer, runner, owner, admin, super, console, nobody, pipeline
    "backup_logs":       (3, 3, 1, 3, 3, None, 0, 3),
    "backup_copies":     (3, 3, 1, 3, 3, None, 0, 3),
    "backup_shapes":     (3, 3, 1, 3, 3, None, 0, 3),
    "backup_tallies":    (3, 3, 1, 3, 3, None, 0, 3),
    "backup_readings":   (3, 3, 1, 3, 3, None, 0, 3),
    "backup_audit":      (0, 0, 1, 3, 3, 3, 0, 3),
    "restore_requests":  (3, 3, 1, 3, 3, None, 0, 3),
    "leases":            (3, 3, 1, 3, 3, None, 0, 3),
    "shards":            (None, None, None, 3, 3, None, None, 3),
    "due_accounts":      (3, 3, 0, 3, 3, None, 0, 3),
    "alert_threads":     (3, 3, 1, 3, 3, None, 0, 3),
    "alert_outbox":      (3, 3, 0, 3, 3, None, 0, 3),
    "users":             (1, 1, 1, 1, 5, 5, 0, None),
    "console_sessions":  (0, 0, 1, 1, 3, 3, 0, None),
    "login_failures":    (None, None, None, None, 3, 3, None, None),
    "one_time_links":    (None, None, None, None, 3, 3, None, None),
    "download_links":    (0, 0, 1, 3, 3, 3, 0, None),
    "run_requests":      (3, 3, 1, 3, 3, 3, 0, 3),
    "run_progress":      (3, 3, 1, 3, 3, 3, 0, 3),
    "realtime_events":   (3, 3, 1, 3, 3, 3, 0, 3),
    "dagster_outbox":    (None, None, None, 3, 3, 3, None, 3),
    "system_settings":   (None, None, None, 3, 3, 3, None, 3),
    "api_keys":          (None, None, None, None, 3, 3, None, None),
    "api_usage_logs":    (0, 0, 0, 3, 3, 3, 0, None),
    "api_usage_hours":   (0, 0, 0, 3, 3, 3, 0, None),
    "api_answers":       (None, None, None, None, None, 3, None, None),
    "webhooks":          (None, None, None, None, 3, 3, None, None),
    "webhook_deliveries": (None, None, None, None, 3, 3, None, None),
    # None of them belongs to a whole catalog: the third row is of b9.
    "businesses":        (3, 3, 1, 3, 3, None, 0, 3),
    "business_features": (3, 3, 1, 3, 3, None, 0, 3),
    "business_history":  (None, None, None, None, 3, None, None, 3),
    "plans":             (3, 3, 3, 3, 3, None, 3, 3),
    "payment_records":   (None, None, None, None, 3, None, None, 3),
    "analytics_cache":   (None, None, None, None, 3, None, None, 3),
    "super_admins":      (None, None, None, None, 1, 1, None, None),
    "business_ticks":    (3, 3, 0, 3, 3, None, 0, 3),
    "own_business_ticks": (0, 0, 3, 0, 0, None, 0, 0),
    "business_misses":   (3, 3, 1, 3, 3, None, 0, 3),
    "backup_records":    (2, 2, 1, 2, 2, None, 0, 2),
}  # fmt: skip

_SQL = """
INSERT INTO backup_logs
    (backup_id, catalog, business, kind, type, actor, partition_date, status, created_at, started_at)
    VALUES (%(id)s, 'retail', %(b)s, 'full', 'manual', 'rahim', now(), 'running', now(), now());
UPDATE backup_logs SET status = 'failed' WHERE backup_id = %(id)s;
INSERT INTO backup_copies (backup_id, store, catalog, business, status, at)
    VALUES (%(id)s, 's', 'retail', %(b)s, 'good', now());
INSERT INTO backup_shapes (backup_id, shape) VALUES (%(id)s, '{}');
INSERT INTO backup_readings (backup_id, work, actor, owner_host, owner_pid, owner_started, began_at, expires_at)
    VALUES (%(id)s, 'verify', 'rahim', 'h', 1, 1, now(), now() + interval '1 day');
INSERT INTO backup_audit (at, actor, action, backup_id) VALUES (now(), %(actor)s, 'backup', %(id)s);
INSERT INTO restore_requests (backup_id, catalog, business, mode, target, database, actor, created_at, status)
    VALUES (%(id)s, 'retail', %(b)s, 'replace', 't', 'd', 'rahim', now(), 'requested');
INSERT INTO leases
    (name, token, holder, actor, owner_host, owner_pid, owner_started, acquired_at, heartbeat_at, expires_at)
    VALUES (%(key)s, 1, 'h', 'rahim', 'h', 1, 1, now(), now(), now());
INSERT INTO shards (work, number, detail) VALUES (%(id)s, 1, '{}');
INSERT INTO due_accounts (catalog) VALUES (%(id)s);
INSERT INTO alert_threads (scope, topic, failures, notified) VALUES (%(key)s, 't', 1, 1);
INSERT INTO alert_outbox (created_at, alert, channel, attempts, next_try_at) VALUES (now(), '{}', 'c', 0, now());
INSERT INTO console_sessions (token_sha256, user_id, created_at, seen_at, password_at, expires_at)
    VALUES (%(id)s, %(person)s, now(), now(), now(), now());
INSERT INTO login_failures (key, failures, last_at) VALUES (%(id)s, 1, now());
INSERT INTO one_time_links (token_sha256, purpose, actor, created_at, expires_at)
    VALUES (%(id)s, 'invite', 'rahim', now(), now());
INSERT INTO download_links
    (token_sha256, backup_id, catalog, business, rendering, user_id, actor, created_at, expires_at)
    VALUES (%(id)s, %(id)s, 'retail', %(b)s, 'zip', 9, 'rahim', now(), now());
INSERT INTO run_requests (id, catalog, business, verb, actor, created_at, status)
    VALUES (gen_random_uuid(), 'retail', %(b)s, 'backup', 'rahim', now(), 'requested');
INSERT INTO run_progress (run_id, catalog, business, started_at, updated_at)
    VALUES (%(id)s, 'retail', %(b)s, now(), now());
INSERT INTO realtime_events (kind, catalog, business) VALUES ('backup', 'retail', %(b)s);
INSERT INTO dagster_outbox (created_at, catalog, asset, message) VALUES (now(), 'retail', 'a', 'm');
INSERT INTO system_settings (key, value, updated_at, actor) VALUES (%(id)s, '1', now(), 'rahim');
INSERT INTO api_keys (name, sha256, shown, business, permissions, created_at, actor)
    VALUES (%(id)s, encode(sha256(%(id)s::text::bytea), 'hex'), 'sk_', %(b)s, '[]', now(), 'rahim');
INSERT INTO api_usage_logs (at, request_id, key_id, route, allowed) VALUES (now(), %(id)s, 1, 'GET /', true);
INSERT INTO api_usage_hours VALUES (now(), 1, %(id)s, 1, 0, 0, 0, 0, '[]');
INSERT INTO webhooks (name, url, secret, created_at, actor) VALUES (%(id)s, 'https://x', 's', now(), 'rahim');
INSERT INTO webhook_deliveries (webhook_id, event_id, event, created_at) VALUES (%(person)s, 1, '{}', now());
INSERT INTO api_answers (key_id, idempotency_key, fingerprint, at) VALUES (1, %(id)s, 'f', now());
INSERT INTO businesses (catalog, business, name, status, registered_at, updated_at, actor)
    VALUES ('retail', coalesce(%(b)s, 'b9'), 'n', 'active', now(), now(), 'rahim');
INSERT INTO business_features VALUES ('retail', coalesce(%(b)s, 'b9'), 'backups', false, now(), 'rahim');
INSERT INTO business_history (catalog, business, at, status)
    VALUES ('retail', coalesce(%(b)s, 'b9'), now(), 'active');
INSERT INTO plans (name, title, price, currency, period, updated_at, actor)
    VALUES (%(id)s, 't', 1, 'BDT', 'month', now(), 'rahim');
INSERT INTO payment_records (catalog, business, plan, price, currency, period, amount, method, reference, status,
    periods, credit_before, credit_after, paid_at, verified_at, verified_by, next_payment_date, actor)
    VALUES ('retail', coalesce(%(b)s, 'b9'), 'pro', 1, 'BDT', 'month', 1, 'cash', %(id)s, 'verified',
    1, 0, 0, now(), now(), 'karim', now(), 'rahim');
INSERT INTO analytics_cache VALUES (%(id)s, '', '', 1, now(), '{}');
INSERT INTO business_ticks (catalog, scheduled_at, status) VALUES ('retail', now(), 'running');
INSERT INTO business_misses (tick_id, business, catalog, outcome, reason)
    VALUES ((SELECT max(id) FROM business_ticks), coalesce(%(b)s, 'b9'), 'retail', 'failed', 'r');
"""


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    """Three rows in each table, and the people."""
    return with_rows()


def with_rows() -> ScratchLedger:
    """A ledger with three rows in each table, and the people."""
    made = new_ledger()
    with psycopg.connect(made.url) as session:
        session.execute("SET session_replication_role = replica")  # the events' own triggers would add rows
        session.execute("TRUNCATE realtime_events")
        for user in PEOPLE.values():
            insert = "INSERT INTO users (name, role, created_at, actor) VALUES (%s, %s, now(), 'rahim')"
            session.execute(insert, [user.name, user.role])
        for number, business in enumerate(_BUSINESSES):
            key = f"retail/businesses/{business}" if business else "retail"
            values = {"id": f"id{number}", "b": business, "key": key, "person": 3 + number}
            values["actor"] = ("person:owner", "person:else", "schedule")[number]
            for statement in filter(str.strip, _SQL.split(";\n")):
                session.execute(statement.encode(), values)
        for business in _BUSINESSES:
            key = f"retail/businesses/{business}" if business else "retail"
            session.execute("INSERT INTO backup_tallies VALUES (%s, 'failed', 1) ON CONFLICT DO NOTHING", [key])
    return made


def test_each_migration_goes_down_and_up_again_over_rows_in_every_table() -> None:
    """Down to nothing: what a table kept is gone then, and what is made anew is what was there."""
    made = with_rows()
    rows, schema = _attempts(made), _schema(made)
    revisions = [each.revision for each in alembic_script().walk_revisions()]
    assert revisions[0] == head_revision()
    for place in (1, len(revisions) - 1):
        for revision in revisions[1 : place + 1]:
            step(made.url, down_to=revision)
            assert current_revision(made.url) == revision
        upgrade(made.url)
        assert (_attempts(made), _schema(made)) == (rows, schema)
    step(made.url, down_to="base")
    upgrade(made.url)
    assert (_attempts(made), _schema(made)) == ([], schema)


def _attempts(of: ScratchLedger) -> list[str]:
    return [f"{row.backup_id} {row.scope} {row.actor} {row.status}" for row in of.list()]


def _schema(of: ScratchLedger) -> str:
    """Tables, policies, grants, functions and triggers, as statements."""
    command = [str(find_binaries().tool("pg_dump")), "--schema-only", of.url]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def _become(session: psycopg.Connection, who: str) -> None:
    """As the console does: within a transaction."""
    settings = identity_settings(PersonIdentity(PEOPLE.get(who)))
    if who == NOBODY:
        settings = {"role": "backup_business_admin"}
    if who == PIPELINE:
        settings = {"role": "backup_pipeline_writer"}
    for name, value in settings.items():
        session.execute("SELECT set_config(%s, %s, true)", [name, value])


WHO = (*PEOPLE, CONSOLE, NOBODY, PIPELINE)


@pytest.mark.acceptance("0.9", "3.24")
@pytest.mark.parametrize("place", range(len(WHO)), ids=WHO)
def test_every_role_sees_of_every_table_what_is_its_own(ledger: ScratchLedger, place: int) -> None:
    seen: dict[str, int | None] = {}
    with psycopg.connect(ledger.url) as session:
        for table in SEEN:
            _become(session, WHO[place])
            try:
                [(count,)] = session.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                ).fetchall()
                seen[table] = count
            except psycopg.errors.InsufficientPrivilege:
                seen[table] = None
            session.rollback()
    assert seen == {table: expected[place] for table, expected in SEEN.items()}


@pytest.mark.acceptance("3.24")
def test_no_table_of_the_ledger_is_unguarded(ledger: ScratchLedger) -> None:
    query = """
        SELECT relname,
               relrowsecurity AND relforcerowsecurity OR (relkind = 'v' AND reloptions @> '{security_invoker=true}'),
               has_table_privilege('public', pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
        FROM pg_class WHERE relkind IN ('r', 'p', 'f', 'm', 'v') AND relnamespace = 'public'::regnamespace"""
    with psycopg.connect(ledger.url) as session:
        rows = session.execute(query).fetchall()
    guarded = {name: closed and not public for name, closed, public in rows if name != VERSION_TABLE}
    # It has its owner's rights, and shows by the setting of the policies what concerns somebody's own businesses:
    # web/test_businesses.py: ticks_tell_who_has_single_businesses_nothing_of_others.
    assert [name for name, is_guarded in guarded.items() if not is_guarded] == ["own_business_ticks"]
    months = {name for name in guarded if name.startswith("api_usage_logs_")}
    assert len(months) == 4, "the month before, this one, and two to come"
    assert set(guarded) - months == set(SEEN), "a table that is new needs a row in SEEN"


@pytest.mark.parametrize("who", WHO)
def test_a_month_of_the_log_is_read_through_the_whole_alone(ledger: ScratchLedger, who: str) -> None:
    query = "SELECT relname FROM pg_class WHERE relname LIKE 'api\\_usage\\_logs\\_20%%' AND relkind = 'r'"
    with psycopg.connect(ledger.url) as session:
        for (month,) in session.execute(query).fetchall():
            _become(session, who)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(month)))
            session.rollback()


@pytest.mark.parametrize("who", WHO[:-1])
def test_nobody_at_a_browser_takes_away_or_truncates_what_happened(ledger: ScratchLedger, who: str) -> None:
    kept = set(SEEN) - {"console_sessions", "login_failures", "one_time_links", "backup_readings", "api_answers"}
    kept -= {"webhooks", "webhook_deliveries", "api_usage_hours"}  # a setting, and sums; the audit and the log stay
    kept -= {"super_admins", "backup_records", "own_business_ticks"}  # views
    with psycopg.connect(ledger.url) as session:
        for table in sorted(kept):
            for statement in ("DELETE FROM {}", "TRUNCATE {}"):
                _become(session, who)
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(sql.SQL(statement).format(sql.Identifier(table)))
                session.rollback()


_RUN = "INSERT INTO run_requests (id, catalog, business, verb, actor, created_at, status) VALUES (gen_random_uuid(), 'retail', {}, 'backup', {}, now(), 'requested')"  # fmt: skip  # noqa: E501
_ASK = "INSERT INTO restore_requests (backup_id, catalog, business, mode, target, database, actor, created_at, status) VALUES ('x', 'retail', {}, 'replace', 't', 'd', {}, now(), {})"  # fmt: skip  # noqa: E501


@pytest.mark.acceptance("0.9", "3.24")
@pytest.mark.parametrize(
    ("who", "statement", "allowed"),
    [
        ("viewer", _RUN.format("NULL", "'person:viewer'"), False),
        ("runner", _RUN.format("NULL", "'person:runner'"), True),
        ("runner", _RUN.format("NULL", "'person:karim'"), False),
        ("owner", _RUN.format("'b1'", "'person:owner'"), True),
        ("owner", _RUN.format("'b2'", "'person:owner'"), False),
        ("owner", _RUN.format("NULL", "'person:owner'"), False),
        ("owner", _RUN.format("'b1'", "'person:karim'"), False),
        ("owner", _ASK.format("'b1'", "'person:owner'", "'requested'"), True),
        ("owner", _ASK.format("'b1'", "'person:owner'", "'approved'"), False),
        ("owner", _ASK.format("'b2'", "'person:owner'", "'requested'"), False),
        ("viewer", _ASK.format("NULL", "'person:viewer'", "'requested'"), False),
        ("viewer", "INSERT INTO backup_audit (at, actor, action) VALUES (now(), 'person:viewer', 'x')", True),
        ("viewer", "INSERT INTO backup_audit (at, actor, action) VALUES (now(), 'person:karim', 'x')", False),
        ("owner", "INSERT INTO users (name, role, created_at, actor) VALUES ('x', 'super_admin', now(), 'x')", False),
        ("admin", "INSERT INTO users (name, role, created_at, actor) VALUES ('x', 'super_admin', now(), 'x')", False),
        ("admin", "UPDATE users SET role = 'super_admin'", False),
        ("owner", "UPDATE users SET businesses = '[]'", False),
        ("owner", "UPDATE console_sessions SET expires_at = now() + interval '1 year'", False),
        ("admin", "INSERT INTO system_settings (key, value, updated_at, actor) VALUES ('x', '1', now(), 'x')", False),
        ("super", "INSERT INTO system_settings (key, value, updated_at, actor) VALUES ('x', '1', now(), 'x')", True),
        ("super", "INSERT INTO users (name, role, created_at, actor) VALUES ('x', 'viewer', now(), 'x')", True),
        ("owner", "UPDATE backup_logs SET held_reason = 'mine'", False),
        ("viewer", "UPDATE backup_logs SET held_reason = 'mine'", False),
        ("owner", "UPDATE businesses SET credit = 1000", False),
        ("admin", "UPDATE businesses SET next_payment_date = NULL", False),
        ("admin", "UPDATE plans SET price = 1", False),
        ("owner", "UPDATE business_features SET enabled = true", False),
        ("super", "UPDATE plans SET price = 2 WHERE name = 'id1'", True),
        ("super", "UPDATE payment_records SET amount = 1000", False),
        ("super", "INSERT INTO business_history (catalog, business, at, status) VALUES ('r', 'b', now(), 'x')", False),
    ],
)
def test_what_people_may_write(ledger: ScratchLedger, who: str, statement: str, allowed: bool) -> None:
    with psycopg.connect(ledger.url) as session:
        _become(session, who)
        if allowed:
            assert session.execute(statement.encode()).rowcount == 1
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())
        session.rollback()


def test_one_ends_ones_own_sessions_and_nobody_elses(ledger: ScratchLedger) -> None:
    with psycopg.connect(ledger.url) as session:
        for who, expected in (("owner", 1), ("viewer", 0), ("super", 3)):
            _become(session, who)
            assert session.execute("UPDATE console_sessions SET ended_at = now()").rowcount == expected
            session.rollback()


def test_a_ledger_for_a_person_is_that_persons_and_the_next_one_is_not() -> None:
    """The connections are the same: nothing of a person stays behind."""
    with closing(new_ledger()) as ledger:
        own = replace(attempt("own"), scope=Scope("retail", business="b1"))
        other = replace(attempt("other", minutes=1), scope=Scope("retail", business="b2"))
        for row in (own, other):
            ledger.begin(row)
        seen = [row.backup_id for row in ledger.as_person(PersonIdentity(PEOPLE["owner"])).list()]
        assert seen == ["own"]
        assert ledger.as_person(PersonIdentity(PEOPLE["owner"])).get("other") is None
        assert len(ledger.as_person(PersonIdentity(PEOPLE["viewer"])).list()) == 2
        assert len(ledger.list()) == 2
        for refused in ("viewer", "owner"):  # by privilege, and by policy
            person = ledger.as_person(PersonIdentity(PEOPLE[refused]))
            with pytest.raises(RefusedError, match="may not do that"):
                person.begin(attempt("b9"))
            with pytest.raises(RefusedError, match="may not do that"):
                person.audit(AuditEvent(NOON, PEOPLE["super"].actor, "in another's name"))


def test_the_audit_says_from_where_a_person_acted() -> None:
    with closing(new_ledger()) as ledger:
        identity = PersonIdentity(PEOPLE["viewer"], 7, "10.0.0.1", "r1")
        ledger.as_person(identity).audit(AuditEvent(NOON, PEOPLE["viewer"].actor, "download"))
        [event] = ledger.audits()
        assert (event.address, event.session, event.request_id) == ("10.0.0.1", 7, "r1")


def test_a_login_of_the_ledger_that_may_not_serve_the_console_is_told_the_grants() -> None:
    with closing(new_ledger()) as ledger:
        login = new_login(ledger.url, member_of="backup_pipeline_writer")
        with closing(SqlLedger(as_login(ledger.url, login))) as pipeline:
            assert pipeline.list() == []
            with pytest.raises(LedgerError, match="permission denied"):
                pipeline.access.users.list()
            with pytest.raises(LedgerError) as refused:
                pipeline.as_person(PersonIdentity(PEOPLE["viewer"])).list()
        assert f'GRANT backup_pipeline_console TO "{login}"' in refused.value.do
        with psycopg.connect(ledger.url) as session:
            for statement in refused.value.do.partition(": ")[2].split("; "):
                session.execute(statement.encode())
        with closing(SqlLedger(as_login(ledger.url, login))) as pipeline:
            person = pipeline.as_person(PersonIdentity(PEOPLE["viewer"]))
            assert person.list() == []
            pipeline.begin(attempt())
            assert [row.backup_id for row in person.list()] == ["b1"]


def test_a_member_of_the_console_has_no_more_than_it_until_it_becomes_somebody() -> None:
    with closing(new_ledger()) as ledger:
        login = new_login(ledger.url, member_of="backup_pipeline_console")
        with psycopg.connect(as_login(ledger.url, login)) as session:
            for table in ("backup_logs", "restore_requests"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table)))
                session.rollback()
            session.execute("SET LOCAL ROLE super_admin")
            session.execute("SELECT FROM backup_logs")
