"""A server whose messages are German: each error is of the right kind, with the advice that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from backup_pipeline.core.errors import (
    BackupError,
    SnapshotLostError,
    SourceError,
    SourceUnavailableError,
    TargetError,
    TargetUnavailableError,
)
from backup_pipeline.core.planning import plan_table
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.connection import parse_endpoint
from backup_pipeline.postgres.errors import query_error
from backup_pipeline.postgres.restore import PostgresTarget
from backup_pipeline.postgres.restore.queries import target_error
from backup_pipeline.postgres.session import BEGIN, join_sql
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline_tests.exactness.exporting import public
from backup_pipeline_tests.servers.german import german_server
from backup_pipeline_tests.servers.postgres import temporary_database


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with german_server(tmp_path_factory.mktemp("german")) as server:
        yield server


@pytest.fixture
def database(german: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(german) as url:
        yield url


def other(url: str, **parts: str) -> str:
    """The URL with another user and password, or another database."""
    login = f"//{parts['user']}:{parts['user']}@" if "user" in parts else None
    url = re.sub(r"//[^@]*@", login, url) if login else url
    return re.sub(r"/[^/]*$", f"/{parts['database']}", url) if "database" in parts else url


def opened(url: str) -> BackupError:
    with pytest.raises(BackupError) as caught, PostgresSource(url).snapshot():
        pass
    return caught.value


def test_a_refused_login_is_no_fault_of_the_network(database: str) -> None:
    error = opened(other(database, user="nobody"))
    assert type(error) is SourceError
    assert "fehlgeschlagen" in error.what
    assert "user and the password" in error.do


def test_a_missing_database_is_said_so(database: str) -> None:
    error = opened(other(database, database="nowhere"))
    assert type(error) is SourceError
    assert "existiert nicht" in error.what
    assert "create the database" in error.do
    with pytest.raises(TargetError) as caught, PostgresTarget(other(database, database="nowhere")).session():
        pass
    assert not isinstance(caught.value, TargetUnavailableError)
    assert "Create the database" in caught.value.do


def test_no_connection_left_is_worth_another_try(german: EmbeddedPostgres, database: str) -> None:
    with psycopg.connect(german.url("postgres"), autocommit=True) as session:
        session.execute("CREATE ROLE narrow LOGIN PASSWORD 'narrow' CONNECTION LIMIT 0")
    try:
        error = opened(other(database, user="narrow"))
        assert isinstance(error, SourceUnavailableError)
        assert error.transient
        assert "no connection left" in error.do
    finally:
        with psycopg.connect(german.url("postgres"), autocommit=True) as session:
            session.execute("DROP ROLE narrow")


def test_what_row_level_security_would_filter_is_refused_with_its_own_advice(
    german: EmbeddedPostgres, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE shut (id int PRIMARY KEY)")
        session.execute("CREATE ROLE filtered LOGIN PASSWORD 'filtered'; GRANT SELECT ON t TO filtered")
    try:
        with PostgresSource(other(database, user="filtered")).snapshot() as snapshot:
            plan = plan_table(public(["t"]), "t", snapshot.database())
            with psycopg.connect(database, autocommit=True) as session:
                session.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
            with pytest.raises(SourceError, match="Sicherheit") as caught:
                list(snapshot.read(plan))
        assert "BYPASSRLS" in caught.value.do
    finally:
        with psycopg.connect(database, autocommit=True) as session:
            session.execute("DROP OWNED BY filtered; DROP ROLE filtered")


def test_a_lock_is_told_from_a_statement_that_takes_too_long(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY)")
    options = SourceOptions(lock_timeout_s=0.2)
    with PostgresSource(database, options=options).snapshot() as snapshot, psycopg.connect(database) as other_session:
        plan = plan_table(public(["t"]), "t", snapshot.database())
        other_session.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceUnavailableError, match="Sperre") as caught:
            list(snapshot.read(plan))
        assert "lock" in caught.value.do or "pg_terminate_backend" in caught.value.do
        with pytest.raises(SourceError, match="pg_dump") as dumped:
            snapshot.schema_sql()
        assert "public.t" in str(dumped.value)


def test_a_snapshot_that_is_gone_wants_a_new_one(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(BEGIN)
        with pytest.raises(psycopg.Error) as caught:
            session.execute(join_sql("00000003-0000001B-1"))
    error = query_error(caught.value, parse_endpoint(database), "joining the snapshot")
    assert isinstance(error, SnapshotLostError)


def test_a_value_that_is_refused_is_named_with_its_row_and_column(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE t (id int)")
        with pytest.raises(psycopg.Error) as caught, session.cursor().copy("COPY t FROM STDIN") as copy:
            copy.write("1\nx\n")
    told = target_error(caught.value, parse_endpoint(database), "loading public.t")
    assert "(row 2, column id)" in told.what
