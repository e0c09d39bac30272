"""One instant, whatever happens meanwhile; lost connections, cancelling, and what is said when something is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    CatalogError,
    SettingsError,
    SnapshotLostError,
    SnapshotOutdatedError,
    SourceError,
    SourceUnavailableError,
)
from backup_pipeline.core.plans import RowOrder
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline_tests.postgres.reading import joined, plan_for, read_table, run_sql, snapshot_of

ROLE_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'backup_pipeline %{}'"""
SMALL = {"first_page_rows": 10, "max_page_rows": 10}


@pytest.fixture
def database(fresh_database: str) -> str:
    run_sql(
        fresh_database,
        "CREATE TABLE t (id int PRIMARY KEY, x text)",
        "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i",
        "CREATE TABLE bare (id int, x text)",
        "INSERT INTO bare SELECT i, repeat('x', 500) FROM generate_series(1, 1000) i",
        "CREATE VIEW seen AS SELECT * FROM t",
        "CREATE VIEW slow AS SELECT i, repeat('x', 500) || pg_sleep(0.02)::text AS s FROM generate_series(1, 1500) i",
        "ANALYZE",
    )
    return fresh_database


def kill(url: str, role: str) -> int:
    return len(run_sql(url, f"SELECT pg_terminate_backend(pid) FROM ({ROLE_BACKENDS.format(role)}) AS backends"))


