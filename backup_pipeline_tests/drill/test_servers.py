"""The server that a drill is done on: one of this machine that has what the backup's definitions want."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backup_pipeline.core.errors import BackupError, SettingsError
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.drill import drill
from backup_pipeline.postgres.programs import find_binaries, installations
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.drill import open_sandbox
from backup_pipeline_tests.drill.rehearsing import Rehearsing, backed_up, drafted, run, said
from backup_pipeline_tests.servers.debian import need_extension, system_binaries, system_server
from backup_pipeline_tests.servers.postgres import temporary_database

CONTRIB = """
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE SCHEMA search; CREATE EXTENSION pg_trgm SCHEMA search;
CREATE TABLE people (id serial PRIMARY KEY, email citext UNIQUE, facts hstore NOT NULL DEFAULT '', name text);
CREATE INDEX ON people USING gin (name search.gin_trgm_ops);
CREATE INDEX ON people USING gist (facts);
INSERT INTO people (email, facts, name) SELECT 'P' || n || '@x', hstore('n', n::text), 'name ' || n
FROM generate_series(1, 50) n;
"""


PARTMAN = """
CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman; CREATE EXTENSION pg_stat_statements;
CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
"""


@pytest.fixture(scope="module")
def contrib_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    home = tmp_path_factory.mktemp("contrib") / "home"
    with system_server(home) as server:
        yield server
    shutil.rmtree(home, ignore_errors=True)


def test_a_backup_with_contrib_extensions_is_drilled_on_the_system_s_server(
    contrib_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    for name in ("hstore", "citext", "pg_trgm"):
        need_extension(name)
    with temporary_database(contrib_server) as url:
        run(url, CONTRIB)
        people = backed_up(url, tmp_path, drafted(url))
        report = people.drill()
        assert report.findings == ()
        assert people.level() == (4, True)
        assert report.server_version.startswith(str(system_binaries().version))
        assert str(system_binaries().bindir) in report.server
        assert {trial.table: trial.not_tried for trial in report.inserts} == {"public.people": ""}


@pytest.mark.slow
def test_an_extension_that_only_a_superuser_makes_is_made_when_it_is_known(
    contrib_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    need_extension("pg_partman")
    with temporary_database(contrib_server) as url:
        run(url, PARTMAN)
        catalog = drafted(url)
        tables = {name: spec for name, spec in catalog.tables.items() if name == "t"}
        values = catalog.model_dump(by_alias=True, exclude={"tables", "excluded"})
        rest = [{"table": "*", "reason": "the extension's own"}]
        only = type(catalog).model_validate({**values, "tables": tables, "excluded": rest})
        report = backed_up(url, tmp_path, only).drill()
        assert report.findings == ()
        assert "pg_stat_statements is not made: no table is made of it" in said(report)


def test_where_no_server_fits_it_is_said_what_to_install(contrib_server: EmbeddedPostgres, tmp_path: Path) -> None:
    need_extension("hstore")
    with temporary_database(contrib_server) as url:
        run(url, "CREATE EXTENSION hstore; CREATE TABLE t (id int PRIMARY KEY, facts hstore)")
        backup = backed_up(url, tmp_path, drafted(url))
        wheel = Settings(work_dir=tmp_path / "work", drill_pg_bin=_wheel())
        with pytest.raises(BackupError, match=r"can drill this backup: PostgreSQL 18 in .* lacks hstore") as failed:
            _drill_with(backup, wheel)
        assert f"Debian: postgresql-{system_binaries().version})" in failed.value.do
        assert "BACKUP_DRILL_PG_BIN" in failed.value.do
        assert backup.left() == []


def _wheel() -> Path:
    return find_binaries().bindir


def _drill_with(backup: Rehearsing, settings: Settings) -> None:
    drill(backup.request(), backup.ports(), partial(open_sandbox, settings))


def test_a_folder_without_a_server_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=f"BACKUP_DRILL_PG_BIN names {tmp_path}, and there is no postgres"
    ) as caught:
        installations(tmp_path)
    assert "unset it" in caught.value.do
