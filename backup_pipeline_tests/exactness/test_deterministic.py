"""The same data gives the same bytes: whatever the pages, the workers, and where the rows lie on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline_tests.exactness.exporting import Exporter, public
from backup_pipeline_tests.exactness.loading import session

TABLES = ("wide", "composite", "parted", "moments")
_CREATE = """
CREATE TABLE wide (id bigint PRIMARY KEY, b bool, i int, f float8, n numeric(12,2), m numeric, t text, c char(3),
                   d date,
                   ts timestamptz, u uuid, x bytea, j jsonb, a int[], iv interval,
                   g int GENERATED ALWAYS AS (i + 1) STORED);
INSERT INTO wide
SELECT i, i % 3 = 0, i, i / 7.0, i / 100.0, i / 3.0,
       CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'আব্দুল ' || i END, 'c', date '2026-01-01' + i % 400,
       '2026-01-01+06'::timestamptz + i * interval '1.000001 s', md5(i::text)::uuid,
       decode(md5(i::text), 'hex'), jsonb_build_object('i', i), ARRAY[i, NULL], i * interval '1 min'
FROM generate_series(1, 3000) i ORDER BY md5(i::text);
CREATE TABLE composite (a int, b date, x text, PRIMARY KEY (a, b));
INSERT INTO composite
SELECT i % 7, date '2026-01-01' + i, 'x' || i FROM generate_series(1, 1500) i ORDER BY md5(i::text);
CREATE TABLE parted (id int PRIMARY KEY, x text) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT i, 'x' || i FROM generate_series(1, 1500) i ORDER BY md5(i::text);
CREATE TABLE moments (at timestamp, n int, x date, PRIMARY KEY (at, n));
INSERT INTO moments SELECT '2026-01-01'::timestamp + i / 5 * interval '1 s', i, CASE i WHEN 900 THEN date 'infinity' END
FROM generate_series(1, 1000) i ORDER BY md5(i::text);
CREATE INDEX wide_by_text ON wide (t);
"""
DISTURBANCES = {
    "nothing": "SELECT 1",
    "vacuum full": "VACUUM FULL",
    "cluster by another index": "CLUSTER wide USING wide_by_text; CLUSTER composite USING composite_pkey",
    "analyze": "ANALYZE",
    "every row moved": "UPDATE wide SET i = i; UPDATE composite SET x = x; UPDATE parted SET x = x;"
    " UPDATE moments SET x = x",
    "deleted and written again": "CREATE TEMP TABLE aside AS SELECT * FROM parted; DELETE FROM parted;"
    " INSERT INTO parted SELECT * FROM aside ORDER BY id DESC",
}
Files = dict[str, list[bytes]]


@pytest.fixture
def exporter(fresh_database: str, tmp_path: Path) -> Exporter:
    with session(fresh_database) as connection:
        connection.execute(_CREATE)
    return Exporter(fresh_database, tmp_path)


def files(exporter: Exporter, **other: Any) -> Files:
    export = replace(exporter, **other).export(public(TABLES))
    assert {export.entry(table).order for table in TABLES} == {"key"}
    return {table: export.files(table, "parquet") + export.files(table, "csv") for table in TABLES}


def test_bytes_do_not_depend_on_pages_and_workers(exporter: Exporter) -> None:
    first = files(exporter)
    assert [len(parts) for parts in first.values()] == [2, 2, 2, 2]
    assert files(exporter, page_rows=13, workers=1) == first
    assert files(exporter, options={"page_bytes": 3000}, workers=4) == first
    assert files(exporter, options={"first_page_rows": 1}, workers=3) == first


def test_bytes_do_not_depend_on_where_the_rows_lie(exporter: Exporter) -> None:
    first = files(exporter)
    for name, statements in DISTURBANCES.items():
        with session(exporter.url) as connection:
            for statement in statements.split(";"):
                connection.execute(statement)
        assert files(exporter) == first, name


def test_one_changed_value_changes_the_bytes(exporter: Exporter) -> None:
    first = files(exporter)
    with session(exporter.url) as connection:
        connection.execute("UPDATE wide SET n = n + 0.01 WHERE id = 1500")
    second = files(exporter)
    assert second["wide"][0] != first["wide"][0]
    assert second["wide"][1] != first["wide"][1]
    assert second["composite"] == first["composite"]


def test_tables_read_by_place_on_disk_are_the_same_too_as_long_as_nothing_moves(exporter: Exporter) -> None:
    with session(exporter.url) as connection:
        connection.execute("CREATE TABLE by_place AS SELECT u, t, n FROM wide")
    one, two = (exporter.export(public(["by_place"])) for _ in range(2))
    other = replace(exporter, page_rows=10, options={"page_bytes": 2000}).export(public(["by_place"]))
    for kind in ("parquet", "csv"):
        assert one.files("by_place", kind) == two.files("by_place", kind) == other.files("by_place", kind)
