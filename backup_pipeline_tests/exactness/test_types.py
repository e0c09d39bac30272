"""Every value of every type comes back from an export as it was: alone, in arrays, in composites, in domains."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.exactness.exporting import Export, Exporter, public
from backup_pipeline_tests.exactness.kinds import GROUPS, NATIVE, OUR_OWN_SQL, XML
from backup_pipeline_tests.exactness.literals import Kind
from backup_pipeline_tests.exactness.loading import BYTES, TEXT, assert_round_trip, session
from backup_pipeline_tests.servers.postgres import temporary_database

# A value alone, in arrays (with NULL; of two dimensions and odd bounds), in a composite, in a domain, in all at once.
_CREATE = """
CREATE DOMAIN "домен {n}" AS {type};
CREATE TYPE "состав {n}" AS (v {type}, "a b" {type}[], n int);
CREATE TABLE t{n} (
    id int PRIMARY KEY, v {type}, a {type}[], b {type}[], c "состав {n}", d "домен {n}", e "состав {n}"[]);
"""
_INSERT = """
INSERT INTO t{n}
SELECT i, v, ARRAY[v, NULL, v], array_fill(v, ARRAY[1, 2], ARRAY[-3, 5]),
       ROW(v, ARRAY[v], NULL)::"состав {n}", v, ARRAY[NULL, ROW(v, ARRAY[NULL, v], i)::"состав {n}"]