@contextmanager
def refused(kind: type[BackupError], *words: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_a_snapshot_says_what_it_is(database: str) -> None:
    before = run_sql(database, "SELECT clock_timestamp()")[0][0]
    with snapshot_of(database) as snapshot:
        entry = snapshot.entry
    after = run_sql(database, "SELECT clock_timestamp()")[0][0]
    assert before <= entry.taken_at <= after
    assert entry.taken_at.utcoffset() is not None
    assert f"/{entry.database}" in database
    assert "/" in entry.lsn
    assert entry.server_version.startswith("18")


def test_all_readers_see_one_instant_while_others_write(database: str) -> None:
    with snapshot_of(database, **SMALL) as snapshot:
        plan, bare = plan_for(snapshot, "t"), plan_for(snapshot, "bare")
        pages = snapshot.read(plan)
        first = [next(pages).rows]
        run_sql(
            database,
            "DELETE FROM t WHERE id % 2 = 0",
            "UPDATE t SET x = 'changed'",
            "INSERT INTO t VALUES (5000, 'new')",
        )
        run_sql(database, "DELETE FROM bare", "VACUUM bare")
        # The suspended reader keeps its connection, so these need new ones, made after the writes.
        assert read_table(snapshot, bare).num_rows == snapshot.count(bare) == 1000
        assert snapshot.count(plan) == 1000
        rows = joined(first + [page.rows for page in pages])
        assert rows["x"].to_pylist() == [f"row {i}" for i in range(1, 1001)]
    with snapshot_of(database) as later:
        assert later.count(plan) == 501


@pytest.mark.parametrize(("table", "killed_at_least"), [("t", 3), ("bare", 1)])
def test_a_killed_worker_is_replaced_in_the_same_snapshot(database: str, table: str, killed_at_least: int) -> None:
    """One that reads by place on disk may have sent all of the query's pages before it is killed: nobody follows it."""
    with snapshot_of(database, **SMALL, page_bytes=30_000) as snapshot:
        plan = plan_for(snapshot, table)
        undisturbed = [page.rows for page in snapshot.read(plan)]
        run_sql(database, f"DELETE FROM {table} WHERE id > 500")
        disturbed, killed = [], 0
        for number, page in enumerate(snapshot.read(plan)):
            disturbed.append(page.rows)
            if number in {0, 2, 3}:
                killed += kill(database, "worker")
        assert killed >= killed_at_least
        assert len(disturbed) > 4
        assert joined(disturbed).equals(joined(undisturbed))


def test_a_killed_worker_in_the_middle_of_a_scan_makes_the_table_start_again(database: str) -> None:
    with snapshot_of(database, page_bytes=2000) as snapshot:
        plan = plan_for(snapshot, "slow")
        assert plan.order is RowOrder.SCAN
        pages = snapshot.read(plan)
        next(pages)
        kill(database, "worker")
        with refused(SourceUnavailableError, "public.slow"):
            list(pages)


def test_a_killed_holder_ends_everything_at_once(database: str) -> None:
    with snapshot_of(database, **SMALL) as snapshot:
        slow, plan = plan_for(snapshot, "slow"), plan_for(snapshot, "t")
        pages = snapshot.read(plan)
        next(pages)
        seconds = _stopped_after(
            lambda: read_table(snapshot, slow), lambda: kill(database, "holder"), SnapshotLostError
        )
        assert seconds < 1
        with refused(SnapshotLostError, "lost"):
            list(pages)
        with refused(SnapshotLostError):
            snapshot.count(plan)


def test_when_the_server_ends_every_connection_the_snapshot_is_lost(database: str) -> None:
    with snapshot_of(database, **SMALL) as snapshot:
        pages = snapshot.read(plan_for(snapshot, "t"))
        next(pages)
        kill(database, "")
        with refused(SnapshotLostError, "lost"):
            list(pages)


def test_cancel_gets_through_from_a_session_of_its_own(database: str) -> None:
    with snapshot_of(database) as snapshot:
        slow = plan_for(snapshot, "slow")

        def cancel() -> None:
            snapshot._cancel_backends([pid for (pid,) in run_sql(database, ROLE_BACKENDS.format("worker"))])

        assert _stopped_after(lambda: read_table(snapshot, slow), cancel, SourceError) < 1


def test_cancel_stops_running_queries_within_a_second(database: str) -> None:
    with snapshot_of(database) as snapshot:
        slow = plan_for(snapshot, "slow")
        assert _stopped_after(lambda: read_table(snapshot, slow), snapshot.cancel, CanceledError) < 1
        with refused_quietly(CanceledError):
            read_table(snapshot, slow)
        with refused_quietly(CanceledError):
            snapshot.schema_sql()
    assert run_sql(database, ROLE_BACKENDS.format("worker")) == []


@contextmanager
def refused_quietly(kind: type[BackupError]) -> Iterator[None]:
    with pytest.raises(kind):
        yield


def test_a_closed_snapshot_leaves_no_connection(database: str) -> None:
    with snapshot_of(database) as snapshot:
        pages = snapshot.read(plan_for(snapshot, "t"))
        next(pages)
        assert len(run_sql(database, ROLE_BACKENDS.format("holder"))) == 1
    pages.close()  # type: ignore[attr-defined]
    _wait_until(
        lambda: (
            not run_sql(database, ROLE_BACKENDS.format("holder"))
            and not run_sql(database, ROLE_BACKENDS.format("worker"))
        )
    )


@pytest.mark.parametrize(
    "statement",
    ["TRUNCATE t", "ALTER TABLE t ALTER x TYPE varchar(99)", "ALTER TABLE t ALTER id TYPE bigint"],
)
@pytest.mark.parametrize("table", ["t", "seen"])
def test_a_table_rewritten_after_the_snapshot_is_an_error_not_an_empty_copy(
    database: str, statement: str, table: str
) -> None:
    with snapshot_of(database) as snapshot:
        plan = plan_for(snapshot, table)
        run_sql(
            database, "DROP VIEW seen", statement, "CREATE VIEW seen AS SELECT * FROM t"
        ) if "ALTER" in statement else run_sql(database, statement)
        with pytest.raises(SnapshotOutdatedError, match="rewritten") as caught:
            read_table(snapshot, plan)
    assert caught.value.transient


@pytest.mark.parametrize("table", ["t", "seen"])
def test_a_table_packed_after_the_snapshot_is_read_as_it_was(database: str, table: str) -> None:
    """VACUUM FULL moves the rows into new files, those that older snapshots see too."""
    with snapshot_of(database) as snapshot:
        plan = plan_for(snapshot, table)
        (before,) = run_sql(database, "SELECT count(*) FROM t")
        run_sql(database, "DELETE FROM t WHERE id % 2 = 0", "VACUUM FULL t")
        assert (read_table(snapshot, plan).num_rows,) == before


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("DROP TABLE t CASCADE", '"public.t" does not exist'),
        ("ALTER TABLE t RENAME x TO y", "x"),
        ("ALTER TABLE t DROP x CASCADE", "x"),
    ],
)
def test_ddl_after_the_snapshot_is_a_clear_error(database: str, statement: str, word: str) -> None:
    with snapshot_of(database) as snapshot:
        plan = plan_for(snapshot, "t")
        run_sql(database, statement)
        with refused(SourceError, word, "while it was read", "public.t"):
            read_table(snapshot, plan)


