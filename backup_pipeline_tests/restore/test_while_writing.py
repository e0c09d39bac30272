"""A restore while the application writes: no committed row is lost, and nobody waits for long because of it."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.errors import BackupError, LockedError
from backup_pipeline.core.restore import Mode
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.browse import bundle_place, stored_manifest
from backup_pipeline.operations.restore import SafetyRequest, safety_backup
from backup_pipeline.operations.restore.transfer import plan_restore, run_restore
from backup_pipeline.postgres.restore import PostgresTarget, TargetOptions
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.restore.bench import Bench, back_up, everything, one, rows, run

SHOP = """
CREATE TABLE goods (id serial PRIMARY KEY, name text);
CREATE TABLE sold (id bigserial PRIMARY KEY, good_id int REFERENCES goods, note text);
INSERT INTO goods (name) SELECT 'good ' || n FROM generate_series(1, 20) n;
INSERT INTO sold (good_id, note) SELECT n % 20 + 1, 'sale ' || n FROM generate_series(1, 500) n;
"""
DATABASE = "SELECT current_database()"


@pytest.fixture
def shop(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, SHOP)
    return back_up(fresh_database, tmp_path)


@dataclass
class Writer(threading.Thread):
    """An application that sells: some rows alone, some three in a transaction. `sold` are committed."""

    url: str
    name_of_it: str
    stop: threading.Event
    sold: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as session:
            for number in range(1_000_000):
                if self.stop.is_set():
                    return
                notes = [f"{self.name_of_it} {number} {part}" for part in range(3 if number % 2 else 1)]
                with session.transaction():
                    for note in notes:
                        session.execute("INSERT INTO sold (good_id, note) VALUES (1, %s)", (note,))
                self.sold += notes


@contextmanager
def writing(url: str, writers: int = 3) -> Iterator[list[Writer]]:
    stop = threading.Event()
    threads = [Writer(url, f"writer {number}", stop) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def replaced(bench: Bench, url: str, *tables: str) -> str:
    """Replace tables with a real safety backup, as the command line does; the id of that backup."""
    target = PostgresTarget(url, options=TargetOptions(lock_timeout_s=20))
    plan = plan_restore(bench.request(Mode.REPLACE, *tables, confirm=one(url, DATABASE)), target, bench.ports)
    report = run_restore(
        plan, target, bench.ports, safety=lambda: safety_backup(SafetyRequest(plan, 1, RAHIM), bench.place.ports(url))
    )
    assert report.safety_backup_id is not None
    return report.safety_backup_id


def notes_in(bench: Bench, backup_id: str) -> list[str]:
    attempt = bench.place.ledger.get(backup_id)
    assert attempt is not None
    manifest = stored_manifest(attempt, bench.place.store)
    key = bundle_place(attempt).bundle(manifest.bundle.name)
    bundle = zipfile.ZipFile(io.BytesIO(bench.place.store.get(key)))
    names = [name for name in bundle.namelist() if name.startswith("parquet/sold/")]
    return [note for name in names for note in pq.read_table(io.BytesIO(bundle.read(name)))["note"].to_pylist()]


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param(("sold",), id="one table"),
        pytest.param(("goods", "sold"), id="with the table it refers to", marks=pytest.mark.slow),
    ],
)
def test_each_committed_row_is_in_the_table_or_in_a_safety_backup(
    shop: Bench, fresh_database: str, tables: tuple[str, ...]
) -> None:
    original = {f"sale {number}" for number in range(1, 501)}
    kept: list[str] = []
    with writing(fresh_database) as writers:
        for _ in range(3):
            time.sleep(0.2)
            kept += notes_in(shop, replaced(shop, fresh_database, *tables))
    committed = {note for writer in writers for note in writer.sold}
    there = [note for (note,) in rows(fresh_database, "SELECT note FROM sold")]
    assert len(committed) > 300
    assert {*kept, *there} == committed | original
    written = [note for note in [*kept, *there] if note not in original]
    assert len(written) == len(committed), "each is at exactly one of the places"


@dataclass
class Reader(threading.Thread):
    """Somebody who looks at a page again and again; `longest` is the longest that one look took, in seconds."""

    url: str
    stop: threading.Event
    longest: float = 0
    looks: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as session:
            while not self.stop.is_set():
                started = time.perf_counter()
                session.execute("SELECT count(*) FROM sold").fetchone()
                self.longest = max(self.longest, time.perf_counter() - started)
                self.looks += 1
                time.sleep(0.01)


@contextmanager
def reading(url: str) -> Iterator[Reader]:
    reader = Reader(url, threading.Event())
    reader.start()
    try:
        yield reader
    finally:
        reader.stop.set()
        reader.join(30)


@pytest.mark.parametrize(
    ("statement", "mode", "held"),
    [
        ("INSERT INTO sold VALUES (9999, NULL, 'not committed')", Mode.REPLACE, "RowExclusiveLock"),
        ("SELECT FROM sold WHERE id = 7 FOR UPDATE", Mode.UPSERT, "RowShareLock"),
        ("SELECT FROM sold LIMIT 1", Mode.INSERT_MISSING, "AccessShareLock"),
    ],
    ids=["who wrote", "who will write", "who read"],
)
def test_an_idle_transaction_is_named_and_no_reader_waits_for_it(
    shop: Bench, fresh_database: str, statement: str, mode: Mode, held: str
) -> None:
    run(fresh_database, "DELETE FROM sold WHERE id > 450")
    before = everything(fresh_database)
    target = PostgresTarget(fresh_database, options=TargetOptions(lock_timeout_s=1.5))
    plan = plan_restore(shop.request(mode, confirm=one(fresh_database, DATABASE)), target, shop.ports)
    with psycopg.connect(fresh_database, application_name="till") as idle:
        idle.execute(statement.encode())
        with reading(fresh_database) as reader, pytest.raises(LockedError) as refused:
            run_restore(plan, target, shop.ports, safety=shop.safety)
        assert (refused.value.exit_code, reader.looks > 10, reader.longest < 1.5) == (11, True, True)
        pid = idle.info.backend_pid
        idle.rollback()
    what = refused.value.what
    assert what.startswith(
        f"public.sold is in use: process {pid} (user postgres, application till, idle in transaction"
    )
    assert f"holds {held} on it" in what
    assert "in a transaction since 20" in what
    assert f"pg_terminate_backend({pid})" in refused.value.do
    assert everything(fresh_database) == before


def test_readers_read_during_the_safety_backup_and_writers_wait_for_the_end(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "UPDATE sold SET note = 'oops'")
    seen: list[object] = []

    def looks() -> str:
        seen.append(one(fresh_database, "SELECT count(*) FROM sold WHERE note = 'oops'"))
        with psycopg.connect(fresh_database, options="-c lock_timeout=100ms") as writer:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                writer.execute("DELETE FROM goods WHERE id = 20")
            writer.rollback()
            with pytest.raises(psycopg.errors.LockNotAvailable):
                writer.execute("SELECT FROM sold WHERE id = 1 FOR UPDATE")
        return "20261121T000000Z-selective-00000001"

    shop.safety = looks
    shop.restore(fresh_database, Mode.REPLACE)
    assert seen == [500]


def test_who_read_and_now_waits_to_write_is_told_apart(shop: Bench, fresh_database: str) -> None:
    """Each would wait for the other for ever: PostgreSQL must not end the application's transaction for our sake."""
    run(fresh_database, "UPDATE sold SET note = 'oops' WHERE id = 7")
    ended: list[object] = []

    def buy(session: psycopg.Connection) -> None:
        session.execute("UPDATE sold SET note = 'bought' WHERE id = 7")
        session.commit()
        ended.append("committed")

    with psycopg.connect(fresh_database, application_name="till") as till:
        till.execute("SELECT FROM sold WHERE id = 7")
        buyer = threading.Thread(target=buy, args=(till,))

        def begins() -> str:
            buyer.start()
            time.sleep(1.3)  # longer than deadlock_timeout: its look for a deadlock lies behind it
            return "20261121T000000Z-selective-00000001"

        target = PostgresTarget(fresh_database, options=TargetOptions(lock_timeout_s=1.5))
        plan = plan_restore(shop.request(Mode.REPLACE, confirm=one(fresh_database, DATABASE)), target, shop.ports)
        with pytest.raises(LockedError) as refused:
            run_restore(plan, target, shop.ports, safety=begins)
        buyer.join(30)
    assert "waits to write to it, so each waits for the other" in refused.value.do
    assert ended == ["committed"]
    assert one(fresh_database, "SELECT note FROM sold WHERE id = 7") == "bought"


