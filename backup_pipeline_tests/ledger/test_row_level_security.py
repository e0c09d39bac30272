"""Who may see and change the ledger, tried by roles that really log in."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import AuditEvent, Status
from backup_pipeline.core.restore.requests import RestoreChange, RestoreStatus
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import CONSOLE, CONSOLE_PEOPLE
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome
from backup_pipeline_tests.ledger.copies import a_copy
from backup_pipeline_tests.ledger.logins import as_login, new_login
from backup_pipeline_tests.ledger.restores import wish
from backup_pipeline_tests.ledger.revisions import current_revision

EVENT = AuditEvent(NOON, RAHIM, "begin", "b1")


@pytest.fixture
def ledger_of_one(fresh_ledger: str) -> str:
    """The superuser's URL of a ledger with one running attempt and one audit row."""
    ledger = SqlLedger(fresh_ledger)
    ledger.begin(attempt())
    ledger.audit(EVENT)
    ledger.close()
    return fresh_ledger


def _do(url: str, statement: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).rowcount


@pytest.mark.parametrize("group", ["admin", "super_admin", "backup_pipeline_writer"])
def test_a_member_sees_and_manages_the_ledger(ledger_of_one: str, group: str) -> None:
    ledger = SqlLedger(as_login(ledger_of_one, new_login(ledger_of_one, member_of=group)))
    ledger.begin(attempt("b2", minutes=1))
    ledger.end("b1", outcome(Status.FAILED))
    ledger.audit(EVENT)
    seen = [(row.backup_id, row.status) for row in ledger.list()]
    assert seen == [("b2", Status.RUNNING), ("b1", Status.FAILED)]
    assert ledger.audits() == [EVENT, EVENT]
    row = ledger.restores.add(wish())
    ledger.restores.change(row.id, RestoreChange(RestoreStatus.REJECTED))
    assert [(found.id, found.status) for found in ledger.restores.list()] == [(row.id, RestoreStatus.REJECTED)]
    for copy in (a_copy(status=CopyStatus.COPYING), a_copy()):
        ledger.copies.put(copy)
    assert ledger.copies.list() == [a_copy()]
    ledger.close()


@pytest.mark.parametrize("group", ["admin", "super_admin", "backup_pipeline_writer"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM backup_logs",
        "TRUNCATE backup_logs",
        "DELETE FROM backup_audit",
        "UPDATE backup_audit SET actor = 'x'",
        "TRUNCATE backup_audit",
        "DELETE FROM restore_requests",
        "TRUNCATE restore_requests",
        "DELETE FROM backup_copies",
        "TRUNCATE backup_copies",
        "DELETE FROM due_accounts",
        "TRUNCATE due_accounts",
        "DELETE FROM alert_threads",
        "TRUNCATE alert_threads",
    ],
)
def test_no_member_takes_anything_away(ledger_of_one: str, group: str, statement: str) -> None:
    url = as_login(ledger_of_one, new_login(ledger_of_one, member_of=group))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _do(url, statement)


def test_a_role_outside_is_denied(ledger_of_one: str) -> None:
    ledger = SqlLedger(as_login(ledger_of_one, new_login(ledger_of_one)))
    with pytest.raises(LedgerError, match="permission denied") as denied:
        ledger.list()
    ledger.close()
    assert "GRANT backup_pipeline_writer" in denied.value.do


