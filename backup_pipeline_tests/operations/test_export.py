"""What a backup does not hold is said by the check, the backup, its manifest, the plan of a restore, and the doctor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from backup_pipeline.core.catalog.draft import draft_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.doctor import Line, LineState
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest.entry import NotHeld
from backup_pipeline.core.restore import Mode, RemarkSeverity
from backup_pipeline.operations.doctor import check_catalog
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.doctor import checks_of
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.postgres.reading import run_sql
from backup_pipeline_tests.restore.bench import back_up_catalog, run

LARGE = """
CREATE TABLE documents (id serial PRIMARY KEY, title text, content oid);
INSERT INTO documents (title, content) VALUES ('contract', lo_from_bytea(0, 'text'::bytea));
"""
INHERITED = """
CREATE TABLE readings (id int, at date, v int);
CREATE SCHEMA _ts; CREATE TABLE _ts.chunk_1 () INHERITS (readings); CREATE TABLE _ts.chunk_2 () INHERITS (_ts.chunk_1);
INSERT INTO _ts.chunk_1 SELECT i, '2026-03-05', i FROM generate_series(1, 5) i;
INSERT INTO _ts.chunk_2 SELECT i, '2026-03-06', i FROM generate_series(1, 7) i;
"""


def catalog(tables: Iterable[str], *excluded: str, **specs: Any) -> Catalog:
    """A catalog of these tables; what is `excluded` is so with a reason."""
    return Catalog.model_validate(
        {
            "catalog": "shop",
            "timezone": "UTC",
            "tables": {name: {} for name in tables} | specs,
            "excluded": [{"table": name, "reason": "it is known"} for name in excluded],
        }
    )


def found_by_check(url: str, shop: Catalog) -> tuple[NotHeld, ...]:
    return check_catalog(shop, PostgresSource(url)).not_held


def doctor(url: str, shop: Catalog) -> list[Line]:
    settings = Settings(source_url=url)
    check = next(
        one for one in checks_of(settings, [shop], send=False, actor=TESTER, dagster=list) if "source" in one.topic
    )
    return list(check.look())


@pytest.mark.parametrize(
    ("made", "tables", "about", "what"),
    [
        (LARGE, ["documents"], "large objects", "1 large objects ("),
        (LARGE, ["documents"], "large objects", "Columns that may point to them: documents.content."),
        (INHERITED, ["readings"], "public.readings", "12 rows are not in the backup: _ts.chunk_1, _ts.chunk_2."),
    ],
    ids=["large objects", "their columns", "inheritance"],
)
def test_five_doors_say_it(
    fresh_database: str, tmp_path: Path, made: str, tables: list[str], about: str, what: str
) -> None:
    run(fresh_database, made)
    shop = catalog(tables, "_ts.*")
    [found] = found_by_check(fresh_database, shop)
    assert (found.about, found.warns) == (about, True)
    assert what in found.message
    assert found.do

    bench = back_up_catalog(fresh_database, tmp_path, shop)
    assert bench.attempt.status is Status.SUCCESS_WITH_WARNINGS
    assert found.message in bench.attempt.warnings
    manifest = bench.place.manifest
    assert [(one.message, one.severity) for one in manifest.not_held] == [(found.message, "warning")]

    plan = bench.plan(fresh_database, Mode.INSERT_MISSING)
    [remark] = [one for one in plan.remarks if found.message in one.message]
    assert (remark.severity, remark.do) == (RemarkSeverity.WARNING, found.do)

    assert (LineState.WARNING, found.message) in [(line.state, line.what) for line in doctor(fresh_database, shop)]


def test_a_decision_about_it_keeps_backups_from_warning(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, LARGE + INHERITED)
    names = ("pg_catalog.pg_largeobject", "_ts.chunk_1", "_ts.chunk_2")
    shop = catalog(["documents", "readings"], *names)
    [found] = found_by_check(fresh_database, shop)
    assert (found.about, found.warns) == ("large objects", False)
    assert found.message.endswith("The catalog says: it is known.")
    bench = back_up_catalog(fresh_database, tmp_path, shop)
    assert bench.attempt.status is Status.SUCCESS
    assert [one.severity for one in bench.place.manifest.not_held] == ["info"]


def test_a_pattern_is_no_decision_about_rows_of_a_listed_table(fresh_database: str) -> None:
    run(fresh_database, INHERITED + "CREATE TABLE _ts.chunk_3 () INHERITS (readings)")
    [found] = found_by_check(fresh_database, catalog(["readings"], "_ts.chunk_*", "_ts.chunk_2"))
    assert "5 rows are not in the backup: _ts.chunk_1, _ts.chunk_3." in found.message
    listed = catalog(["readings"], one={"relation": "_ts.chunk_1"}, two={"relation": "_ts.chunk_2"})
    [found] = found_by_check(fresh_database, listed)
    assert "0 rows are not in the backup: _ts.chunk_3." in found.message


def test_a_view_that_covers_the_children_holds_their_rows(fresh_database: str) -> None:
    run(fresh_database, INHERITED + "CREATE VIEW everything AS SELECT * FROM readings")
    shop = catalog([], everything={"covers": ["readings", "_ts.chunk_1", "_ts.chunk_2"]})
    report = check_catalog(shop, PostgresSource(fresh_database))
    assert (report.fits, report.unlisted, report.not_held) == (True, (), ())


def test_a_draft_lists_the_children(fresh_database: str) -> None:
    run(fresh_database, INHERITED)
    with PostgresSource(fresh_database).snapshot() as snapshot:
        shop = draft_catalog(snapshot.database()).catalog
    assert set(shop.tables) == {"readings", "_ts_chunk_1", "_ts_chunk_2"}
    assert found_by_check(fresh_database, shop) == ()


def test_a_sequence_that_may_not_be_read_is_a_warning_and_no_failure(fresh_database: str, tmp_path: Path) -> None:
    role = "reader_of_sequences"
    run_sql(
        fresh_database,
        "CREATE TABLE t (id serial PRIMARY KEY); CREATE SEQUENCE tickets; CREATE SEQUENCE open",
        f"DROP ROLE IF EXISTS {role}",
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT SELECT ON t, open TO {role}",
    )
    parts = urlsplit(fresh_database)
    try:
        bench = back_up_catalog(
            f"postgresql://{role}:x@{parts.hostname}:{parts.port}{parts.path}", tmp_path, catalog(["t"])
        )
    finally:
        run_sql(fresh_database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert bench.attempt.status is Status.SUCCESS_WITH_WARNINGS
    [found] = bench.place.manifest.not_held
    assert found.about == "public.tickets"
    assert found.do == "GRANT SELECT ON SEQUENCE public.tickets TO the backup role."
    assert [(one.sequence[1], one.last_value) for one in bench.place.manifest.sequences] == [
        ("open", 1),
        ("tickets", None),
    ]


@pytest.mark.parametrize("kind", ["view", "materialized view", "foreign table"])
def test_a_table_that_became_something_else_is_refused(fresh_database: str, tmp_path: Path, kind: str) -> None:
    run(fresh_database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    back_up_catalog(fresh_database, tmp_path / "before", catalog(["t"]))
    become = {
        "view": "CREATE VIEW t AS SELECT id FROM kept",
        "materialized view": "CREATE MATERIALIZED VIEW t AS SELECT id FROM kept",
        "foreign table": "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER s FOREIGN DATA WRAPPER none;"
        "CREATE FOREIGN TABLE t (id int) SERVER s",
    }
    run(fresh_database, f"ALTER TABLE t RENAME TO kept; {become[kind]}")
    report = check_catalog(catalog(["t"], "kept"), PostgresSource(fresh_database))
    assert not report.fits
    assert f"reads public.t, which is a {kind}, not a table" in report.failed["t"].what
    assert f"say `kind: {kind}`" in report.failed["t"].do
    with pytest.raises(CatalogError, match=f"which is a {kind}"):
        back_up_catalog(fresh_database, tmp_path / "after", catalog(["t"], "kept"))
    assert check_catalog(catalog([], "kept", t={"kind": kind}), PostgresSource(fresh_database)).fits


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ("GRANT SELECT (id) ON t TO {role}", "may not read b, c"),
        ("GRANT SELECT ON t TO {role}; ALTER TABLE t ENABLE ROW LEVEL SECURITY", "row-level security"),
        (
            "CREATE MATERIALIZED VIEW m AS SELECT 1 AS id WITH NO DATA; GRANT SELECT ON m, t TO {role}",
            "not been populated",
        ),
    ],
)
def test_what_could_only_fail_is_found_by_the_check(fresh_database: str, made: str, what: str) -> None:
    role = "reader_of_a_part"
    run_sql(fresh_database, f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    run_sql(fresh_database, "CREATE TABLE t (id int PRIMARY KEY, b int, c int)", *made.format(role=role).split(";"))
    tables = {"t": {}, "m": {"kind": "materialized view"}} if " m " in made else {"t": {}}
    parts = urlsplit(fresh_database)
    try:
        source = PostgresSource(f"postgresql://{role}:x@{parts.hostname}:{parts.port}{parts.path}")
        report = check_catalog(catalog([], **tables), source)
    finally:
        run_sql(fresh_database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    [error] = report.failed.values()
    assert what in error.what


def test_a_partition_that_is_being_detached_is_a_table_that_nobody_decided_about(fresh_database: str) -> None:
    run(
        fresh_database,
        "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
    )
    assert check_catalog(catalog(["p"]), PostgresSource(fresh_database)).unlisted == ()
    run(fresh_database, "UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'p1'::regclass")
    report = check_catalog(catalog(["p"]), PostgresSource(fresh_database))
    run(fresh_database, "UPDATE pg_inherits SET inhdetachpending = false")
    assert report.unlisted == ("public.p1",)


def test_rows_on_other_servers_are_told(fresh_database: str) -> None:
    run(
        fresh_database,
        "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER s FOREIGN DATA WRAPPER none;"
        "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE alone (id int) SERVER s;"
        "CREATE FOREIGN TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) SERVER s",
    )
    found = found_by_check(fresh_database, catalog(["p"]))
    assert [(one.about, one.warns) for one in found] == [("foreign tables", False)] * 2
    assert found[0].message == "Their rows come from other servers, not from the snapshot of this one: public.p1."
    assert found[1].message == "Foreign tables are not in the backup, their rows lie on other servers: public.alone."