@pytest.mark.acceptance("2.31")
def test_a_filtered_table_is_an_error_and_not_fewer_rows(database: str) -> None:
    run_sql(
        database,
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON t USING (id < 10)",
        "DROP ROLE IF EXISTS reader_rls",
        "CREATE ROLE reader_rls LOGIN PASSWORD 'sesame' ",
        "GRANT SELECT ON t, bare TO reader_rls",
    )
    try:
        with snapshot_of(database) as snapshot:
            plan, bare = plan_for(snapshot, "t"), plan_for(snapshot, "bare")
        with snapshot_of(_as(database, "reader_rls", "sesame")) as snapshot:
            with refused(CatalogError, "row-level security", "public.t", "BYPASSRLS"):
                plan_for(snapshot, "t")
            with refused(SourceError, "row-level security", "BYPASSRLS", "public.t"):
                read_table(snapshot, plan)
            with refused(SourceError, "row-level security"):
                snapshot.count(plan)
            run_sql(database, "REVOKE SELECT ON bare FROM reader_rls")
            with refused(SourceError, "permission denied", "bare", "GRANT SELECT"):
                read_table(snapshot, bare)
    finally:
        run_sql(database, "DROP OWNED BY reader_rls", "DROP ROLE reader_rls")


def test_a_lock_that_is_not_given_is_an_error_that_says_so(database: str) -> None:
    import psycopg

    with snapshot_of(database, lock_timeout_s=1) as snapshot, psycopg.connect(database) as other:
        plan = plan_for(snapshot, "t")
        other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert snapshot.database().get(("public", "t")) is not None
        with refused(SourceUnavailableError, "lock timeout", "public.t", "is locked"):
            read_table(snapshot, plan)


def test_a_statement_that_takes_too_long_is_an_error_that_says_so(database: str) -> None:
    with snapshot_of(database, statement_timeout_s=0.2) as snapshot:
        slow = plan_for(snapshot, "slow")
        with refused(SourceError, "statement timeout", "public.slow"):
            read_table(snapshot, slow)


