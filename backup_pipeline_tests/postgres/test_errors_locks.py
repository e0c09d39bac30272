"""A table that somebody has locked: named, with who holds it and since when, while we wait and when we give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.errors import SourceUnavailableError
from backup_pipeline.core.planning import plan_table
from backup_pipeline.core.ports import Event, TableStarted, Waiting
from backup_pipeline.postgres import errors as lock_watch
from backup_pipeline.postgres.errors import first_words
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline_tests.exactness.exporting import Exporter, public

LOCK = "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"


class Listening:
    """Progress that keeps what the run waits for; `act` is called when the first table begins."""

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.tables: list[str] = []

    def tell(self, event: Event) -> None:
        if isinstance(event, Waiting):
            self.waits.append(event.message)
        if isinstance(event, TableStarted):
            self.tables.append(event.table)


@pytest.fixture
def database(fresh_database: str) -> str:
    with psycopg.connect(fresh_database) as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')")
        session.execute("CREATE TABLE other (id int PRIMARY KEY)")
    return fresh_database


@contextmanager
def locked(url: str, *statements: str) -> Iterator[int]:
    """An application that holds `t`, idle in its transaction; its process id."""
    with psycopg.connect(url, application_name="billing") as session:
        for sql in statements or (LOCK,):
            session.execute(sql.encode())
        yield session.info.backend_pid


def reading(url: str, lock_timeout_s: float) -> str:
    """What is said when `t` is read and its lock does not come."""
    with PostgresSource(url, options=SourceOptions(lock_timeout_s=lock_timeout_s)).snapshot() as snapshot:
        plan = plan_table(public(["t"]), "t", snapshot.database())
        with pytest.raises(SourceUnavailableError) as caught:
            list(snapshot.read(plan))
    return str(caught.value)


def test_a_locked_table_is_named_with_who_holds_it(database: str) -> None:
    with locked(database, LOCK, "UPDATE t SET name = 'a secret' WHERE id = 4711") as pid:
        said = reading(database, 1)
    assert "public.t is locked (wanted: AccessShareLock)" in said
    assert f"process {pid} (billing, as postgres, from 127.0.0.1, idle in transaction" in said
    assert "holds AccessExclusiveLock" in said
    assert "UPDATE t SET name = … WHERE id" in said
    assert "secret" not in said
    assert "4711" not in said.replace(f"process {pid}", "").replace(f"({pid})", "")
    assert f"SELECT pg_terminate_backend({pid})" in said


def test_the_one_at_the_head_of_the_queue_is_named_too(database: str) -> None:
    """An ALTER TABLE waits for a reader that is idle, and keeps everybody behind it waiting."""
    with locked(database, "SELECT * FROM t") as reader:
        altering = psycopg.connect(database, application_name="migration", autocommit=True)
        thread = threading.Thread(target=lambda: altering.execute("ALTER TABLE t ADD more int"))
        thread.start()
        with psycopg.connect(database, autocommit=True) as session:
            while session.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                time.sleep(0.01)
        said = reading(database, 1)
    thread.join()
    altering.close()
    assert "(migration, as postgres" in said
    assert "ALTER TABLE t ADD more int" in said
    assert f"itself waits for process {reader}" in said


def test_pg_dump_names_the_table_and_its_holder_instead_of_all_tables(database: str) -> None:
    options = SourceOptions(lock_timeout_s=1)
    refused = pytest.raises(SourceUnavailableError)
    with locked(database) as pid, PostgresSource(database, options=options).snapshot() as snapshot, refused as caught:
        snapshot.schema_sql()
    said = str(caught.value)
    assert "public.t is locked" in said
    assert f"process {pid} (billing" in said
    assert "other" not in said


def test_an_export_says_so_while_it_waits_and_goes_on(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_watch, "AFTER_S", 0.4)
    progress = Listening()
    with locked(database) as pid:
        made: list[int] = []
        exporter = Exporter(database, tmp_path, progress=progress)
        thread = threading.Thread(
            target=lambda: made.append(exporter.export(public(["t", "other"])).entry("t").row_count)
        )
        thread.start()
        deadline = time.monotonic() + 20
        while not progress.waits and time.monotonic() < deadline:
            time.sleep(0.05)
    thread.join()
    assert made == [1]
    [waited] = progress.waits
    assert waited.startswith("Waiting for a lock: public.t is locked (wanted: AccessShareLock): ")
    assert f"process {pid} (billing" in waited


def test_a_prepared_transaction_has_no_process(database: str) -> None:
    row = {"relation": "public.t", "wanted": "AccessShareLock", "pid": 0}
    assert "a prepared transaction holds it" in lock_watch.sentence([row])


def test_the_words_of_a_query_are_without_its_values() -> None:
    said = first_words(
        "/* by 12 */ UPDATE people SET name = 'O''Brien', pin=1234 -- note\n WHERE mail LIKE E'a%' AND x"
    )
    assert said == "UPDATE people SET name = …, pin=… WHERE …"
    assert first_words("SELECT 'cut off by the serv") == "SELECT …"
    assert first_words("DO $x$ begin perform 1; end $x$") == "DO …"
    assert first_words("ALTER TABLE t2 ADD c int") == "ALTER TABLE t2 ADD c int"