FROM (SELECT i::int, x::{type} AS v FROM unnest(%s::text[]) WITH ORDINALITY AS u (x, i)) AS drawn"""
Drawn = Sequence[Sequence[str | None]]


@pytest.fixture(scope="module")
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        with session(url) as connection:
            connection.execute(OUR_OWN_SQL)
        yield url


def fill(url: str, kinds: Sequence[Kind], values: Drawn) -> None:
    """Make a table for each type, and put its values in."""
    with session(url) as connection:
        connection.execute("SET client_min_messages = warning")
        for n, (kind, literals) in enumerate(zip(kinds, values, strict=True)):
            connection.execute(f'DROP TABLE IF EXISTS loaded.t{n}, t{n}; DROP TYPE IF EXISTS "состав {n}", "домен {n}"')
            connection.execute(_CREATE.format(n=n, type=kind.sql))
            connection.execute(_INSERT.format(n=n, type=kind.sql.replace("%", "%%")), [list(literals)])


def assert_all_come_back(url: str, spool: Path, kinds: Sequence[Kind], values: Drawn, page_rows: int) -> Export:
    fill(url, kinds, values)
    export = Exporter(url, spool, page_rows=page_rows).export(public(f"t{n}" for n in range(len(kinds))))
    for n, kind in enumerate(kinds):
        assert_round_trip(url, export, f"t{n}", ("public", f"t{n}"), BYTES if kind.has_binary_form else TEXT)
    return export


@pytest.mark.parametrize("group", GROUPS)
def test_the_edges_of_every_type_come_back(database: str, tmp_path: Path, group: str) -> None:
    kinds = GROUPS[group]
    export = assert_all_come_back(database, tmp_path, kinds, [[None, *kind.edges, None] for kind in kinds], 1000)
    arrow = {kind.sql: export.parquet(f"t{n}").schema.field("v").type for n, kind in enumerate(kinds)}
    if group == "native":
        exact = {"text", "varchar(20)", "char(5)", "name"}
        assert {sql for sql, kind in arrow.items() if pa.types.is_string(kind)} == exact
    if group == "unfit":
        assert set(arrow.values()) == {pa.string()}
        assert all("it holds" in " ".join(export.entry(f"t{n}").notes) for n in range(len(kinds)))


@pytest.mark.parametrize("group", GROUPS)
def test_whatever_hypothesis_thinks_of_comes_back(database: str, tmp_path: Path, group: str) -> None:
    kinds = GROUPS[group]
    values = st.tuples(*(st.lists(st.none() | kind.any, max_size=15) for kind in kinds))

    # Not shrunk: each try is an export, and the failure names the rows that differ.
    @settings(
        max_examples=3,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(values, st.integers(1, 40))
    def come_back(drawn: Drawn, page_rows: int) -> None:
        assert_all_come_back(database, tmp_path, kinds, drawn, page_rows)

    come_back()


def test_two_readers_see_the_same_native_values(database: str, tmp_path: Path) -> None:
    export = assert_all_come_back(database, tmp_path, NATIVE, [[None, *kind.edges] for kind in NATIVE], 1000)
    for n, kind in enumerate(NATIVE):
        (data,) = export.files(f"t{n}", "parquet")
        path = tmp_path / f"t{n}.parquet"
        path.write_bytes(data)
        with duckdb.connect() as other:
            other.execute("SET TimeZone = 'UTC'")
            found = other.sql(f"SELECT * FROM '{path}'").to_arrow_table()
        first = pa.parquet.read_table(io.BytesIO(data))
        assert found.schema.names == first.schema.names
        for name in first.schema.names:
            assert _exactly(found[name]) == _exactly(first[name]), (kind.sql, name)


def test_xml_comes_back(database: str, tmp_path: Path) -> None:
    with session(database) as connection:
        try:
            connection.execute("SELECT '<a/>'::xml")
        except Exception as error:  # noqa: BLE001  whatever it says, without libxml there is nothing to test
            pytest.skip(f"this server has no xml: {error}")
    assert_all_come_back(database, tmp_path, [XML], [[None, *XML.edges]], 2)


def test_null_is_not_the_empty_string_nor_json_null(database: str, tmp_path: Path) -> None:
    with session(database) as connection:
        connection.execute("DROP TABLE IF EXISTS nulls")
        connection.execute(
            "CREATE TABLE nulls (id int PRIMARY KEY, t text, j json, b jsonb, x bytea, r text[], q tsvector)"
        )
        connection.execute("INSERT INTO nulls VALUES (1, '', 'null', 'null', '', '{}', '')")
        connection.execute("INSERT INTO nulls VALUES (2)")
    export = Exporter(database, tmp_path).export(public(["nulls"]))
    assert_round_trip(database, export, "nulls", ("public", "nulls"))
    rows = export.parquet("nulls").to_pylist()
    assert list(rows[0].values()) == [1, "", "null", "null", b"", "{}", ""]
    assert list(rows[1].values()) == [2, *[None] * 6]


def test_the_comparison_itself_tells_what_looks_alike(database: str) -> None:
    pairs = [
        ("'-0.0'::float8", "'0.0'::float8"),
        ("1.5::numeric", "1.50::numeric"),
        ("'{\"a\":1}'::json", "'{\"a\": 1}'::json"),
        ("''::text", "NULL::text"),
        ("'null'::jsonb", "NULL::jsonb"),
        ("'{1,2}'::int[]", "'[0:1]={1,2}'::int[]"),
        ('ROW(NULL, NULL)::"пара"', 'NULL::"пара"'),
        ("'24:00'::interval", "'1 day'::interval"),
        ("'x'::char(5)::text", "'x'::char(5)"),
    ]
    with session(database) as connection:
        for one, other in pairs:
            same = connection.execute(f"SELECT record_send(ROW({one})) = record_send(ROW({other}))").fetchone()
            assert same == (False,), (one, other)


@pytest.mark.parametrize("megabytes", [1, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_large_values_come_back(fresh_database: str, tmp_path: Path, megabytes: int) -> None:
    with session(fresh_database) as connection:
        connection.execute("CREATE TABLE large (id int PRIMARY KEY, t text, b bytea)")
        # Text of four bytes a letter, and bytes of every value.
        connection.execute(
            "INSERT INTO large SELECT i, repeat('😀' || i, 209715), decode(repeat(md5(i::text), %s), 'hex')"
            " FROM generate_series(1, 3) i",
            [megabytes * 65_536],
        )
    export = Exporter(fresh_database, tmp_path, options={"page_bytes": 1 << 20}).export(public(["large"]))
    assert_round_trip(fresh_database, export, "large", ("public", "large"), "md5({row}.t) || md5({row}.b)")
    assert len(export.parquet("large")["b"][2].as_py()) == megabytes << 20


def _exactly(column: pa.ChunkedArray) -> list[object]:
    """Values that compare as their bits: floats as integers, UUIDs as text, whichever way a reader gives them."""
    if pa.types.is_floating(column.type):
        kind = np.int32 if pa.types.is_float32(column.type) else np.int64
        return [
            None if value is None else int(np.array(value, column.type.to_pandas_dtype()).view(kind))
            for value in column.to_pylist()
        ]
    if isinstance(column.type, pa.UuidType) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return [None if value is None else str(value) for value in column.to_pylist()]
    return list(column.to_pylist())
