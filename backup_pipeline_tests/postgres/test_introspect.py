"""What is read from the system catalog: columns down to their base types, keys that really hold, references, rights."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.plans import RowOrder
from backup_pipeline.core.relations import Column, ForeignKey, Relation, RelationKind
from backup_pipeline_tests.postgres.reading import plan_for, read_settled, run_sql, snapshot_of
from backup_pipeline_tests.servers.pagila import load_pagila, needs_pagila


def relation_of(url: str, name: str, schema: str = "public") -> Relation:
    with snapshot_of(url) as snapshot:
        found = snapshot.database().get((schema, name))
    assert found is not None
    return found


def test_columns_carry_their_type_down_to_the_base(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE DOMAIN amount AS numeric(12,2)",
        "CREATE DOMAIN fee AS amount NOT NULL",
        "CREATE TYPE mood AS ENUM ('fine')",
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, fee fee, neg numeric(3,-2), "
        "any_number numeric, mood mood, moods mood[], doubled int GENERATED ALWAYS AS (2) STORED)",
        "ALTER TABLE t DROP gone",
        "COMMENT ON TABLE t IS 'টেবিল'",
    )
    table = relation_of(fresh_database, "t")
    assert table.columns == (
        Column("id", "bigint", "int8", True, nullable=False, identity=True),
        Column("fee", "public.fee", "numeric", True, precision=12, scale=2),
        Column("neg", "numeric(3,-2)", "numeric", True, precision=3, scale=-2),
        Column("any_number", "numeric", "numeric", True),
        Column("mood", "public.mood", "mood", False, output="enum_out"),
        Column("moods", "public.mood[]", "_mood", False, output="array_out"),
        Column("doubled", "integer", "int4", True, generated=True),
    )
    assert (table.kind, table.primary_key, table.comment, table.readable) == (
        RelationKind.TABLE,
        ("id",),
        "টেবিল",
        True,
    )


def test_only_keys_that_hold_for_every_row_count(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE t (a int NOT NULL, b int NOT NULL, c int, d int NOT NULL, e int, UNIQUE (b, a))",
        "CREATE UNIQUE INDEX ON t (c)",
        "CREATE UNIQUE INDEX ON t (d) WHERE d > 0",
        "CREATE UNIQUE INDEX ON t ((a + 1))",
        "CREATE UNIQUE INDEX ON t (a) INCLUDE (c)",
        "ALTER TABLE t ADD UNIQUE (d) DEFERRABLE INITIALLY DEFERRED",
        "INSERT INTO t VALUES (1, 1, 1, 1, NULL)",
        "ALTER TABLE t ADD CONSTRAINT late NOT NULL e NOT VALID",
        "CREATE UNIQUE INDEX ON t (e)",
    )
    table = relation_of(fresh_database, "t")
    assert table.primary_key == ()
    assert table.unique_keys == (("a",), ("b", "a"))


def test_references_name_the_columns_on_both_sides(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE SCHEMA other",
        "CREATE TABLE other.target (x int, y text, PRIMARY KEY (y, x))",
        "CREATE TABLE t (b int, a text, FOREIGN KEY (a, b) REFERENCES other.target (y, x))",
    )
    assert relation_of(fresh_database, "t").foreign_keys == (ForeignKey(("a", "b"), ("other", "target"), ("y", "x")),)


def test_a_partitioned_table_is_the_sum_of_its_partitions(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id)",
        "CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (50)",
        "CREATE TABLE p12 PARTITION OF p1 FOR VALUES FROM (50) TO (100)",
        "INSERT INTO p SELECT generate_series(0, 99)",
        "ANALYZE",
    )
    whole, leaf = relation_of(fresh_database, "p"), relation_of(fresh_database, "p11")
    assert (whole.kind, whole.estimated_rows, whole.holds_rows) == (RelationKind.PARTITIONED, 100, True)
    assert whole.total_bytes == 2 * leaf.total_bytes > 0
    assert leaf.is_partition
    assert not leaf.holds_rows


def test_what_the_role_may_not_read_is_marked(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "DROP ROLE IF EXISTS reader_rights",
        "CREATE ROLE reader_rights LOGIN PASSWORD 'x'",
        "CREATE SCHEMA hidden",
        "CREATE TABLE hidden.a (x int)",
        "CREATE TABLE b (x int, y int)",
        "CREATE TABLE c (x int)",
        "GRANT SELECT ON hidden.a TO reader_rights",
        "GRANT SELECT (x) ON b TO reader_rights",
    )
    parts = urlsplit(fresh_database)
    try:
        with snapshot_of(f"postgresql://reader_rights:x@{parts.hostname}:{parts.port}{parts.path}") as snapshot:
            relations = snapshot.database().relations
    finally:
        run_sql(fresh_database, "DROP OWNED BY reader_rights", "DROP ROLE reader_rights")
    assert {name: relation.readable for (_, name), relation in relations.items()} == {"a": False, "b": True, "c": False}


def test_the_order_of_reading_follows_from_the_key(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TYPE mood AS ENUM ('fine')",
        "CREATE TABLE by_int (a int, b date, PRIMARY KEY (a, b))",
        "CREATE TABLE by_uuid (id uuid PRIMARY KEY)",
        "CREATE TABLE by_mood (id mood PRIMARY KEY)",
        "CREATE TABLE parted (id uuid PRIMARY KEY) PARTITION BY HASH (id)",
        "CREATE TABLE parted_mood (id mood PRIMARY KEY) PARTITION BY HASH (id)",
        "CREATE VIEW seen AS SELECT * FROM by_int",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM by_int",
    )
    with snapshot_of(fresh_database) as snapshot:
        orders = {name: plan_for(snapshot, name).order for _, name in snapshot.database().relations}
        backwards = plan_for(snapshot, "by_int", {"key": ["b", "a"]})
    assert orders == {
        "by_int": RowOrder.KEY,
        "by_uuid": RowOrder.CTID,
        "by_mood": RowOrder.CTID,
        "parted": RowOrder.KEY,
        "parted_mood": RowOrder.SCAN,
        "seen": RowOrder.SCAN,
        "kept": RowOrder.CTID,
    }
    assert (backwards.order, backwards.key_enforced) == (RowOrder.CTID, True)


@needs_pagila
def test_pagila_is_read_whole(fresh_database: str) -> None:
    load_pagila(fresh_database)
    with snapshot_of(fresh_database, first_page_rows=100, page_bytes=50_000) as snapshot:
        database = snapshot.database()
        assert len(database.relations) == 30
        for schema, name in database.relations:
            if name == "rental_by_category":
                with pytest.raises(CatalogError, match="has not been populated"):
                    plan_for(snapshot, name, schema=schema)
                continue
            plan = plan_for(
                snapshot, name, {"allow": {"password": "demo data"}} if name == "staff" else None, schema=schema
            )
            _, rows = read_settled(snapshot, plan)
            assert rows.num_rows == snapshot.count(plan), name
            assert snapshot.duplicate_keys(plan) == 0
        film = plan_for(snapshot, "film")
        assert {c.name: c.arrow_type for c in film.columns}["release_year"] == "int32"
        assert "CREATE TYPE public.mpaa_rating" in snapshot.schema_sql()