def test_a_wrong_password_database_user_port_and_host_are_told_apart(database: str) -> None:
    parts = urlsplit(database)
    password = str(parts.password)
    cases: list[tuple[str, type[BackupError], str]] = [
        (database.replace(password, "open-sesame"), SourceError, "password"),
        (database.replace(parts.path, "/nowhere"), SourceError, 'database "nowhere" does not exist'),
        (_as(database, "nobody", "open-sesame"), SourceError, "nobody"),
        (database.replace(f":{parts.port}", ":1"), SourceUnavailableError, "127.0.0.1:1"),
        (database.replace("127.0.0.1", "no-such-host.invalid"), SourceUnavailableError, "no-such-host.invalid"),
    ]
    for url, kind, word in cases:
        with refused(kind, word) as _, PostgresSource(url).snapshot():
            pass
        assert "sesame" not in _message(url)
        assert password not in _message(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://a:sesame@h/d",
        "isp",
        "postgresql+psycopg://a:sesame@h/d",
        "postgresql://a:sesame@h:port/d",
        "postgresql://a:ses ame@[h/d",
    ],
)
def test_a_malformed_url_is_a_setting_to_correct(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        PostgresSource(url, options=SourceOptions()).snapshot().__enter__()
    assert "sesame" not in str(caught.value)
    assert "ses ame" not in str(caught.value)


def test_the_shown_url_has_no_password(database: str) -> None:
    assert str(urlsplit(database).password) not in PostgresSource(database).url


def test_the_schema_is_the_same_text_each_time_and_leaves_out_what_may_not_be_read(database: str) -> None:
    run_sql(
        database,
        "DROP ROLE IF EXISTS reader_schema",
        "CREATE ROLE reader_schema LOGIN PASSWORD 'sesame'",
        "GRANT SELECT ON t TO reader_schema",
        "CREATE TYPE mood AS ENUM ('fine')",
    )
    try:
        with snapshot_of(database) as snapshot:
            whole = snapshot.schema_sql()
            run_sql(database, "CREATE TABLE later (id int)")
            assert snapshot.schema_sql() == whole
            assert "CREATE TABLE public.bare" in whole
            assert "restrict" not in whole
        with snapshot_of(_as(database, "reader_schema", "sesame")) as snapshot:
            part = snapshot.schema_sql()
        assert '--   "public"."bare"' in part.split("PostgreSQL database dump")[0]
        assert "CREATE TABLE public.t " in part
        assert "CREATE TYPE public.mood" in part
        assert "CREATE TABLE public.bare" not in part
    finally:
        run_sql(database, "DROP OWNED BY reader_schema", "DROP ROLE reader_schema")


def test_the_schema_is_what_pg_dump_wrote_to_the_byte(database: str) -> None:
    """A carriage return belongs to a name and to a function as any letter does."""
    run_sql(
        database,
        'CREATE TABLE "carriage\rreturn" ("a\r\nb" int)',
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'one\r\ntwo\rthree' $$",
    )
    with snapshot_of(database) as snapshot:
        schema = snapshot.schema_sql()
    assert 'CREATE TABLE public."carriage\rreturn"' in schema
    assert '"a\r\nb" integer' in schema
    assert "SELECT 'one\r\ntwo\rthree'" in schema


def test_passwords_of_other_servers_are_not_in_the_schema(database: str) -> None:
    run_sql(
        database,
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', api_key 'ses''ame')",
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'a', password 'sesame')",
    )
    with snapshot_of(database) as snapshot:
        schema = snapshot.schema_sql()
    assert "CREATE USER MAPPING" in schema
    assert "host 'h'" in schema
    assert "ame'" not in schema


def test_text_that_is_not_utf8_is_an_error_and_not_a_broken_file(database: str) -> None:
    ascii_database = database + "_ascii"
    name = urlsplit(ascii_database).path[1:]
    run_sql(database, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        run_sql(ascii_database, r"CREATE TABLE t AS SELECT convert_from('\xff'::bytea, 'SQL_ASCII') AS x")
        with snapshot_of(ascii_database) as snapshot, refused(SourceError, "UTF8", "public.t"):
            read_table(snapshot, plan_for(snapshot, "t"))
    finally:
        run_sql(database, f"DROP DATABASE {name} WITH (FORCE)")


def _as(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{user}:{password}@{parts.hostname}:{parts.port}{parts.path}"


def _message(url: str) -> str:
    try:
        with PostgresSource(url).snapshot():
            return ""
    except BackupError as error:
        return f"{error} {error!r} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"


def _stopped_after(read: Callable[[], object], stop: Callable[[], object], expected: type[BackupError]) -> float:
    """Seconds from `stop` until the reader, which ran in a thread of its own, has raised `expected`."""
    ended: list[tuple[BaseException, float]] = []

    def work() -> None:
        try:
            read()
        except BaseException as error:  # noqa: BLE001
            ended.append((error, time.monotonic()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.7)
    assert not ended, ended
    begun = time.monotonic()
    stop()
    thread.join(10)
    assert isinstance(ended[0][0], expected), ended
    return ended[0][1] - begun


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.05)
