"""Connections that the server ends in the middle: a worker's costs but time, the holder's ends the run at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backup_pipeline.core.errors import CanceledError, SnapshotLostError
from backup_pipeline.core.ports import Event, PageWritten
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.exactness.exporting import Export, Exporter, public
from backup_pipeline_tests.exactness.loading import assert_round_trip, session

TABLES = ("keyed", "bare", "seen")
_CREATE = """
CREATE TABLE keyed (id int PRIMARY KEY, x text, n numeric(12,2));
INSERT INTO keyed SELECT i, repeat('x', i % 50), i FROM generate_series(1, 2000) i;
CREATE TABLE bare AS SELECT * FROM keyed;
CREATE VIEW seen AS SELECT * FROM keyed WHERE id % 2 = 0;
CREATE TABLE keyed_then AS SELECT * FROM keyed;
CREATE TABLE seen_then AS SELECT * FROM seen;
CREATE VIEW slow AS SELECT i, pg_sleep(0.01)::text FROM generate_series(1, 100000) i;
"""
_END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'backup_pipeline {role}'"""


class Killer:
    """Progress that, at chosen pages of a table, ends a role's connections and changes what the tables hold."""

    def __init__(self, url: str, role: str, pages: set[int], table: str) -> None:
        self._url, self._role, self._pages, self._table = url, role, pages, table
        self._guard = threading.Lock()
        self.seen = 0
        self.rows = 0
        self.killed = 0
        self.at = 0.0

    def tell(self, event: Event) -> None:
        if not isinstance(event, PageWritten) or event.table != self._table:
            return
        with self._guard:
            self.seen += 1
            self.rows += event.rows
            if self.seen in self._pages:
                self._kill()

    def _kill(self) -> None:
        with session(self._url) as connection:
            connection.execute("DELETE FROM keyed WHERE id > 100; UPDATE bare SET x = 'changed'")
            self.at = time.monotonic()
            self.killed += len(connection.execute(_END.format(role=self._role)).fetchall())


@pytest.fixture
def exporter(fresh_database: str, tmp_path: Path) -> Exporter:
    with session(fresh_database) as connection:
        connection.execute(_CREATE)
    return Exporter(fresh_database, tmp_path, page_rows=64, options={"page_bytes": 4000})


@pytest.mark.parametrize("table", TABLES)
def test_a_table_goes_on_in_the_same_snapshot_when_its_worker_is_killed(exporter: Exporter, table: str) -> None:
    undisturbed = exporter.export(public(TABLES))
    # A scan has no place to go on from and starts again, so it is killed once.
    killer = Killer(exporter.url, "worker", {2} if table == "seen" else {1, 2, 5}, table)
    exporter.progress = killer
    disturbed = exporter.export(public(TABLES))
    assert killer.killed >= 1
    for name in TABLES:
        for kind in ("parquet", "csv"):
            assert disturbed.files(name, kind) == undisturbed.files(name, kind), (name, kind)
        assert_round_trip(exporter.url, disturbed, name, ("public", "seen_then" if name == "seen" else "keyed_then"))


def test_a_killed_holder_fails_the_run_at_once_and_a_retry_takes_a_new_snapshot(exporter: Exporter) -> None:
    exporter.progress = killer = Killer(exporter.url, "holder", {3}, "keyed")
    with pytest.raises(SnapshotLostError, match="lost") as caught:
        exporter.export(public(["keyed", "slow"]))
    assert killer.killed == 1
    assert time.monotonic() - killer.at < 2
    assert caught.value.transient
    assert "new snapshot" in caught.value.do
    again = exporter.export(public(["keyed"]))
    assert again.entry("keyed").row_count == 100
    assert_round_trip(exporter.url, again, "keyed", ("public", "keyed"))


def test_nothing_is_published_of_a_table_whose_snapshot_was_lost(exporter: Exporter) -> None:
    exporter.progress = Killer(exporter.url, "holder", {1}, "keyed")
    exports: list[Export] = []
    with pytest.raises(SnapshotLostError):
        exports.append(exporter.export(public(["keyed"])))
    assert exports == []
    assert not [path for path in exporter.spool.rglob("*") if path.is_file()]
    with session(exporter.url) as connection:
        left = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name LIKE 'backup_pipeline %' AND datname = current_database()"
        )
        for _ in range(50):
            if connection.execute(left).fetchone() == (0,):
                break
            connection.execute("SELECT pg_sleep(0.02)")
        assert connection.execute(left).fetchone() == (0,)


def test_a_statement_that_is_about_to_begin_when_all_is_stopped_begins_no_more(exporter: Exporter) -> None:
    with PostgresSource(exporter.url).snapshot() as snapshot, snapshot._workers.lend() as worker:
        assert worker.rows("SELECT 1 AS one") == [{"one": 1}]
        snapshot.cancel()  # nothing runs just now
        with pytest.raises(CanceledError):
            worker.rows("SELECT pg_sleep(60)")


@pytest.mark.parametrize("table", ["keyed", "bare"])
def test_a_table_goes_on_in_the_middle_of_a_query_of_many_pages(exporter: Exporter, table: str) -> None:
    """The first query is for 64 rows, or a block; the next for many pages: its connection ends behind its third."""
    exporter.page_rows, exporter.options = 0, {"page_bytes": 4000, "first_page_rows": 64}
    undisturbed = exporter.export(public([table]))
    exporter.progress = killer = Killer(exporter.url, "worker", {4, 7}, table)
    disturbed = exporter.export(public([table]))
    assert killer.killed >= 1
    assert killer.rows == 2000, "it began again, or left some out"
    for kind in ("parquet", "csv"):
        assert disturbed.files(table, kind) == undisturbed.files(table, kind)
    assert_round_trip(exporter.url, disturbed, table, ("public", "keyed_then"))
