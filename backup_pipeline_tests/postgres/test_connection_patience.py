"""Waiting for a server that says nothing: it ends, and says so; an answer in time is left alone."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg
import pytest

from backup_pipeline.core.errors import SourceError
from backup_pipeline.postgres.connection import Patience, parse_endpoint
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline_tests.faults.fault import Before, Fault, Stall
from backup_pipeline_tests.faults.proxy import FaultProxy


def test_a_silent_connection_is_cut_and_that_is_said(fresh_database: str) -> None:
    with FaultProxy(fresh_database) as proxy, closing(psycopg.connect(proxy.url)) as session:
        fault = proxy.on(Fault(Stall(), "SELECT 1", Before()))
        began = time.monotonic()
        said = pytest.raises(psycopg.OperationalError, match=r"no answer came within 0\.3 s")
        with said, Patience(0.3).waiting(session):
            session.execute("SELECT 1")
        assert 0.2 < time.monotonic() - began < 5
        assert fault.fired == 1
        assert session.closed


def test_an_answer_in_time_and_other_errors_are_left_alone(fresh_database: str) -> None:
    with closing(psycopg.connect(fresh_database, autocommit=True)) as session:
        patience = Patience(0.2)
        with patience.waiting(session):
            session.execute("SELECT 1")
        with pytest.raises(psycopg.errors.DivisionByZero), patience.waiting(session):
            session.execute("SELECT 1 / 0")
        time.sleep(0.3)
        with patience.waiting(session):
            assert session.execute("SELECT 2").fetchone() == (2,)


def test_no_statement_timeout_is_endless_patience(fresh_database: str) -> None:
    assert Patience.beyond(0).seconds == 0
    assert Patience.beyond(1).seconds == 2
    assert Patience.beyond(3600).seconds == 3630
    with closing(psycopg.connect(fresh_database)) as session, Patience(0).waiting(session):
        session.execute("SELECT 1")


def test_a_source_that_falls_silent_while_its_schema_is_read_is_an_error(fresh_database: str) -> None:
    with FaultProxy(fresh_database) as proxy:
        source = PostgresSource(proxy.url, options=SourceOptions(statement_timeout_s=0.5))
        with source.snapshot() as snapshot:
            fault = proxy.on(Fault(Stall(), "pg_roles", Before()))
            with pytest.raises(SourceError, match="came to no end") as caught:
                snapshot.schema_sql()
        assert fault.fired == 1
        assert caught.value.transient


def test_a_peer_that_is_gone_is_noticed_by_keepalives_unless_the_url_says_otherwise() -> None:
    usual = parse_endpoint("postgresql://me@db/shop")
    assert "keepalives_idle=30" in usual.conninfo("worker", 10)
    assert "tcp_user_timeout=60000" in usual.child_conninfo("schema", 10)[0]
    own = parse_endpoint("postgresql://me@db/shop?keepalives_idle=7")
    assert "keepalives_idle=7" in own.conninfo("worker", 10)
    assert "keepalives_idle=30" not in own.conninfo("worker", 10)
