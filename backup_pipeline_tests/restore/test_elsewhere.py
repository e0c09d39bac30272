"""Restoring beside what is there: another schema, another name, another database; and only what was asked for."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.restore import Mode
from backup_pipeline.demo import create_isp
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.restore.bench import (
    Bench,
    back_up,
    back_up_catalog,
    everything,
    one,
    refusals,
    rows,
    run,
    warnings,
)

SHOP = """
CREATE TYPE size AS ENUM ('S', 'L');
CREATE TABLE goods (id serial PRIMARY KEY, size size, twice int GENERATED ALWAYS AS (id * 2) STORED, password text);
CREATE TABLE sold (id int GENERATED ALWAYS AS IDENTITY, good_id int REFERENCES goods, PRIMARY KEY (id));
INSERT INTO goods (size) SELECT 'L' FROM generate_series(1, 30); INSERT INTO sold (good_id) SELECT id FROM goods;
"""


@pytest.fixture
def shop(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, SHOP)
    return back_up(fresh_database, tmp_path, {"goods": {"exclude": {}, "mask": ("password",)}})


def test_into_another_schema_of_the_source_itself(shop: Bench, fresh_database: str) -> None:
    before = everything(fresh_database)
    plan = shop.plan(fresh_database, Mode.NEW, into_schema="yesterday")
    assert plan.confirm_name is None
    assert any("without the rest of its definition" in remark.message for remark in plan.remarks)
    shop.restore(fresh_database, Mode.NEW, into_schema="yesterday", confirm=None)
    same = "SELECT count(*) FROM goods g JOIN yesterday.goods y USING (id, size, twice)"
    assert one(fresh_database, same) == 30
    assert one(fresh_database, "INSERT INTO yesterday.goods (size) VALUES ('S') RETURNING id") == 31
    assert one(fresh_database, "INSERT INTO yesterday.sold (good_id) VALUES (1) RETURNING id") == 31
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(fresh_database, "INSERT INTO yesterday.sold (id) VALUES (1)")
    run(fresh_database, "DROP SCHEMA yesterday CASCADE")
    assert everything(fresh_database) == before


def test_under_another_name(shop: Bench, fresh_database: str) -> None:
    shop.restore(fresh_database, Mode.NEW, "goods", rename={"goods": "Goods of yesterday"})
    assert one(fresh_database, "SELECT count(*) FROM \"Goods of yesterday\" WHERE size = 'L'") == 30
    plan = shop.plan(fresh_database, Mode.NEW, "goods", rename={"goods": "Goods of yesterday"})
    assert "public.Goods of yesterday is there already" in refusals(plan)
    run(fresh_database, 'DELETE FROM "Goods of yesterday" WHERE id < 10')
    report = shop.restore(fresh_database, Mode.REPLACE, "goods", rename={"goods": "Goods of yesterday"})
    assert report.tables[0].inserted == 9


def test_where_the_types_are_not(shop: Bench, empty_database: str) -> None:
    plan = shop.plan(empty_database, Mode.NEW, "goods", into_schema="apart")
    assert "Columns become text, because the target lacks their types: size (public.size)." in warnings(plan)
    shop.restore(empty_database, Mode.NEW, "goods", into_schema="apart")
    assert rows(empty_database, "SELECT DISTINCT size FROM apart.goods") == [("L",)]


def test_one_table_with_what_it_needs(shop: Bench, fresh_database: str, empty_database: str) -> None:
    plan = shop.plan(empty_database, Mode.NEW, "sold")
    assert "fk constraint sold sold_good_id_fkey: public.goods is not there" in warnings(plan)
    shop.restore(empty_database, Mode.NEW, "sold")
    assert one(empty_database, "SELECT count(*) FROM sold") == 30
    assert one(empty_database, "SELECT to_regclass('goods') IS NULL AND to_regtype('size') IS NULL")
    shop.restore(empty_database, Mode.NEW, "goods")
    assert one(empty_database, "SELECT max(size::text) FROM goods") == "L"
    run(empty_database, "DROP TABLE sold")
    shop.restore(empty_database, Mode.NEW, "sold")
    run(fresh_database, "UPDATE goods SET password = NULL")
    assert everything(empty_database) == everything(fresh_database)


def test_a_table_comes_back_without_its_trigger_when_the_function_is_gone(
    fresh_database: str, empty_database: str, tmp_path: Path
) -> None:
    run(
        fresh_database,
        """CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v > 0)); CREATE INDEX ON t (v); INSERT INTO t VALUES (1, 1);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TRIGGER calls BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()""",
    )
    bench = back_up(fresh_database, tmp_path)
    assert "trigger t calls: public.f is not there" in warnings(bench.plan(empty_database, Mode.NEW, "t"))
    bench.restore(empty_database, Mode.NEW, "t")
    assert one(empty_database, "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass") == 2
    run(empty_database, "DROP TABLE t; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'")
    bench.restore(empty_database, Mode.NEW, "t")
    assert everything(empty_database) == everything(fresh_database)


def test_a_dropped_table_whose_sequence_stayed(fresh_database: str, tmp_path: Path) -> None:
    run(
        fresh_database,
        "CREATE SEQUENCE numbers; CREATE TABLE t (id int DEFAULT nextval('numbers') PRIMARY KEY);"
        " INSERT INTO t DEFAULT VALUES",
    )
    bench = back_up(fresh_database, tmp_path)
    run(fresh_database, "DROP TABLE t; SELECT setval('numbers', 500)")
    bench.restore(fresh_database, Mode.NEW, "t")
    assert one(fresh_database, "INSERT INTO t DEFAULT VALUES RETURNING id") == 501


def test_through_a_safe_view_into_the_table_behind_it(fresh_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.005)
    bench = back_up_catalog(fresh_database, tmp_path, load_catalog(BUILT_IN_CATALOGS / "isp.yaml"))
    before = everything(fresh_database)
    run(fresh_database, "UPDATE employees SET name = 'x', phone = '0'; UPDATE routers SET model = 'x'")
    plan = bench.plan(fresh_database, Mode.REPLACE, "employees")
    assert plan.tables[0].target == ("public", "employees")
    assert "password_hash" in plan.tables[0].kept
    bench.restore(fresh_database, Mode.REPLACE, "employees", "routers")
    assert everything(fresh_database) == before


def test_a_view_that_does_more_is_refused(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, -1)")
    run(fresh_database, "CREATE VIEW good AS SELECT id, v FROM t WHERE v > 0")
    bench = back_up(fresh_database, tmp_path, {"t": {"relation": "good", "key": ("id",), "covers": ("t",)}})
    assert "is a view that does more than show columns of one table" in refusals(
        bench.plan(fresh_database, Mode.REPLACE, "t")
    )
    bench.restore(fresh_database, Mode.NEW, "t", rename={"t": "copy"})
    assert rows(fresh_database, "SELECT id, v FROM copy") == [(1, 1)]


def test_only_the_bytes_of_the_table_are_fetched(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(
        fresh_database,
        "CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1);"
        " CREATE TABLE big AS SELECT md5(n::text) || md5((-n)::text) AS t FROM generate_series(1, 60000) n",
    )
    bench = back_up(fresh_database, tmp_path)
    report = bench.restore(empty_database, Mode.NEW, "small")
    bundle = bench.place.manifest.bundle.bytes
    assert bundle > 3_000_000
    assert report.bytes_fetched < 600_000
    assert list(bench.spool.iterdir()) == []
