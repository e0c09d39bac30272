"""Pages hold every row once, whatever the key, the page size, the name, or the holes on disk."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from backup_pipeline.core.plans import RowOrder, TablePlan
from backup_pipeline.postgres.copy_stream import CopyForm, CopyStream, Storage
from backup_pipeline.postgres.errors import connection_lost
from backup_pipeline.postgres.pages import KeyWalk, PageSize
from backup_pipeline_tests.postgres.reading import joined, plan_for, read_table, run_sql, snapshot_of

KEYS = {
    "composite": (
        'a int, b text COLLATE "C"',
        "(a, b)",
        "SELECT i / 4, repeat('x', i % 4) FROM generate_series(0, 39) i",
    ),
    "text": ("k text", "(k)", "SELECT chr(60 + i) || '''\\' FROM generate_series(0, 39) i"),
    "empty text": ("k varchar", "(k)", "VALUES (''), (' '), ('ä'), ('A'), ('a'), ('Z')"),
    "padded": ("k char(4)", "(k)", "VALUES ('a'), ('b'), ('ab'), ('')"),
    "uuid": ("k uuid", "(k)", "SELECT md5(i::text)::uuid FROM generate_series(1, 40) i"),
    "timestamp": (
        "k timestamptz",
        "(k)",
        "SELECT '2026-01-01'::timestamptz + i * interval '1 us' FROM generate_series(1, 40) i",
    ),
    "around 1970": ("k timestamp", "(k)", "VALUES ('2026-01-01'), ('2026-01-01 00:00:00.000001'), ('1969-12-31')"),
    "date": ("k date", "(k)", "SELECT '1969-12-20'::date + i FROM generate_series(1, 40) i"),
    "time": ("k time", "(k)", "SELECT '10:00'::time + i * interval '1 us' FROM generate_series(1, 10) i"),
    "bigint": (
        "k bigint",
        "(k)",
        "SELECT 9223372036854775807 - i FROM generate_series(0, 9) i UNION SELECT -i FROM generate_series(1, 9) i",
    ),
    "money": ("k numeric(12,2)", "(k)", "SELECT i / 100.0 FROM generate_series(-20, 20) i"),
    "digits": ("k numeric", "(k)", "VALUES (1e-30), (1e-30 + 1e-40), ('NaN'), (1e40), (-1), ('Infinity')"),
    "wide": ("k numeric(30,10)", "(k)", "VALUES (0.0000000001), (0.0000000002), (12345678901234567890.5)"),
    "oid": ("k oid", "(k)", "VALUES (0), (4294967295), (2147483648)"),
    "bool": ("k bool", "(k)", "VALUES (true), (false)"),
    "bytes": ("k bytea", "(k)", "VALUES ('\\x00'), ('\\xff'), (''), ('\\x0001')"),
    "domain": ("k whole", "(k)", "SELECT i FROM generate_series(1, 20) i"),
    "inet": ("k inet", "(k)", "VALUES ('10.0.0.1'), ('10.0.0.0/8')"),
}


@pytest.fixture
def every_key(fresh_database: str) -> str:
    run_sql(fresh_database, "CREATE DOMAIN whole AS int")
    for number, (columns, key, rows) in enumerate(KEYS.values()):
        run_sql(
            fresh_database,
            f"CREATE TABLE t{number} ({columns}, PRIMARY KEY {key})",
            f"INSERT INTO t{number} {rows}",
        )
    return fresh_database


@pytest.mark.acceptance("1.11")
@pytest.mark.parametrize("count", [1_000, 1_001, 250_000])
def test_no_row_is_lost_where_a_thousand_used_to_be_the_end(fresh_database: str, count: int) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE t (id bigint PRIMARY KEY, amount int)",
        f"INSERT INTO t SELECT n, n % 7 FROM generate_series(1, {count}) n",
    )
    with snapshot_of(fresh_database, first_page_rows=1_000, max_page_rows=1_000) as snapshot:
        pages = [page.rows for page in snapshot.read(replace(plan_for(snapshot, "t"), order=RowOrder.KEY))]
    assert max(page.num_rows for page in pages) <= 1_000
    rows = joined(pages)
    assert rows.column("id").to_pylist() == list(range(1, count + 1))


@pytest.mark.acceptance("1.11")
@pytest.mark.parametrize("page_rows", [1, 2, 3, 1000])
def test_pages_by_key_hold_every_row_once_in_order(every_key: str, page_rows: int) -> None:
    with snapshot_of(every_key, first_page_rows=page_rows, max_page_rows=page_rows) as snapshot:
        for number, name in enumerate(KEYS):
            plan = replace(plan_for(snapshot, f"t{number}"), order=RowOrder.KEY)
            pages = [page.rows for page in snapshot.read(plan)]
            order_by = ", ".join(f't."{column}"' for column in plan.key)
            expected = run_sql(every_key, f"SELECT {_as_text(plan)} FROM t{number} t ORDER BY {order_by}")
            text = _all_text(plan)
            rows = joined([page.rows for page in snapshot.read(text)])
            assert list(zip(*rows.to_pydict().values(), strict=True)) == expected, name
            assert sum(page.num_rows for page in pages) == len(expected), name
            assert max(page.num_rows for page in pages) <= page_rows, name


def test_an_excluded_or_masked_key_still_leads_from_page_to_page(every_key: str) -> None:
    spec = {"exclude": {"a": "not needed"}, "mask": ["b"], "columns": {}}
    with snapshot_of(every_key, first_page_rows=3, max_page_rows=3) as snapshot:
        plan = plan_for(snapshot, "t0", spec)
        assert plan.order is RowOrder.CTID
        rows = read_table(snapshot, replace(plan, order=RowOrder.KEY))
    assert rows.to_pydict() == {"b": ["[ENCRYPTED]"] * 40}


@pytest.mark.parametrize("rows_first", [1, 50, 5000])
def test_pages_by_place_on_disk_hold_every_row_once_in_spite_of_dead_space(
    fresh_database: str, rows_first: int
) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE t (n int, filler text) WITH (autovacuum_enabled = off)",
        "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 4000) i",
        "DELETE FROM t WHERE n BETWEEN 500 AND 3000",
        "UPDATE t SET filler = 'moved' WHERE n % 7 = 0",
        "VACUUM t",
        "INSERT INTO t SELECT i, 'new' FROM generate_series(5000, 5100) i",
    )
    with snapshot_of(fresh_database, first_page_rows=rows_first, page_bytes=20_000) as snapshot:
        plan = plan_for(snapshot, "t")
        assert plan.order is RowOrder.CTID
        pages = list(snapshot.read(plan))
        rows = joined([page.rows for page in pages])
        assert len(pages) > 1
        assert all(page.rows.num_rows for page in pages)
        assert rows.num_rows == snapshot.count(plan)
    assert sorted(rows["n"].to_pylist()) == [n for (n,) in run_sql(fresh_database, "SELECT n FROM t ORDER BY n")]


def test_the_same_data_gives_the_same_pages(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE t (id bigint PRIMARY KEY, x text)",
        "INSERT INTO t SELECT i, repeat('x', i % 300) FROM generate_series(1, 20000) i",
    )
    with snapshot_of(fresh_database, page_bytes=200_000) as one, snapshot_of(fresh_database, page_bytes=200_000) as two:
        first, again = ([page.rows for page in s.read(plan_for(s, "t"))] for s in (one, two))
    assert [page.num_rows for page in first] == [page.num_rows for page in again]
    assert all(a.equals(b) for a, b in zip(first, again, strict=True))
    assert first[0].num_rows <= 2000
    assert sum(page.num_rows for page in first) == 20_000
    assert len(first) > 5


def test_large_rows_come_in_pages_of_bounded_size(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE t (id int PRIMARY KEY, x text)",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 30000) FROM generate_series(1, 40) i",
    )
    with snapshot_of(fresh_database, page_bytes=4_000_000) as snapshot:
        pages = list(snapshot.read(plan_for(snapshot, "t")))
    assert sum(page.rows.num_rows for page in pages) == 40
    assert max(page.rows.nbytes for page in pages) < 8_000_000


def test_a_view_whose_declared_key_repeats_and_is_null_loses_nothing(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE VIEW v AS SELECT CASE WHEN i % 5 > 0 THEN i / 10 END AS k, i FROM generate_series(1, 100) i",
    )
    with snapshot_of(fresh_database, first_page_rows=2, max_page_rows=2) as snapshot:
        plan = plan_for(snapshot, "v", {"key": ["k"]})
        assert (plan.order, plan.key_enforced) == (RowOrder.SCAN, False)
        assert sorted(read_table(snapshot, plan)["i"].to_pylist()) == list(range(1, 101))
        assert snapshot.duplicate_keys(plan) == 11


def test_empty_tables_give_no_page(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE keyed (id int PRIMARY KEY)",
        "CREATE TABLE bare (x int)",
        "CREATE VIEW seen AS SELECT * FROM bare",
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    )
    with snapshot_of(fresh_database) as snapshot:
        for name in ("keyed", "bare", "seen", "parted"):
            plan = plan_for(snapshot, name)
            assert list(snapshot.read(plan)) == []
            assert snapshot.count(plan) == 0


def test_odd_names_are_read(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        'CREATE SCHEMA "Sch""ema x"',
        'CREATE TABLE "Sch""ema x"."select ""ä%s{}" ("ORDER" int PRIMARY KEY, "a ""b"" {x} %s" text, "বাংলা" uuid)',
        """INSERT INTO "Sch""ema x"."select ""ä%s{}" VALUES (1, 'x', NULL), (2, '{x}', gen_random_uuid())""",
    )
    with snapshot_of(fresh_database, first_page_rows=1, max_page_rows=1) as snapshot:
        plan = plan_for(snapshot, 'select "ä%s{}', schema='Sch"ema x')
        rows = read_table(snapshot, plan)
    assert rows.schema.names == ["ORDER", 'a "b" {x} %s', "বাংলা"]
    assert rows['a "b" {x} %s'].to_pylist() == ["x", "{x}"]


def test_a_parent_table_gives_its_own_rows_and_a_partitioned_one_all(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1), (2)",
        "CREATE TABLE parted (id int, x text, PRIMARY KEY (id)) PARTITION BY HASH (id)",
        "CREATE TABLE p0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE p1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO parted SELECT i, 'x' FROM generate_series(1, 50) i",
    )
    with snapshot_of(fresh_database, first_page_rows=3, max_page_rows=3) as snapshot:
        assert read_table(snapshot, plan_for(snapshot, "parent"))["id"].to_pylist() == [1]
        assert sorted(read_table(snapshot, plan_for(snapshot, "child"))["id"].to_pylist()) == [1, 2]
        assert read_table(snapshot, plan_for(snapshot, "parted"))["id"].to_pylist() == list(range(1, 51))


def test_a_table_of_sixteen_hundred_columns_is_read(fresh_database: str) -> None:
    columns = ", ".join(f"c{n} bool" for n in range(1599))
    run_sql(
        fresh_database,
        f"CREATE TABLE wide (id int PRIMARY KEY, {columns})",
        "INSERT INTO wide (id, c1598) SELECT i, true FROM generate_series(1, 5) i",
    )
    with snapshot_of(fresh_database, first_page_rows=2, max_page_rows=2) as snapshot:
        rows = read_table(snapshot, plan_for(snapshot, "wide"))
    assert rows.num_columns == 1600
    assert rows["c1598"].to_pylist() == [True] * 5


def test_look_ups_follow_chains_and_join_what_points_back(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE areas (id int PRIMARY KEY, name text, opened date)",
        "CREATE TABLE customers (id int PRIMARY KEY, area_id int REFERENCES areas)",
        "CREATE TABLE logins (customer_id int REFERENCES customers, username text)",
        "CREATE TABLE bills (id int PRIMARY KEY, customer_id int REFERENCES customers)",
        "INSERT INTO areas VALUES (1, 'Dhaka', '2020-01-01'), (2, NULL, 'infinity')",
        "INSERT INTO customers VALUES (1, 1), (2, 2), (3, NULL)",
        "INSERT INTO logins VALUES (1, 'b'), (1, 'a'), (1, NULL), (2, 'z')",
        "INSERT INTO bills VALUES (1, 1), (2, 2), (3, 3), (4, NULL)",
    )
    sheet = {"Bill": "id", "Area": "customer_id.area_id.name", "Opened": "customer_id.area_id.opened"}
    back = {"Customer": "id", "Logins": "logins[customer_id].username"}
    with snapshot_of(fresh_database, first_page_rows=1, max_page_rows=1) as snapshot:
        bills = plan_for(snapshot, "bills", {"columns": sheet})
        area, opened = (column.field for column in bills.look_ups)
        rows = read_table(snapshot, bills.as_text(opened, "infinity"))
        customers = plan_for(snapshot, "customers", {"columns": back})
        logins = read_table(snapshot, customers)[customers.look_ups[0].field]
    assert rows.schema.names == ["id", "customer_id", area, opened]
    assert rows[area].to_pylist() == ["Dhaka", None, None, None]
    assert rows[opened].to_pylist() == ["2020-01-01", "infinity", None, None]
    assert logins.to_pylist() == ["a; b", "z", None]


def test_a_masked_value_never_leaves_the_server(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE TABLE t (id int PRIMARY KEY, pin int, pair pair)",
        "INSERT INTO t VALUES (1, 1234, ROW(NULL, 1)), (2, NULL, NULL)",
    )
    with snapshot_of(fresh_database) as snapshot:
        rows = read_table(snapshot, plan_for(snapshot, "t", {"mask": ["pin", "pair"]}))
    assert rows["pin"].to_pylist() == ["[ENCRYPTED]", None]
    assert rows["pair"].to_pylist() == ["[ENCRYPTED]", None]


def _all_text(plan: TablePlan) -> TablePlan:
    for column in plan.columns:
        plan = plan.as_text(column.name, "")
    return plan


def _as_text(plan: TablePlan) -> str:
    return ", ".join(
        f'rpad("{c.name}"::text, 4)' if c.column.base_type == "bpchar" else f'"{c.name}"::text' for c in plan.columns
    )


def test_a_query_by_key_is_for_many_pages(fresh_database: str) -> None:
    """Each query costs a round trip, in which the server waits for us."""
    run_sql(
        fresh_database,
        "CREATE TABLE t (id int PRIMARY KEY, x text)",
        "INSERT INTO t SELECT i, repeat('x', 90) FROM generate_series(1, 5000) i",
    )
    size = PageSize(page_bytes=10_000, first_rows=50, most_rows=1_000_000)
    with snapshot_of(fresh_database, page_bytes=10_000, first_page_rows=50) as snapshot:
        plan = plan_for(snapshot, "t")
        pages = [page.rows for page in snapshot.read(plan)]
        assert joined(pages)["id"].to_pylist() == list(range(1, 5001))
    assert max(page.nbytes for page in pages) < 20_000
    walk, queries = KeyWalk(plan, size, size.first_rows), 0
    left = 5000
    while (stretch := walk.next()) is not None:
        queries += 1
        rows = min(stretch.limit or 0, left)
        walk.took(rows, rows * 98, (str(5000 - left + rows),))
        left -= rows
        walk.finished()
    assert left == 0
    assert (len(pages) > 40, queries < 8) == (True, True)


def a_long_stream(connection: psycopg.Connection[Any], pauses: str = "") -> CopyStream:
    sql = f"SELECT i, repeat('x', 100){pauses} FROM generate_series(1, 30000) i"
    text = CopyForm(Storage.VARYING, pa.string(), frozenset())
    return CopyStream(connection, sql, [CopyForm(Storage.INT32, pa.int32(), frozenset()), text], 100_000)


def test_a_long_stream_is_waited_for_in_large_pieces_and_nothing_after_it_is(fresh_database: str) -> None:
    """Of 3 MB the first is waited for as it comes; the rest comes in few pieces, and its end at once."""
    pause = " || CASE WHEN i % 8000 = 0 THEN pg_sleep(0.02)::text ELSE '' END"
    with psycopg.connect(fresh_database) as connection:
        batches = list(a_long_stream(connection, pause))
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert [n for batch in batches for n in batch.column(0).to_pylist()] == list(range(1, 30_001))
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_ends_in_the_midst_of_a_long_stream_is_a_lost_one(fresh_database: str) -> None:
    pause = " || CASE WHEN i = 20000 THEN pg_sleep(30)::text ELSE '' END"
    with psycopg.connect(fresh_database, autocommit=True) as killer, psycopg.connect(fresh_database) as connection:
        stream = iter(a_long_stream(connection, pause))
        while next(stream).column(0)[0].as_py() < 18_000:
            continue
        killer.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError) as caught:
            list(stream)
        assert connection_lost(caught.value)