def test_a_role_with_table_grants_still_sees_and_changes_nothing(ledger_of_one: str) -> None:
    authenticated = new_login(ledger_of_one)
    tables = sql.SQL("GRANT ALL ON backup_logs, backup_audit, restore_requests TO {}")
    with psycopg.connect(ledger_of_one) as connection:
        connection.execute(tables.format(sql.Identifier(authenticated)))
    with closing(SqlLedger(ledger_of_one)) as everything:
        number = everything.restores.add(wish()).id
    url = as_login(ledger_of_one, authenticated)
    ledger = SqlLedger(url)
    assert ledger.list() == []
    assert ledger.audits() == []
    assert _do(url, "UPDATE backup_logs SET status = 'success'") == 0
    assert _do(url, "DELETE FROM backup_logs") == 0
    with pytest.raises(LedgerError, match="row-level security"):
        ledger.begin(attempt("b2"))
    with pytest.raises(LedgerError, match="row-level security"):
        ledger.audit(EVENT)
    assert ledger.restores.list() == []
    assert _do(url, "UPDATE restore_requests SET status = 'approved'") == 0
    with pytest.raises(LedgerError, match="row-level security"):
        ledger.restores.add(wish())
    with pytest.raises(LedgerError, match=f"request {number} is not in the ledger"):
        ledger.restores.change(number, RestoreChange(RestoreStatus.APPROVED))
    ledger.close()
    with closing(SqlLedger(ledger_of_one)) as everything:
        assert everything.get("b1") == attempt()


@pytest.mark.acceptance("3.27")
@pytest.mark.parametrize("statement", ["UPDATE backup_audit SET actor = 'x'", "DELETE FROM backup_audit"])
def test_not_even_a_superuser_changes_the_audit(ledger_of_one: str, statement: str) -> None:
    for quiet in ("", "SET session_replication_role = replica;"):
        with psycopg.connect(ledger_of_one) as connection:
            connection.execute(quiet or "SELECT 1")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                connection.execute(statement)


def test_an_owner_without_rights_works_as_the_writer_and_only_as_long(fresh_database: str) -> None:
    _make_roles(fresh_database)
    owner = _new_owner(fresh_database, member_of="backup_pipeline_writer")
    url = as_login(fresh_database, owner)
    ledger = SqlLedger.create(url)
    ledger.begin(attempt())
    assert ledger.list() == [attempt()]
    with psycopg.connect(fresh_database) as connection:
        connection.execute(sql.SQL("REVOKE backup_pipeline_writer FROM {}").format(sql.Identifier(owner)))
    with pytest.raises(LedgerError, match="permission denied"):
        ledger.list()
    ledger.close()


def test_an_owner_who_grants_itself_the_table_still_sees_nothing(fresh_database: str) -> None:
    _make_roles(fresh_database)
    owner = _new_owner(fresh_database, member_of="backup_pipeline_writer")
    url = as_login(fresh_database, owner)
    ledger = SqlLedger.create(url)
    ledger.begin(attempt())
    ledger.restores.add(wish())
    with psycopg.connect(fresh_database) as connection:
        connection.execute(sql.SQL("REVOKE backup_pipeline_writer FROM {}").format(sql.Identifier(owner)))
    _do(url, "GRANT ALL ON backup_logs, restore_requests TO CURRENT_USER")
    assert ledger.list() == []
    assert ledger.restores.list() == []
    ledger.close()


def test_an_owner_outside_the_writer_is_told_the_grant_it_needs(fresh_database: str) -> None:
    _make_roles(fresh_database)
    owner = _new_owner(fresh_database)
    with pytest.raises(LedgerError) as refused:
        SqlLedger.create(as_login(fresh_database, owner))
    assert f'GRANT "backup_pipeline_writer" TO "{owner}"' in refused.value.do
    assert current_revision(fresh_database) is None


def test_a_writer_that_is_no_owner_finds_the_ledger_up_to_date(ledger_of_one: str) -> None:
    url = as_login(ledger_of_one, new_login(ledger_of_one, member_of="backup_pipeline_writer"))
    ledger = SqlLedger.create(url)
    assert ledger.list() == [attempt()]
    ledger.close()


def _make_roles(superuser_url: str) -> None:
    for role in (*CONSOLE_PEOPLE, CONSOLE, "backup_pipeline_writer"):
        create = sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role))
        with psycopg.connect(superuser_url) as connection:
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
                connection.execute(create)


def _new_owner(superuser_url: str, *, member_of: str | None = None) -> str:
    name = new_login(superuser_url, member_of=member_of)
    with psycopg.connect(superuser_url) as connection:
        connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(name)))
    return name
