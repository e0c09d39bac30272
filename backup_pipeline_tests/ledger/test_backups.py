"""What is particular to the ledger in PostgreSQL: its URL, its connections, its locks, what it can hold."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import make_url

from backup_pipeline.core.errors import LedgerError, LedgerUnavailableError, SettingsError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import head_revision, upgrade
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.ledger.revisions import current_revision
from backup_pipeline_tests.servers.ledgers import new_ledger


def test_an_end_waits_for_another_and_then_sees_what_it_did(fresh_database: str) -> None:
    upgrade(fresh_database)
    with closing(SqlLedger(fresh_database)) as ledger, ThreadPoolExecutor(1) as thread:
        ledger.begin(attempt())
        with psycopg.connect(fresh_database) as other:
            other.execute("UPDATE backup_logs SET status = 'failed'")
            ending = thread.submit(ledger.end, "b1", outcome(Status.SUCCESS))
            assert _comes_to_wait_for_a_lock(fresh_database)
        with pytest.raises(LedgerError, match="b1 is failed and can not become success"):
            ending.result(10)


def test_many_are_ended_together_or_none() -> None:
    ledger = new_ledger()
    ledger.begin(attempt("b1"))
    ledger.begin(attempt("b2", scope=Scope("other")))
    done = {"b1": outcome(), "b2": outcome(Status.FAILED, error_message="no room")}
    with pytest.raises(LedgerError, match="b3 is not in the ledger"):
        ledger.end_all({**done, "b3": outcome()})
    with pytest.raises(LedgerError, match="can not become"):
        ledger.end_all({**done, "b2": outcome(Status.EXPIRED)})
    assert [row.status for row in ledger.list()] == [Status.RUNNING, Status.RUNNING]
    ledger.end_all(done)
    ledger.end_all({})
    rows = {row.backup_id: row for row in ledger.list()}
    assert (rows["b1"].status, rows["b2"].status, rows["b2"].error_message) == (
        Status.SUCCESS, Status.FAILED, "no room",
    )  # fmt: skip


def test_a_row_locked_for_too_long_is_worth_waiting_for(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.ledger.LOCK_TIMEOUT", "50ms")
    upgrade(fresh_database)
    with closing(SqlLedger(fresh_database)) as ledger, psycopg.connect(fresh_database) as other:
        ledger.begin(attempt())
        other.execute("LOCK TABLE backup_logs")
        with pytest.raises(LedgerUnavailableError, match="lock timeout"):
            ledger.end("b1", outcome())


def _comes_to_wait_for_a_lock(url: str) -> bool:
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    pause = threading.Event()
    with psycopg.connect(url, autocommit=True) as watcher:
        return any(watcher.execute(waiting).fetchone() is not None or pause.wait(0.02) for _ in range(250))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_a_postgresql_url_is_taken(fresh_database: str, scheme: str) -> None:
    upgrade(fresh_database.replace("postgresql", scheme, 1))
    assert current_revision(fresh_database) == head_revision()


@pytest.mark.parametrize("url", ["", "ledger.db", "mysql://u:hush@h/x", "postgresql://u:hush@h", "postgresql://h:xx/y"])
def test_another_url_is_refused_with_the_form_it_should_have(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        SqlLedger(url)
    assert "postgresql://user:password@host:5432/database" in refused.value.do
    assert "hush" not in str(refused.value)


def test_a_server_that_is_not_there_is_worth_waiting_for() -> None:
    with pytest.raises(LedgerUnavailableError) as gone:
        SqlLedger("postgresql://u:hush-hush@127.0.0.1:1/ledger").list()
    assert gone.value.transient
    assert "hush-hush" not in str(gone.value)


def test_a_wrong_password_is_not_worth_waiting_for(fresh_database: str) -> None:
    url = make_url(fresh_database).set(password="hush-hush").render_as_string(hide_password=False)
    with pytest.raises(LedgerError, match="authentication failed") as refused:
        SqlLedger(url).list()
    assert not refused.value.transient
    assert "hush-hush" not in str(refused.value)


def test_a_ledger_without_tables_says_how_to_make_them(fresh_database: str) -> None:
    with closing(SqlLedger(fresh_database)) as ledger, pytest.raises(LedgerError) as refused:
        ledger.list()
    assert "tables are missing" in refused.value.do


def test_a_broken_connection_is_replaced_before_it_hurts(fresh_database: str) -> None:
    upgrade(fresh_database)
    ledger = SqlLedger(fresh_database)
    ledger.begin(attempt())
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
    assert ledger.get("b1") == attempt()
    ledger.close()


def test_a_row_closes_whatever_its_error_message_holds(fresh_database: str) -> None:
    upgrade(fresh_database)
    ledger = SqlLedger(fresh_database)
    ledger.begin(attempt())
    ledger.end("b1", outcome(Status.FAILED, error_message="a\x00b\udcffc", warnings=("\x00",)))
    row = ledger.get("b1")
    ledger.close()
    assert row is not None
    assert (row.error_message, row.warnings) == ("a\N{REPLACEMENT CHARACTER}b?c", ("\N{REPLACEMENT CHARACTER}",))


def test_the_database_itself_refuses_a_status_that_is_none(fresh_database: str) -> None:
    upgrade(fresh_database)
    with closing(SqlLedger(fresh_database)) as ledger:
        ledger.begin(attempt())
    with psycopg.connect(fresh_database) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE backup_logs SET status = 'fine'")
