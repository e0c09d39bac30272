"""Foreign keys that the source itself breaks: the backup warns, a restore makes them NOT VALID and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.verification import Level
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline_tests.drill.rehearsing import backed_up, drafted
from backup_pipeline_tests.drill.rehearsing import said as remarks_of
from backup_pipeline_tests.operations.made import verify_ports
from backup_pipeline_tests.restore.bench import Bench, back_up, everything, one, rows, run, warnings

BROKEN = """
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parents);
INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1);
SET session_replication_role = replica; INSERT INTO children VALUES (2, 99);
"""
PARTITIONED = """
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent_id int REFERENCES parents) PARTITION BY RANGE (id);
CREATE TABLE children_1 PARTITION OF children FOR VALUES FROM (0) TO (10);
INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1);
SET session_replication_role = replica; INSERT INTO children VALUES (2, 99);
"""
VALID = "SELECT convalidated FROM pg_constraint WHERE conname = 'children_parent_id_fkey'"


@pytest.fixture
def bench(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, BROKEN)
    return back_up(fresh_database, tmp_path)


def test_the_backup_warns_and_verifies(bench: Bench) -> None:
    assert bench.attempt.status is Status.SUCCESS_WITH_WARNINGS
    [warning] = bench.attempt.warnings
    assert "The source itself breaks a foreign key: 1 rows of children(parent_id) → parents(id)" in warning
    assert bench.place.manifest.broken == {"children(parent_id) → parents(id)": 1}
    report = verify_backup(place_of(bench.attempt), VerifyRequest(Level.REFERENCES), verify_ports(bench.place.store))
    assert report.passed
    [remark] = report.remarks
    assert "The source itself broke this key" in remark.message


def test_into_an_empty_database_the_key_is_not_valid(bench: Bench, fresh_database: str, empty_database: str) -> None:
    plan = bench.plan(empty_database, Mode.NEW)
    assert "The foreign key of public.children (parent_id) to public.parents is NOT VALID afterwards" in warnings(plan)
    assert not plan.refused
    report = bench.restore(empty_database, Mode.NEW)
    assert "public.children (parent_id) to public.parents is NOT VALID" in report.notes[0]
    assert rows(empty_database, "SELECT * FROM children ORDER BY id") == [(1, 1), (2, 99)]
    assert one(empty_database, VALID) is False
    assert everything(empty_database)[1] == everything(fresh_database)[1]


def test_into_the_source_itself(bench: Bench, fresh_database: str) -> None:
    run(fresh_database, "DELETE FROM children")
    bench.restore(fresh_database, Mode.REPLACE)
    assert rows(fresh_database, "SELECT * FROM children ORDER BY id") == [(1, 1), (2, 99)]
    assert one(fresh_database, VALID) is False


def test_a_partitioned_table_comes_without_it(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(fresh_database, PARTITIONED)
    bench = back_up(fresh_database, tmp_path)
    plan = bench.plan(empty_database, Mode.NEW)
    assert "in a partitioned table none is NOT VALID" in " ".join(plan.steps.left_out)
    bench.restore(empty_database, Mode.NEW)
    assert one(empty_database, "SELECT count(*) FROM children") == 2
    assert rows(empty_database, VALID) == []


def test_a_drill_passes_and_tells(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, BROKEN)
    report = backed_up(fresh_database, tmp_path, drafted(fresh_database)).drill()
    assert report.findings == ()
    assert "children_parent_id_fkey: is not validated" in remarks_of(report)
