"""A streaming standby as the source: what the doctor says of it, a backup of it, and recovery that is in its way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.doctor import SourceFacts, judge_source
from backup_pipeline.core.errors import BackupError, SnapshotLostError, SourceUnavailableError
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Snapshot
from backup_pipeline.postgres.source import PostgresSource, examine_source
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import SHOP, SHOP_SQL
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.standby import Streaming, streaming

EXTRA = """
CREATE UNLOGGED TABLE scratch (id serial PRIMARY KEY);
CREATE SEQUENCE orders_no START 41;
SELECT nextval('orders_no')"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streaming]:
    with streaming(tmp_path_factory.mktemp("streaming")) as made:
        made.primary.ensure_database("shop")
        with psycopg.connect(made.primary_url("shop")) as session:
            session.execute(f"{SHOP_SQL}; {EXTRA}".encode())
        made.wait()
        yield made


def _facts(servers: Streaming) -> SourceFacts:
    return examine_source(servers.standby_url("shop"), now)


def _told(facts: SourceFacts) -> list[tuple[str, str]]:
    lines = [line for line in judge_source("source shop", facts, ["public.goods"]) if "standby" in line.what]
    return [(line.state.value, line.what) for line in lines]


def _shop(servers: Streaming, home: Path) -> Place:
    place = Place(home, MemoryStore(), new_ledger())
    assert servers.standby_url("shop") != servers.primary_url("shop")
    return place


def _in_the_way(servers: Streaming) -> None:
    """Rows that a snapshot of now still shows are cleared away on the primary."""
    with psycopg.connect(servers.primary_url("shop"), autocommit=True) as session:
        session.execute("UPDATE goods SET name = name")
        session.execute("VACUUM goods")
    servers.wait()


def _rows(snapshot: Snapshot, plans: Mapping[str, TablePlan]) -> Mapping[str, int]:
    return {name: sum(page.rows.num_rows for page in snapshot.read(plan)) for name, plan in plans.items()}


def _set(servers: Streaming, *, feedback: str, delay: str) -> None:
    servers.configure(hot_standby_feedback=feedback, max_standby_streaming_delay=delay)
    deadline = time.monotonic() + 20
    with psycopg.connect(servers.primary_url("postgres"), autocommit=True) as session:
        while session.execute("SELECT bool_or(backend_xmin IS NOT NULL) FROM pg_stat_replication").fetchone() != (
            feedback == "on",
        ):
            assert time.monotonic() < deadline, "the primary does not hear of it"
            time.sleep(0.1)


def test_the_doctor_knows_a_standby_and_what_may_cancel_a_backup_there(servers: Streaming) -> None:
    _set(servers, feedback="off", delay="30s")
    assert _told(_facts(servers)) == [
        ("ok", "a standby, 0 seconds behind its primary"),
        ("warning", "the standby may cancel a query that is in recovery's way after 30 seconds"),
    ]
    _set(servers, feedback="on", delay="30s")
    assert _told(_facts(servers)) == [("ok", "a standby, 0 seconds behind its primary")]


def test_a_standby_that_does_not_replay_is_behind(servers: Streaming) -> None:
    with (
        psycopg.connect(servers.standby_url("shop"), autocommit=True) as standby,
        psycopg.connect(servers.primary_url("shop"), autocommit=True) as primary,
    ):
        standby.execute("SELECT pg_wal_replay_pause()")
        primary.execute("UPDATE goods SET name = name WHERE id = 1")
        time.sleep(1.2)
        lag = _facts(servers).standby
        standby.execute("SELECT pg_wal_replay_resume()")
    assert lag is not None
    assert lag.lag is not None
    assert lag.lag.total_seconds() > 1
    servers.wait()


def test_a_backup_of_a_standby_is_whole(servers: Streaming, tmp_path: Path) -> None:
    place = _shop(servers, tmp_path)
    made = place.back_up(servers.standby_url("shop"), SHOP)
    assert (made.status.good, made.table_counts, made.consistent) == (True, {"goods": 500, "sold": 2000}, True)
    assert ["public.scratch" in warning for warning in made.warnings] == [True]  # nobody has decided about it
    with psycopg.connect(servers.standby_url("shop")) as session:
        [(seen,)] = session.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [place.manifest.snapshot.lsn])
    assert seen


@pytest.mark.parametrize("delay", ["0", "1s"])
def test_recovery_that_ends_the_snapshot_is_told_with_what_the_standby_needs(servers: Streaming, delay: str) -> None:
    _set(servers, feedback="off", delay=delay)
    with PostgresSource(servers.standby_url("shop")).snapshot() as snapshot:
        plans = plan_catalog(SHOP, snapshot.database()).tables
        _in_the_way(servers)
        with pytest.raises((SnapshotLostError, SourceUnavailableError)) as caught:
            _rows(snapshot, plans)
    assert "hot_standby_feedback = on" in caught.value.do


def test_with_feedback_a_backup_goes_on_while_the_primary_clears_away(servers: Streaming) -> None:
    _set(servers, feedback="on", delay="0")
    with PostgresSource(servers.standby_url("shop")).snapshot() as snapshot:
        plans = plan_catalog(SHOP, snapshot.database()).tables
        time.sleep(1.5)  # until the primary has heard of the snapshot
        _in_the_way(servers)
        rows = _rows(snapshot, plans)
    assert rows == {"goods": 500, "sold": 2000}


def test_an_unlogged_table_is_not_there_on_a_standby(servers: Streaming) -> None:
    with PostgresSource(servers.standby_url("shop")).snapshot() as snapshot:
        listed = catalog({"goods": None, "sold": None, "scratch": None})
        plan = plan_catalog(listed, snapshot.database()).tables["scratch"]
        with pytest.raises(BackupError, match="unlogged") as caught:
            list(snapshot.read(plan))
    assert "standby" in caught.value.do


def test_a_standby_without_its_primary_is_not_called_up_to_date(servers: Streaming) -> None:
    servers.primary.stop()
    try:
        deadline = time.monotonic() + 20
        while (found := _facts(servers).standby) is None or found.streams:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [told, *_] = _told(_facts(servers))
    finally:
        servers.primary.start()
    assert told[0] == "warning"
    assert "a standby that receives nothing now" in told[1]
