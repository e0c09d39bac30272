"""The doctor's checks, each against the real thing with one thing broken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from backup_pipeline.core.doctor import Examination, Line, LineState, judge_source, ok
from backup_pipeline.core.errors import SourceError, SourceUnavailableError, StoreDeniedError, StoreUnavailableError
from backup_pipeline.core.ledger import Claim
from backup_pipeline.core.ports import Store
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger import migrate
from backup_pipeline.ledger.migrate import examine_ledger, upgrade
from backup_pipeline.operations.doctor import FOLDER, Trial, escrow, examine, leases, outbox
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.postgres.source import examine_source
from backup_pipeline.settings import given_settings
from backup_pipeline.stores import bucket_of, folder_of
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.wrappers import RetryingStore
from backup_pipeline.wiring.doctor import checks_of
from backup_pipeline_tests.actors import RAHIM, TESTER
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.doubles.ports import NOBODY, now
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, StoreFault
from backup_pipeline_tests.ledger.logins import as_login, new_login
from backup_pipeline_tests.operations.conftest import SHOP
from backup_pipeline_tests.operations.test_s3_roles import Roles, roles
from backup_pipeline_tests.operations.vault import ESCROW, OWNER, OWNER_SECRET, STRANGER_SECRET, VAULT, Vault, cipher_of
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.moto_fixtures import LockServer
from backup_pipeline_tests.servers.swift import SwiftServer

__all__ = ["roles"]

WANTED = ("public.goods", "public.sold")


def states(lines: list[Line], word: str = "") -> list[LineState]:
    return [line.state for line in lines if word in line.what]


def trial(store: Store) -> list[Line]:
    return list(Trial("store", store, now, "trial", bucket_of(store)).run())


def left(store: Store) -> list[str]:
    return [found.key for found in store.list(FOLDER)]


def test_what_only_the_log_was_told_is_said() -> None:
    ledger = new_ledger()
    assert states(list(outbox(ledger))) == [LineState.OK]
    ledger.threads.failing(Scope("shop"), "full", now(), 1, reachable=False)
    [told, _] = outbox(ledger)
    assert (told.state, told.what) == (LineState.WARNING, "only the log was told of what goes wrong with shop (full)")
    ledger.threads.failing(Scope("shop"), "full", now(), 0)
    assert states(list(outbox(ledger))) == [LineState.OK]


def test_no_check_stops_another_and_none_is_waited_for_for_ever() -> None:
    never = threading.Event()

    def broken() -> Iterator[Line]:
        yield ok("second", "half")
        message = "no such host"
        raise SourceUnavailableError(message, do="Start it.")

    def odd() -> Iterator[Line]:
        raise ZeroDivisionError

    def hangs() -> Iterator[Line]:
        never.wait()
        yield ok("fourth", "late")

    checks = [
        Examination("first", lambda: [ok("first", "well")]),
        Examination("second", broken),
        Examination("third", odd),
        Examination("fourth", hangs),
        Examination("fifth", list),
    ]
    found = examine(checks, timedelta(seconds=0.3))
    never.set()
    assert [(line.topic, line.state.value) for line in found] == [
        ("first", "ok"),
        ("second", "ok"),
        ("second", "problem"),
        ("third", "problem"),
        ("fourth", "problem"),
        ("fifth", "skipped"),
    ]
    assert (found[2].what, found[2].do) == ("no such host", "Start it.")
    assert "no answer" in found[4].what


def test_a_good_store_is_ok_and_left_as_it_was() -> None:
    store = MemoryStore()
    assert set(states(trial(store))) == {LineState.OK}
    assert left(store) == []


@pytest.mark.parametrize("operation", ["put", "get", "list", "stream"])
def test_a_store_that_fails_at_one_thing_says_which(operation: str) -> None:
    store = FaultyStore(MemoryStore())
    store.on(operation, StoreFault(times=None, error=StoreUnavailableError("503", do="Wait.")))  # type: ignore[arg-type]
    found = [line for line in trial(store) if line.state is LineState.PROBLEM]
    assert [line.do for line in found] == ["Wait."]
    assert left(store.inner) == []


def test_bytes_that_come_back_otherwise_are_a_problem() -> None:
    store = FaultyStore(MemoryStore())
    store.on("get", StoreFault(times=None, flip=3))
    assert states(trial(store), "otherwise than") == [LineState.PROBLEM]


def test_a_denied_delete_is_said_with_what_is_left() -> None:
    store = FaultyStore(MemoryStore())
    store.on("delete", StoreFault(times=None, error=StoreDeniedError("not you")))
    [line] = [line for line in trial(store) if line.state is not LineState.OK]
    assert line.state is LineState.WARNING
    assert "doctor/trial.txt" in line.what
    assert left(store.inner) == ["doctor/trial.txt"]


@pytest.mark.parametrize(("off", "state"), [(0, LineState.OK), (20, LineState.WARNING), (-1000, LineState.PROBLEM)])
def test_the_clock_of_a_store_is_compared_with_ours(off: int, state: LineState) -> None:
    store = MemoryStore(clock=lambda: datetime.now(UTC) + timedelta(seconds=off))
    assert states(trial(store), "clock") == [state]


@pytest.mark.acceptance("2.24")
def test_a_bucket_is_tried_in_parts_and_by_its_rules(s3_server: SwiftServer, s3_bucket: str) -> None:
    store = RetryingStore(S3Store(s3_bucket, "daily", s3_server.settings), 1, wait=lambda _: None, chance=lambda: 0.0)
    found = trial(store)
    assert LineState.PROBLEM not in states(found), found
    assert states(found, "upload in parts") == [LineState.OK]
    assert states(found, "it deletes") == [LineState.OK]
    assert left(store) == []


def test_a_dead_store_is_one_problem(s3_server: SwiftServer) -> None:
    settings = replace(s3_server.settings, endpoint_url=f"http://127.0.0.1:{free_port()}", retry_for=timedelta(0))
    found = trial(S3Store("gone", "", settings))
    assert [line.state for line in found] == [LineState.PROBLEM]
    assert found[0].do


def test_a_locking_bucket_and_a_writer_that_may_not_delete(
    roles: Roles, lock_server: LockServer, locked_bucket: str
) -> None:
    found = trial(S3Store(locked_bucket, "daily", lock_server.admin))
    assert LineState.PROBLEM not in states(found), found
    assert states(found, "can lock") == [LineState.WARNING]
    assert states(found, "keeps earlier versions") == [LineState.OK]
    denied = trial(S3Store(locked_bucket, "daily", roles("writer")))
    assert states(denied, "may not delete") == [LineState.WARNING]
    assert LineState.PROBLEM not in states(denied), denied


def test_a_reader_can_not_write_and_is_told_so(roles: Roles, locked_bucket: str) -> None:
    [line] = trial(S3Store(locked_bucket, "daily", roles("reader")))
    assert line.state is LineState.PROBLEM
    assert "nothing can be written" in line.what


@pytest.fixture
def role(shop_url: str) -> Iterator[str]:
    """The shop's URL as a new role that may connect, and nothing else."""
    with psycopg.connect(shop_url, autocommit=True) as session:
        session.execute("CREATE ROLE examined LOGIN PASSWORD 'examined'")
        try:
            yield (
                make_url(shop_url).set(username="examined", password="examined").render_as_string(hide_password=False)
            )
        finally:
            session.execute("DROP OWNED BY examined; DROP ROLE examined")


