"""Which pg_dump is used, and that what it writes can be loaded into the server it came from."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.core.doctor import Release
from backup_pipeline.core.errors import SettingsError, SourceError
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres import programs
from backup_pipeline.postgres.connection import parse_endpoint
from backup_pipeline.postgres.dump import loadable
from backup_pipeline.postgres.programs import choose_dump, find_binaries
from backup_pipeline_tests.postgres.reading import run_sql, snapshot_of
from backup_pipeline_tests.servers.debian import system_binaries
from backup_pipeline_tests.servers.postgres import temporary_database

PLAIN = parse_endpoint("postgresql://me@db/shop")
SCHEMA = """
CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text NOT NULL, c numeric(8,2) CHECK (c > 0));
ALTER TABLE a ALTER b SET (n_distinct = 5);
CREATE TABLE p (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW v AS SELECT * FROM a; CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM a;
CREATE DOMAIN d AS int CHECK (value > 3); CREATE TYPE e AS ENUM ('x'); CREATE TYPE pair AS (x d, y e);
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'SET transaction_timeout = 0;
SET transaction_timeout = 0;' $$;
CREATE STATISTICS st ON b, c FROM a; CREATE SEQUENCE s CYCLE"""


@pytest.mark.parametrize(
    ("server", "there", "chosen"),
    [
        ("15.20", ["15.20", "18.6", "16.14"], "15.20"),
        ("15.20", ["15.19", "18.6", "16.16"], "16.16"),
        ("15.20", ["15.19", "18.4"], "15.19"),
        ("18.4", ["15.20", "18.4"], "18.4"),
        ("18.4", ["18.3", "19.1"], "19.1"),
    ],
)
def test_the_pg_dump_that_is_as_recent_and_near_to_the_server_is_chosen(
    server: str, there: list[str], chosen: str
) -> None:
    made = [programs.Program(Path("/somewhere") / text, read(text)) for text in there]
    judged = [programs._Candidate(one, "" if one.release.reads(read(server)) else "older") for one in made]
    assert programs._best(judged, read(server)) == made[there.index(chosen)]


def read(text: str) -> Release:
    release = Release.read(text)
    assert release
    return release


def test_without_one_that_fits_the_reason_of_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="it is older than the server") as caught:
        choose_dump(Release(99, 1), PLAIN)
    assert "postgresql-client-99" in caught.value.do
    assert "BACKUP_PG_BIN" in caught.value.do
    monkeypatch.setattr(programs, "_candidates", lambda *_: [])
    with pytest.raises(SourceError, match="there is none on this machine"):
        choose_dump(Release(18, 4), PLAIN)


def test_a_folder_that_is_named_comes_first_and_is_told_where_it_does_not_fit(tmp_path: Path) -> None:
    wheel = find_binaries(version=16).bindir
    named = choose_dump(Release(15, 3), PLAIN, wheel)
    assert (named.program.path, named.passed_over) == ((wheel / "pg_dump").resolve(), "")
    other = choose_dump(Release(18, 4), PLAIN, wheel)
    assert other.program.release.major >= 18
    assert "16.14): it is older than the server" in other.passed_over
    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 18.4'\n")
    (tmp_path / "pg_dump").chmod(0o755)
    with pytest.raises(SettingsError, match="BACKUP_PG_BIN names"):
        choose_dump(Release(18, 4), PLAIN, tmp_path)


def test_without_our_libpq_the_wheels_takes_no_tls_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system whose loader can not be told to use another library."""
    monkeypatch.setattr(programs, "_SYSTEM", ())
    monkeypatch.setattr(programs, "library_file", lambda: None)
    programs._program.cache_clear()
    behind_tls = replace(PLAIN, parameters={**PLAIN.parameters, "sslmode": "require"})
    try:
        assert choose_dump(Release(18, 4), PLAIN).program.library is None
        with pytest.raises(SourceError, match="SSL support is not compiled in") as caught:
            choose_dump(Release(18, 4), behind_tls)
        assert "postgresql-client-18" in caught.value.do
    finally:
        programs._program.cache_clear()


@pytest.mark.parametrize("folder", ["system", 18, 16])
def test_what_each_pg_dump_writes_loads_into_the_server_it_came_from_and_says_the_same(
    system_postgres: EmbeddedPostgres, system_database: str, folder: str | int
) -> None:
    run_sql(system_database, SCHEMA)
    bindir = system_binaries().bindir if folder == "system" else find_binaries(version=int(folder)).bindir
    with snapshot_of(system_database, programs=bindir) as snapshot:
        sql = snapshot.schema_sql()
    assert "pg_attver" not in sql
    assert "SET (n_distinct=5)" in sql
    assert sql.count("SET transaction_timeout = 0;\n") == 1, "a function's body is left alone"
    psql = system_binaries().tool("psql") if folder == "system" else find_binaries(needs=("psql",)).tool("psql")
    with temporary_database(system_postgres) as url:
        command = [str(psql), "-v", "ON_ERROR_STOP=1", "-q", "-X", "-d", url]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        with snapshot_of(url, programs=bindir) as snapshot:
            assert snapshot.schema_sql() == sql


def test_a_dump_of_an_older_server_loads_into_the_wheels(
    system_postgres: EmbeddedPostgres, system_database: str, fresh_database: str
) -> None:
    run_sql(system_database, SCHEMA)
    with snapshot_of(system_database, programs=find_binaries().bindir) as snapshot:
        sql = snapshot.schema_sql()
    psql = find_binaries(needs=("psql",)).tool("psql")
    command = [str(psql), "-v", "ON_ERROR_STOP=1", "-q", "-X", "-d", fresh_database]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_only_other_releases_know_is_left_out_and_nothing_else() -> None:
    sql = """SET statement_timeout = 0;
SET of_the_future = 'on';
SET row_security = off;

--
-- Name: a; Type: TABLE; Schema: public; Owner: -
--

SET default_table_access_method = heap;
ALTER TABLE ONLY public.a ALTER COLUMN x SET (pg_attver=3);
ALTER TABLE ONLY public."a b" ALTER COLUMN "y z" SET (pg_attver=3, n_distinct=5);
ALTER TABLE ONLY public.a ALTER COLUMN z SET (n_distinct=-0.5, n_distinct_inherited=7, pg_attver=4);
ALTER FOREIGN TABLE ONLY public.f ALTER COLUMN x SET (pg_attver=3);
"""
    kept = """SET statement_timeout = 0;
SET row_security = off;

--
-- Name: a; Type: TABLE; Schema: public; Owner: -
--

SET default_table_access_method = heap;
ALTER TABLE ONLY public."a b" ALTER COLUMN "y z" SET (n_distinct=5);
ALTER TABLE ONLY public.a ALTER COLUMN z SET (n_distinct=-0.5, n_distinct_inherited=7);
"""
    assert loadable(sql, ["statement_timeout", "row_security"]) == kept