def test_a_new_foreign_key_keeps_no_writer_of_its_parent_waiting(shop: Bench, fresh_database: str) -> None:
    """Making it locks the parent against writers: behind an idle transaction they would all wait for the restore."""
    run(fresh_database, "DROP TABLE sold")
    before = everything(fresh_database)
    target = PostgresTarget(fresh_database, options=TargetOptions(lock_timeout_s=1.5))
    plan = plan_restore(shop.request(Mode.NEW, "sold"), target, shop.ports)
    with psycopg.connect(fresh_database) as idle, psycopg.connect(fresh_database, autocommit=True) as till:
        idle.execute("UPDATE goods SET name = name WHERE id = 1")
        failed: list[BackupError] = []

        def restore() -> None:
            try:
                run_restore(plan, target, shop.ports, safety=None)
            except BackupError as error:
                failed.append(error)

        thread = threading.Thread(target=restore)
        thread.start()
        longest = 0.0
        while thread.is_alive():
            started = time.perf_counter()
            till.execute("UPDATE goods SET name = name WHERE id = 2")
            longest = max(longest, time.perf_counter() - started)
            time.sleep(0.01)
        thread.join()
    assert longest < 1.4
    assert "Somebody holds a lock" in str(failed[0])
    assert everything(fresh_database) == before


@pytest.mark.slow
def test_a_prepared_transaction_is_named(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg", options={"fsync": "off", "max_prepared_transactions": "2"}) as server:
        url = server.url("postgres")
        run(url, SHOP)
        bench = back_up(url, tmp_path)
        run(url, "BEGIN; UPDATE sold SET note = 'x' WHERE id = 1; PREPARE TRANSACTION 'left behind'")
        with pytest.raises(
            LockedError, match=r"prepared transaction 'left behind' of postgres, prepared 20"
        ) as refused:
            bench.restore(url, Mode.UPSERT)
        assert "ROLLBACK PREPARED 'left behind'" in refused.value.do
        run(url, "ROLLBACK PREPARED 'left behind'")