def _grant(shop_url: str, statement: str) -> None:
    with psycopg.connect(shop_url, autocommit=True) as session:
        session.execute(sql.SQL(statement))


def _judged(url: str) -> list[Line]:
    return list(judge_source("source", examine_source(url, now), WANTED))


def test_a_role_without_rights_is_told_what_to_grant(shop_url: str, role: str) -> None:
    [line] = [line for line in _judged(role) if line.state is LineState.PROBLEM]
    assert line.do == 'GRANT SELECT ON public.goods, public.sold TO "examined";'
    _grant(shop_url, "GRANT SELECT ON goods, sold TO examined")
    assert set(states(_judged(role))) == {LineState.OK}


@pytest.mark.acceptance("2.24")
def test_a_role_that_may_write_is_told_so(shop_url: str, role: str) -> None:
    _grant(shop_url, "GRANT SELECT, INSERT ON goods, sold TO examined")
    [line] = [line for line in _judged(role) if line.state is LineState.WARNING]
    assert "may write public.goods, public.sold" in line.what


def test_a_superuser_is_told_so(shop_url: str) -> None:
    [line] = [line for line in _judged(shop_url) if line.state is not LineState.OK]
    assert "a superuser" in line.what


@pytest.mark.acceptance("0.11", "2.31")
def test_row_level_security_that_hides_rows_is_a_problem(shop_url: str, role: str) -> None:
    _grant(shop_url, "GRANT SELECT ON goods, sold TO examined; ALTER TABLE sold ENABLE ROW LEVEL SECURITY")
    try:
        [line] = [line for line in _judged(role) if line.state is LineState.PROBLEM]
        assert "public.sold" in line.what
        _grant(shop_url, "ALTER ROLE examined BYPASSRLS")
        assert set(states(_judged(role))) == {LineState.OK}
    finally:
        _grant(shop_url, "ALTER TABLE sold DISABLE ROW LEVEL SECURITY")


