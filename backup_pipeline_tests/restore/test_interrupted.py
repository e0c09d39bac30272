"""A restore that dies, at any point and in any way, leaves the target as it was, and can be run again."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.errors import CanceledError, PreflightRefusedError, TargetError, TargetUnavailableError
from backup_pipeline.core.ports import Event, PageWritten, StageStarted, TableFinished
from backup_pipeline.core.restore import Mode
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.restore.transfer import plan_restore, run_restore
from backup_pipeline.postgres.restore import PostgresTarget, PostgresTargetSession
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.restore.bench import Bench, back_up, everything, one, run
from backup_pipeline_tests.servers.ledgers import new_ledger

SHOP = """
CREATE TABLE goods (id serial PRIMARY KEY, name text);
CREATE TABLE sold (id serial PRIMARY KEY, good_id int REFERENCES goods, note text);
INSERT INTO goods (name) SELECT 'good ' || n FROM generate_series(1, 50) n;
INSERT INTO sold (good_id, note) SELECT n % 50 + 1, md5(n::text) FROM generate_series(1, 2000) n;
"""
BEFORE_THE_END = ["fetch", "load", "rows", "safety backup", "put in place", "table"]
OF_NEW = ["definitions", "load", "rows", "indexes and keys", "table"]
_OURS = "application_name = 'backup_pipeline restore'"
_LEFT_BEHIND = f"""
SELECT (SELECT count(*) FROM pg_stat_activity WHERE {_OURS} AND datname = current_database())
     + (SELECT count(*) FROM pg_class WHERE relname LIKE 'restore\\_%')
     + (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND d.datname = current_database())"""


@dataclass
class At:
    """Progress that does something when the restore reaches a stage."""

    stage: str
    act: Callable[[], object]

    def tell(self, event: Event) -> None:
        kinds = {PageWritten: "rows", TableFinished: "table"}
        name = event.stage if isinstance(event, StageStarted) else kinds.get(type(event))
        if name == self.stage:
            self.act()


@pytest.fixture
def shop(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, SHOP)
    return back_up(fresh_database, tmp_path)


def damage(url: str) -> None:
    run(url, "DELETE FROM sold WHERE id < 100; UPDATE sold SET note = 'x' WHERE id < 500; UPDATE goods SET name = 'y'")


def assert_nothing_left(url: str) -> None:
    deadline = time.monotonic() + 15
    while one(url, _LEFT_BEHIND):
        assert time.monotonic() < deadline, "the dead restore's session is still there"
        time.sleep(0.1)


def assert_runs_again(bench: Bench, url: str, mode: Mode) -> None:
    bench.progress = At("never", lambda: None)
    bench.restore(url, mode)
    assert one(url, "SELECT count(*) FROM sold s JOIN goods g ON g.id = s.good_id WHERE g.name LIKE 'good %'") == 2000


@pytest.mark.parametrize("stage", BEFORE_THE_END)
def test_the_server_ends_the_session(shop: Bench, fresh_database: str, stage: str) -> None:
    damage(fresh_database)
    before = everything(fresh_database)
    kill = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {_OURS}"
    shop.progress = At(stage, lambda: run(fresh_database, f"{kill} AND datname = current_database()"))
    with pytest.raises(TargetUnavailableError):
        shop.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before
    assert_nothing_left(fresh_database)
    assert_runs_again(shop, fresh_database, Mode.REPLACE)


_CHILD = """
import os, pickle, signal, sys
from pathlib import Path
from backup_pipeline.core.restore import Mode
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.restore.bench import Bench
from backup_pipeline_tests.restore.test_interrupted import At
given = pickle.loads(Path(sys.argv[1]).read_bytes())
place = Place(Path(given["spool"]), ledger=SqlLedger(given["ledger"]))
for key, data in given["objects"].items():
    place.store.put(key, [data])
