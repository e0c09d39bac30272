"""Functions that name tables without their schema, called by checks, generated columns and indexes: rows come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.restore import Mode
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.drill.rehearsing import backed_up, drafted
from backup_pipeline_tests.restore.bench import Bench, back_up, everything, one, rows, run, warnings
from backup_pipeline_tests.restore.by_hand import DATABASE, unpacked

# `a_data` comes before what its check reads, by name and by what the catalog lists first.
UNQUALIFIED = """
CREATE SCHEMA "the shop"; SET search_path = "the shop", public;
CREATE TABLE "Dict" (id int PRIMARY KEY, val text UNIQUE NOT NULL);
INSERT INTO "Dict" VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE FUNCTION looks(v text) RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT EXISTS (SELECT 1 FROM "Dict" WHERE val = v) $$;
CREATE FUNCTION in_dict(v text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN looks(v); END $$;
CREATE FUNCTION doubled(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT i * 2 $$;
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT doubled(i) $$;
CREATE TABLE a_data (id int PRIMARY KEY, val text NOT NULL CHECK (in_dict(val)),
    double int GENERATED ALWAYS AS (twice(id)) STORED);
INSERT INTO a_data (id, val) SELECT i, chr(97 + i % 3) FROM generate_series(1, 9) i;
CREATE FUNCTION area_of(i int) RETURNS text LANGUAGE plpgsql STABLE AS
    $$ DECLARE r text; BEGIN SELECT val INTO r FROM "Dict" WHERE id = i; RETURN r; END $$;
CREATE VIEW data_named AS SELECT d.id, area_of(d.id) AS area FROM a_data d WHERE d.id <= 3;
"""
ALTER = 'ALTER DATABASE {} SET search_path = "the shop", public'


@pytest.fixture
def bench(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, UNQUALIFIED)
    run(fresh_database, ALTER.format(fresh_database.rpartition("/")[2]))
    return back_up(fresh_database, tmp_path)


@pytest.mark.parametrize("mode", [Mode.INSERT_MISSING, Mode.UPSERT, Mode.REPLACE])
@pytest.mark.parametrize("lost", ["id > 4", "true"])
def test_into_the_living_table(bench: Bench, fresh_database: str, mode: Mode, lost: str) -> None:
    before = everything(fresh_database)
    run(fresh_database, f'DELETE FROM "the shop".a_data WHERE {lost}')
    told = warnings(bench.plan(fresh_database, mode, "a_data"))
    assert "functions that have no search path of their own: the shop.in_dict, the shop.twice." in told
    bench.restore(fresh_database, mode, "a_data")
    assert everything(fresh_database) == before


def test_into_an_empty_database_with_what_is_looked_up_first(
    bench: Bench, fresh_database: str, empty_database: str
) -> None:
    plan = bench.plan(empty_database, Mode.NEW)
    assert plan.search_path == 'pg_catalog, "$user", public, "the shop"'
    assert [table.target[1] for table in plan.tables] == ["Dict", "a_data"]
    bench.restore(empty_database, Mode.NEW)
    assert everything(empty_database) == everything(fresh_database)


def test_a_path_of_its_own_is_left_to_the_function(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, UNQUALIFIED)
    run(fresh_database, 'ALTER FUNCTION "the shop".in_dict SET search_path = "the shop"')
    run(fresh_database, 'ALTER FUNCTION "the shop".twice SET search_path = "the shop"')
    bench = back_up(fresh_database, tmp_path)
    assert bench.plan(fresh_database, Mode.REPLACE).search_path == ""
    bench.restore(fresh_database, Mode.REPLACE)


def test_a_drill_passes(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, UNQUALIFIED)
    assert backed_up(fresh_database, tmp_path, drafted(fresh_database)).drill().findings == ()


@pytest.fixture
def recovered(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of the database that the README makes; dropped afterwards."""
    yield postgres_server.url(DATABASE)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as session:
        session.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def test_by_hand(bench: Bench, fresh_database: str, recovered: str, tmp_path: Path) -> None:
    unpacked(bench, tmp_path / "bundle").type_in(fresh_database)
    assert one(recovered, 'SELECT count(*) FROM "the shop".a_data') == 9
    assert rows(recovered, 'SELECT double FROM "the shop".a_data WHERE id = 4') == [(8,)]