def test_a_setting_that_ends_the_snapshot_is_told(shop_url: str, role: str) -> None:
    _grant(shop_url, "GRANT SELECT ON goods, sold TO examined; ALTER ROLE examined SET transaction_timeout = '5min'")
    assert states(_judged(role), "transaction_timeout = 5min") == [LineState.WARNING]


def test_a_source_that_is_not_there_and_one_that_refuses_say_so(shop_url: str) -> None:
    url = make_url(shop_url)
    with pytest.raises(SourceUnavailableError):
        examine_source(url.set(port=free_port()).render_as_string(hide_password=False), now)
    with pytest.raises(SourceError, match="password"):
        examine_source(url.set(password="wrong").render_as_string(hide_password=False), now)


def test_a_ledger_without_tables_tells_its_revision(fresh_database: str) -> None:
    empty = examine_ledger(fresh_database, now)
    assert (empty.revision, empty.readonly) == (None, ())
    upgrade(fresh_database)
    ready = examine_ledger(fresh_database, now)
    assert ready.revision == ready.wanted
    assert ready.before <= ready.now + timedelta(seconds=1)


def _ledger_lines(url: str) -> list[Line]:
    """What the doctor says of a ledger."""
    checks = checks_of(given_settings(ledger_url=url), [], send=False, actor=RAHIM, dagster=tuple)
    return [*examine([check for check in checks if check.topic == "ledger"])]


def test_what_the_console_lacks_in_the_ledger_is_told_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new_ledger()
    url = as_login(ledger.url, new_login(ledger.url, member_of="backup_pipeline_writer"))
    [told] = [line for line in _ledger_lines(url) if line.topic == "console"]
    assert told.state is LineState.WARNING
    assert "nobody can use the console" in told.what
    with psycopg.connect(ledger.url) as session:
        for statement in told.do.removeprefix("Let an administrator run: ").rstrip(".").split("; "):
            session.execute(statement.encode())
    assert states(_ledger_lines(url), "its database roles are there") == [LineState.OK]
    with psycopg.connect(ledger.url) as session:
        session.execute("REVOKE SELECT ON users FROM backup_pipeline_console")
    [told] = [line for line in _ledger_lines(url) if line.topic == "console"]
    assert "ON users TO backup_pipeline_console" in told.do
    monkeypatch.setattr(migrate, "CONSOLE_PEOPLE", (*migrate.CONSOLE_PEOPLE, "backup_nobody_made_it"))
    [told] = [line for line in _ledger_lines(url) if line.topic == "console"]
    assert "CREATE ROLE backup_nobody_made_it NOLOGIN" in told.do


def test_who_holds_a_lease_is_told_and_whether_they_live() -> None:
    ledger = new_ledger()
    assert states(list(leases([SHOP], ledger, now(), lambda _: True)), "free") == [LineState.OK]
    ledger.leases.acquire(Claim(Scope("shop"), "b1", RAHIM, NOBODY), timedelta(minutes=1))
    assert states(list(leases([SHOP], ledger, now(), lambda _: True)), "held by b1 (by rahim") == [LineState.OK]
    assert states(list(leases([SHOP], ledger, now(), lambda _: False)), "is gone") == [LineState.WARNING]


@pytest.mark.parametrize(
    ("recipients", "keys", "wanted"),
    [
        ((), (), [LineState.SKIPPED]),
        ((OWNER,), (), [LineState.WARNING, LineState.OK]),
        ((OWNER, ESCROW), (), [LineState.OK, LineState.OK]),
        ((OWNER, ESCROW), (OWNER_SECRET,), [LineState.OK, LineState.OK]),
        ((OWNER, ESCROW), (STRANGER_SECRET,), [LineState.OK, LineState.PROBLEM]),
    ],
)
def test_keys_are_counted_and_tried_on_the_newest_backup(
    vault: Vault, recipients: tuple[str, ...], keys: tuple[str, ...], wanted: list[LineState]
) -> None:
    audit = AuditTrail(vault.server.ledger, now, TESTER)
    found = list(escrow(cipher_of(*recipients, keys=keys), [VAULT], vault.server.raw, audit))
    assert states(found) == wanted


def test_what_is_no_bucket_and_what_is_no_folder() -> None:
    assert bucket_of(MemoryStore()) is None
    assert folder_of(MemoryStore()) is None