place.ledger.adopt([given["attempt"]], [])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
bench = Bench(place, given["attempt"], Path(given["spool"]), progress=At(sys.argv[2], die))
bench.restore(sys.argv[3], Mode(sys.argv[4]))
"""


_MOMENTS = [(Mode.REPLACE, stage) for stage in BEFORE_THE_END[1:]] + [(Mode.NEW, stage) for stage in OF_NEW]


@pytest.mark.parametrize(
    ("mode", "stage"), [*_MOMENTS[::2], *(pytest.param(*each, marks=pytest.mark.slow) for each in _MOMENTS[1::2])]
)
def test_this_program_is_killed(
    shop: Bench, fresh_database: str, empty_database: str, tmp_path: Path, mode: Mode, stage: str
) -> None:
    url = empty_database if mode is Mode.NEW else fresh_database
    damage(fresh_database)
    before = everything(url)
    store = shop.place.store
    assert isinstance(store, MemoryStore)
    objects = {found.key: store.get(found.key) for found in store.list("")}
    given = tmp_path / "given.pickle"
    child = {"objects": objects, "attempt": shop.attempt, "spool": str(tmp_path / "child"), "ledger": new_ledger().url}
    given.write_bytes(pickle.dumps(child))
    command = [sys.executable, "-c", _CHILD, str(given), stage, url, mode.value]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr
    assert_nothing_left(url)
    assert everything(url) == before
    assert_runs_again(shop, url, mode)


@pytest.mark.parametrize("stage", BEFORE_THE_END)
def test_somebody_presses_ctrl_c(shop: Bench, fresh_database: str, stage: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    damage(fresh_database)
    before = everything(fresh_database)
    shop.progress = At(stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        shop.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before
    assert_nothing_left(fresh_database)
    assert_runs_again(shop, fresh_database, Mode.REPLACE)


def test_it_is_canceled_while_the_server_works(shop: Bench, fresh_database: str) -> None:
    # A slow check makes the server's part long enough to be canceled.
    run(
        fresh_database,
        "CREATE FUNCTION slow(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM pg_sleep(0.05); RETURN true; END $$; ALTER TABLE sold ADD CHECK (slow(note)) NOT VALID",
    )
    damage_sql = (
        "ALTER TABLE sold DISABLE TRIGGER ALL; DELETE FROM sold WHERE id < 1000; ALTER TABLE sold ENABLE TRIGGER ALL"
    )
    run(fresh_database, damage_sql)
    before = everything(fresh_database)
    target = PostgresTarget(fresh_database)
    plan = plan_restore(shop.request(Mode.INSERT_MISSING, "sold"), target, shop.ports)
    with target.session() as session:
        timers: list[threading.Timer] = []

        def soon() -> None:
            timers.append(threading.Timer(0.5, session.cancel))
            timers[-1].start()

        shop.progress = At("put in place", soon)
        with pytest.raises(CanceledError):
            run_restore(plan, Held(session, target.url), shop.ports, safety=None)
    assert everything(fresh_database) == before
    assert_nothing_left(fresh_database)


@dataclass
class Held:
    """A target whose session is at hand, so that it can be canceled."""

    opened: PostgresTargetSession
    url: str

    @contextmanager
    def session(self) -> Iterator[PostgresTargetSession]:
        yield self.opened


class Fewer(FileFormats):
    """Formats that lose the last rows on the way."""

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        rows = pq.read_table(file)
        fewer = file.with_suffix(".fewer")
        pq.write_table(rows.slice(0, rows.num_rows - 2), fewer)
        return super().copy_rows(fewer, columns, binary)


def test_rows_that_get_lost_on_the_way_are_missed(shop: Bench, fresh_database: str, empty_database: str) -> None:
    damage(fresh_database)
    before = everything(fresh_database)
    ports = replace(shop.ports, formats=Fewer())
    for url, mode in ((fresh_database, Mode.REPLACE), (empty_database, Mode.NEW)):
        plan = shop.plan(url, mode, confirm=url.rpartition("/")[2])
        with pytest.raises(TargetError, match=r"48 rows of goods were loaded; the manifest says 50\."):
            run_restore(plan, PostgresTarget(url), ports, safety=shop.safety)
    assert everything(fresh_database) == before
    assert one(empty_database, "SELECT count(*) FROM pg_class WHERE relname = 'goods'") == 0


def test_a_row_that_the_target_refuses(shop: Bench, fresh_database: str) -> None:
    damage(fresh_database)
    run(fresh_database, "ALTER TABLE sold ADD CONSTRAINT short CHECK (id <> 77 OR note = 'no')")
    before = everything(fresh_database)
    with pytest.raises(TargetError, match=r'violates check constraint "short"'):
        shop.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before
    run(fresh_database, "TRUNCATE sold, goods")
    before = everything(fresh_database)
    with pytest.raises(TargetError, match=r'violates check constraint "short".*row 77'):
        shop.restore(fresh_database, Mode.UPSERT)
    assert everything(fresh_database) == before


def test_a_constraint_that_only_fails_at_the_end(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(
        fresh_database,
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id serial PRIMARY KEY, p_id int);"
        " INSERT INTO c (p_id) VALUES (1); ALTER TABLE c ADD FOREIGN KEY (p_id) REFERENCES p NOT VALID",
    )
    bench = back_up(fresh_database, tmp_path)
    bench.restore(empty_database, Mode.NEW)
    assert everything(empty_database) == everything(fresh_database)
    run(fresh_database, "ALTER TABLE c DROP CONSTRAINT c_p_id_fkey; TRUNCATE c RESTART IDENTITY;"
        " ALTER TABLE c ADD FOREIGN KEY (p_id) REFERENCES p DEFERRABLE INITIALLY DEFERRED")  # fmt: skip
    before = everything(fresh_database)
    with pytest.raises(PreflightRefusedError, match=r"that would not be there|violates foreign key"):
        bench.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before


def test_the_spool_is_empty_afterwards(shop: Bench, fresh_database: str) -> None:
    shop.progress = At("rows", lambda: 1 / 0)
    damage(fresh_database)
    with pytest.raises(ZeroDivisionError):
        shop.restore(fresh_database, Mode.REPLACE)
    assert list(shop.spool.iterdir()) == []
