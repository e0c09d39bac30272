"""Statistics and metrics read what is there and what is young, however many attempts there were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.restore.requests import RestoreChange, RestoreStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.health import Places, all_metrics, catalog_statistics, counted_rows
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.ledger.restores import wish
from backup_pipeline_tests.servers.postgres import temporary_database

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISP = catalog({"a": None}).model_copy(update={"catalog": "isp"})
PLACES = Places("file:///first", "file:///second")
OLD = 100_000
_OLD_ROWS = """
INSERT INTO backup_logs (backup_id, catalog, kind, type, status, partition_date, created_at, started_at, actor,
    sha256)
SELECT 'old-' || n, 'isp', 'full', 'automatic', CASE n %% 2 WHEN 0 THEN 'expired' ELSE 'failed' END, '2020-01-01',
    timestamptz '2020-01-01' + n * interval '1 minute', timestamptz '2020-01-01', 'schedule', 'x'
FROM generate_series(1, %s) n
"""


@pytest.fixture(scope="module")
def url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as made:
        yield made


@pytest.fixture(scope="module")
def ledger(url: str) -> Iterator[SqlLedger]:
    """Many attempts of years ago, and a few of today; the tests only read."""
    made = SqlLedger.create(url)
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE backup_logs DISABLE TRIGGER USER")
        connection.execute(_OLD_ROWS, [OLD])
        connection.execute("ALTER TABLE backup_logs ENABLE TRIGGER USER")
    for number, end in enumerate((Status.SUCCESS, Status.FAILED)):
        at = NOW - timedelta(hours=2 + number)
        row = attempt(f"20261121T0{number}0000Z-full-00000000", created_at=at, started_at=at)
        made.begin(row)
        made.end(row.backup_id, outcome(end))
        made.copies.put(Copy(row.backup_id, Scope("isp"), "file:///second", CopyStatus.GOOD, at))
    made.begin(attempt("running", created_at=NOW, started_at=NOW))
    done = made.restores.add(wish())
    made.restores.change(done.id, RestoreChange(RestoreStatus.RUNNING, started_at=NOW))
    made.restores.change(done.id, RestoreChange(RestoreStatus.DONE, finished_at=NOW + timedelta(seconds=9)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    yield made
    made.close()


@contextmanager
def _asked(ledger: SqlLedger) -> Iterator[list[tuple[str, Any]]]:
    """The queries inside, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT"):
            found.append((statement, parameters))

    event.listen(ledger._engine, "before_cursor_execute", note)
    yield found
    event.remove(ledger._engine, "before_cursor_execute", note)


def _rows_read(url: str, queries: list[tuple[str, Any]]) -> int:
    """The most rows that any step of any query looked at."""
    most = 0
    with psycopg.connect(url) as connection:
        for statement, parameters in queries:
            [(plan,)] = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchall()
            most = max(most, *_looked_at(plan if isinstance(plan, list) else json.loads(plan)))
    return most


def _looked_at(node: Any) -> Iterator[int]:
    if isinstance(node, list):
        for each in node:
            yield from _looked_at(each)
    elif isinstance(node, dict):
        removed = sum(int(node.get(name, 0)) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
        yield int(node.get("Actual Rows", 0)) + removed
        for name in ("Plan", "Plans"):
            yield from _looked_at(node.get(name, []))


def test_what_is_long_over_is_not_read_for_statistics(ledger: SqlLedger, url: str) -> None:
    with _asked(ledger) as queries:
        rows = counted_rows(ledger, scope=Scope("isp"), now=NOW, days=90)
        everybody = counted_rows(ledger, scope=None, now=NOW, days=90)
    assert [row.status for row in rows] == [Status.RUNNING, Status.SUCCESS, Status.FAILED]
    assert everybody == rows
    found = catalog_statistics(rows, Scope("isp"), None, now=NOW, days=90)
    assert (found.backups, found.attempts, found.success_rate) == (1, 3, 0.5)
    assert len(queries) == 4
    assert _rows_read(url, queries) < 100


def test_what_is_long_over_is_not_read_for_metrics(ledger: SqlLedger, url: str) -> None:
    with _asked(ledger) as queries:
        metrics = {metric.name: metric.samples for metric in all_metrics(ledger, PLACES, [ISP], NOW)}
    assert _rows_read(url, queries) < 100
    assert {sample.labels["status"]: sample.value for sample in metrics["backup_runs"]} == {
        "success": 1,
        "success_with_warnings": 0,
        "failed": 1,
        "canceled": 0,
        "missed": 0,
    }
    assert metrics["backup_age_seconds"][0].value == 7200
    assert [sample.value for sample in metrics["backup_restore_duration_seconds"]] == [9]


@pytest.mark.usefixtures("ledger")
def test_the_way_to_see_it_sees_it(url: str) -> None:
    assert _rows_read(url, [("SELECT count(*) FROM backup_logs WHERE error_message = 'none'", None)]) > OLD
