"""Extensions in schemas of their own, and tables that belong to an extension, come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.restore import Mode
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.drill.rehearsing import backed_up
from backup_pipeline_tests.restore.bench import back_up, back_up_catalog, one, refusals, rows, run
from backup_pipeline_tests.servers.debian import need_extension
from backup_pipeline_tests.servers.postgres import temporary_database

PARTMAN = """
CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
CREATE TABLE shops (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text); INSERT INTO shops (name) VALUES ('x');
CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT partman.create_parent('public.events', 'at', 'native', 'daily');
INSERT INTO events VALUES (1, now());
"""
CONTRIB = """
CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions; CREATE EXTENSION hstore SCHEMA extensions;
CREATE EXTENSION ltree; CREATE SCHEMA app;
CREATE TABLE app.people (id int PRIMARY KEY, mail extensions.citext UNIQUE, more extensions.hstore, path ltree);
CREATE INDEX ON app.people USING gist (path); CREATE TABLE app.plain (id int PRIMARY KEY);
INSERT INTO app.people VALUES (1, 'A@b.example', 'a=>1', 'x.y'); INSERT INTO app.plain VALUES (1);
"""


def listed(tables: dict[str, dict[str, str]]) -> Catalog:
    """A catalog of these tables and no other."""
    rest = [{"table": "*", "reason": "not needed"}]
    return Catalog.model_validate({"catalog": "shop", "timezone": "UTC", "tables": tables, "excluded": rest})


@pytest.fixture
def other_database(system_postgres: EmbeddedPostgres) -> Iterator[str]:
    """Another empty database of the system's server."""
    with temporary_database(system_postgres) as url:
        yield url


def test_tables_of_an_extension_are_the_extension_s(system_database: str, other_database: str, tmp_path: Path) -> None:
    need_extension("pg_partman")
    run(system_database, PARTMAN)
    bench = back_up(system_database, tmp_path)
    manifest = bench.place.manifest
    excluded = {entry.table: entry.reason for entry in manifest.excluded}
    assert "belongs to extension pg_partman, which makes it" in excluded["partman.part_config"]
    assert not [table for table in manifest.tables if table.relation_id in {("partman", "part_config")}]
    [told] = [entry for entry in manifest.not_held if entry.about == "partman.part_config"]
    assert "1 rows of it may be settings of yours" in told.message
    plan = bench.plan(other_database, Mode.NEW)
    assert not plan.refused
    bench.restore(other_database, Mode.NEW)
    assert one(other_database, "SELECT count(*) FROM events") == 1
    assert (
        one(other_database, "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_partman'")
        == "partman"
    )


def test_settings_of_an_extension_that_are_listed_come_back(
    system_database: str, other_database: str, tmp_path: Path
) -> None:
    need_extension("pg_partman")
    run(system_database, PARTMAN)
    tables = {"shops": {}, "events": {}, "part_config": {"relation": "partman.part_config"}}
    shop = listed(tables)
    bench = back_up_catalog(system_database, tmp_path, shop)
    config = "SELECT parent_table, partition_interval, premake FROM partman.part_config"
    assert not bench.plan(other_database, Mode.NEW).refused
    bench.restore(other_database, Mode.NEW)
    assert rows(other_database, config) == rows(system_database, config)
    run(other_database, "SELECT partman.run_maintenance()")
    again = bench.plan(other_database, Mode.NEW, "part_config")
    assert "belongs to extension pg_partman, which is there, and has rows already" in refusals(again)
    bench.restore(other_database, Mode.REPLACE, "part_config")


def test_a_drill_of_them_passes(system_database: str, tmp_path: Path) -> None:
    need_extension("pg_partman")
    run(system_database, PARTMAN)
    tables = {"shops": {}, "events": {}, "part_config": {"relation": "partman.part_config"}}
    assert backed_up(system_database, tmp_path, listed(tables)).drill().findings == ()


def test_the_settings_alone(system_database: str, other_database: str, tmp_path: Path) -> None:
    need_extension("pg_partman")
    run(system_database, PARTMAN)
    tables = {"shops": {}, "part_config": {"relation": "partman.part_config"}}
    shop = listed(tables)
    bench = back_up_catalog(system_database, tmp_path, shop)
    bench.restore(other_database, Mode.NEW, "part_config")
    assert one(other_database, "SELECT count(*) FROM partman.part_config") == 1


def test_extensions_in_schemas_of_their_own(system_database: str, other_database: str, tmp_path: Path) -> None:
    need_extension("ltree")
    run(system_database, CONTRIB)
    bench = back_up(system_database, tmp_path)
    bench.restore(other_database, Mode.NEW)
    people = "SELECT id, mail::text, more::text, path::text FROM app.people"
    assert rows(other_database, people) == rows(system_database, people)


@pytest.mark.parametrize("tables", [["app_people"], ["app_plain"]])
def test_one_table_with_the_extensions_it_needs(
    system_database: str, other_database: str, tmp_path: Path, tables: list[str]
) -> None:
    need_extension("ltree")
    run(system_database, CONTRIB)
    bench = back_up(system_database, tmp_path)
    [table] = [
        entry.name for entry in bench.place.manifest.tables if entry.name in {*tables, tables[0].removeprefix("app_")}
    ]
    plan = bench.plan(other_database, Mode.NEW, table)
    assert not plan.refused
    bench.restore(other_database, Mode.NEW, table)
    made = {name for (name,) in rows(other_database, "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'")}
    assert made == ({"citext", "hstore", "ltree"} if "people" in table else set())


def test_an_extension_elsewhere_or_nowhere_is_found_in_the_plan(
    system_database: str, other_database: str, empty_database: str, tmp_path: Path
) -> None:
    need_extension("ltree")
    run(system_database, CONTRIB)
    bench = back_up(system_database, tmp_path)
    names = {entry.name for entry in bench.place.manifest.tables}
    lacking = "extensions that the target's server has not got: citext, hstore, ltree"
    assert lacking in refusals(bench.plan(empty_database, Mode.NEW))  # of the other server
    run(other_database, "CREATE EXTENSION citext")
    for tables in ((), ("app_people",) if "app_people" in names else ("people",)):
        told = refusals(bench.plan(other_database, Mode.NEW, *tables))
        assert "Extension citext is in schema public of the target, and in extensions of the definitions." in told
        assert "ALTER EXTENSION citext SET SCHEMA extensions" in told
    assert not bench.plan(other_database, Mode.NEW, "app_plain" if "app_plain" in names else "plain").refused
