"""The proxy of faults: it passes what it should, does what it was told where it was told, and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from threading import Thread
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import sql

from backup_pipeline_tests.faults.fault import (
    After,
    Answer,
    Answering,
    Before,
    Call,
    Close,
    Corrupt,
    Delay,
    Effect,
    Fault,
    Moment,
    Reset,
    Sending,
    Stall,
    Throttle,
)
from backup_pipeline_tests.faults.proxy import FaultProxy
from backup_pipeline_tests.faults.streams import HttpClient, HttpServer, PostgresClient, PostgresServer, Stream, Talk
from backup_pipeline_tests.servers.swift import SwiftServer

ROWS = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100)) TO STDOUT"


@pytest.fixture
def database(fresh_database: str) -> Iterator[FaultProxy]:
    with FaultProxy(fresh_database) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3_server: SwiftServer) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        yield proxy


def _client(server: SwiftServer, proxy: FaultProxy, tries: int = 1) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=proxy.url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": tries},
            read_timeout=5,
        ),
    )


def _copied(url: str) -> bytes:
    with closing(psycopg.connect(url, autocommit=True)) as session, session.cursor().copy(ROWS) as rows:
        return b"".join(bytes(row) for row in rows)


def _streams(kind: str) -> tuple[Stream, Stream]:
    talk = Talk()
    return (HttpClient(talk), HttpServer(talk)) if kind == "http" else (PostgresClient(talk), PostgresServer(talk))


HTTP_ASKED = (
    b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    b"HEAD /b/k HTTP/1.1\r\nHost: h\r\n\r\n"
    b"PUT /b/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
HTTP_ANSWERED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("portion", [1, 2, 7, 1000])
def test_requests_and_answers_are_found_wherever_portions_end(portion: int) -> None:
    asking, answering = _streams("http")
    asked = [piece for at in range(0, len(HTTP_ASKED), portion) for piece in asking.feed(HTTP_ASKED[at : at + portion])]
    answered = [
        piece
        for at in range(0, len(HTTP_ANSWERED), portion)
        for piece in answering.feed(HTTP_ANSWERED[at : at + portion])
    ]
    assert b"".join(piece.data for piece in asked) == HTTP_ASKED
    assert b"".join(piece.data for piece in answered) == HTTP_ANSWERED
    assert [piece.said[0] for piece in asked if piece.said] == ["PUT /b/k", "HEAD /b/k", "PUT /b/c"]
    assert sum(piece.ends for piece in answered) == 3


@pytest.mark.parametrize("portion", [1, 3, 1000])
def test_a_statement_is_found_wherever_portions_end(portion: int) -> None:
    asking, answering = _streams("postgresql")
    startup = b"\0\0\0\x10\0\3\0\0user\0me\0\0"
    startup = len(startup).to_bytes(4, "big") + startup[4:]
    query = b"INSERT INTO backup_logs VALUES (1)\0"
    said = startup + b"Q" + (len(query) + 4).to_bytes(4, "big") + query
    pieces = [piece for at in range(0, len(said), portion) for piece in asking.feed(said[at : at + portion])]
    assert b"".join(piece.data for piece in pieces) == said
    assert [piece.said for piece in pieces if piece.said] == [
        ("startup user=me", ""),
        ("INSERT INTO backup_logs VALUES (1)", ""),
    ]
    ready = b"Z\0\0\0\5I"
    answered = b"D\0\0\0\x09\0\1ZZZ" + ready + b"C\0\0\0\6A\0" + ready
    ends = [piece for at in range(0, len(answered), portion) for piece in answering.feed(answered[at : at + portion])]
    assert b"".join(piece.data for piece in ends) == answered
    assert sum(piece.ends for piece in ends) == 2


def test_statements_and_values_are_recorded_and_nothing_is_changed(database: FaultProxy, fresh_database: str) -> None:
    assert _copied(database.url) == _copied(fresh_database)
    with psycopg.connect(database.url, prepare_threshold=1) as session:
        for number in range(3):
            assert session.execute("SELECT %s::int + 1", (number,)).fetchone() == (number + 1,)
        with session.cursor().copy("COPY (SELECT 1) TO STDOUT") as rows:
            assert b"".join(bytes(row) for row in rows) == b"1\n"
    texts = [said.text for said in database.said]
    assert texts[1].startswith("startup user=")
    assert ROWS in texts
    assert sum(said.text == "SELECT $1::int + 1" for said in database.said) == 3
    assert "COMMIT" in texts
    assert max(said.connection for said in database.said) == 2


def test_rows_that_are_sent_pass(database: FaultProxy, fresh_database: str) -> None:
    with psycopg.connect(database.url) as session:
        session.execute("CREATE TABLE t (x text)")
        with session.cursor().copy("COPY t FROM STDIN") as rows:
            for _ in range(20_000):
                rows.write("a row of text\n")
    with psycopg.connect(fresh_database) as session:
        assert session.execute("SELECT count(*) FROM t").fetchone() == (20_000,)


@pytest.mark.parametrize("moment", [Before(), After()])
def test_a_call_comes_before_the_server_hears_or_after_it_answered(
    database: FaultProxy, fresh_database: str, moment: Moment
) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as session:
        session.execute("CREATE TABLE t (x int)")
        counted: list[Any] = []
        look = Call(lambda: counted.append(session.execute("SELECT count(*) FROM t").fetchone()), cut=True)
        fault = database.on(Fault(look, "INSERT INTO t", moment, nth=2))
        with closing(psycopg.connect(database.url, autocommit=True)) as other:
            other.execute("INSERT INTO t VALUES (%s::text::int)", ("1",))
            with pytest.raises(psycopg.OperationalError):
                other.execute("INSERT INTO t VALUES (%s::text::int)", ("2",))
        assert fault.fired == 1
        assert fault.said[0].values == "2"
        assert counted == [(1,)] if moment == Before() else counted == [(2,)]


@pytest.mark.parametrize("effect", [Reset(), Close()])
@pytest.mark.parametrize("moment", [Before(), After(), Answering(50_000)])
def test_a_connection_is_cut_where_it_was_told(database: FaultProxy, effect: Effect, moment: Moment) -> None:
    fault = database.on(Fault(effect, "COPY", moment))
    with pytest.raises(psycopg.OperationalError):
        _copied(database.url)
    assert fault.fired == 1
    assert len(_copied(database.url)) == 100_100


def test_a_corrupted_byte_of_an_answer_is_one_byte(database: FaultProxy, fresh_database: str) -> None:
    fault = database.on(Fault(Corrupt(), "COPY", Answering(50_000)))
    good, bad = _copied(fresh_database), _copied(database.url)
    assert fault.fired == 1
    assert sum(one != other for one, other in zip(good, bad, strict=True)) == 1


def test_what_is_stalled_goes_on_when_it_is_released(database: FaultProxy) -> None:
    fault = database.on(Fault(Stall(), "COPY", Answering(50_000)))
    got: list[bytes] = []
    reader = Thread(target=lambda: got.append(_copied(database.url)))
    reader.start()
    fault.wait()
    time.sleep(0.1)
    assert got == []
    fault.release()
    reader.join(10)
    assert len(got[0]) == 100_100


def test_delay_and_throttle_take_their_time(database: FaultProxy) -> None:
    slow = database.on(Fault(Throttle(400_000), "COPY", Answering(0), nth=2))
    late = database.on(Fault(Delay(0.3), "COPY"))
    for fault in (late, slow):
        began = time.monotonic()
        assert len(_copied(database.url)) == 100_100
        assert 0.2 < time.monotonic() - began < 3
        assert fault.fired == 1


def test_new_connections_are_refused_and_open_ones_can_be_cut(database: FaultProxy) -> None:
    with closing(psycopg.connect(database.url, autocommit=True)) as session:
        database.refuse()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(database.url)
        assert session.execute("SELECT 1").fetchone() == (1,)
        database.cut()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    database.accept()
    assert len(_copied(database.url)) == 100_100


def test_the_server_ends_the_session_of_a_client_that_is_stalled_and_gone(
    database: FaultProxy, fresh_database: str
) -> None:
    fault = database.on(Fault(Stall(), "pg_sleep"))
    own = psycopg.connect(database.url, application_name="stalled")
    reader = Thread(target=lambda: own.pgconn.send_query(b"SELECT pg_sleep(0)"))
    reader.start()
    fault.wait()
    reader.join()
    own.close()
    mine = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stalled'")
    with psycopg.connect(fresh_database, autocommit=True) as session:
        for _ in range(100):
            if session.execute(mine).fetchone() == (0,):
                return
            time.sleep(0.02)
    pytest.fail("its session is still there")


def test_signed_requests_pass_and_are_recorded(bucket: FaultProxy, s3_server: SwiftServer, s3_bucket: str) -> None:
    client = _client(s3_server, bucket)
    client.put_object(Bucket=s3_bucket, Key="a b", Body=b"y" * 200_000)
    assert client.get_object(Bucket=s3_bucket, Key="a b")["Body"].read() == b"y" * 200_000
    client.head_object(Bucket=s3_bucket, Key="a b")
    assert [found["Key"] for found in client.list_objects_v2(Bucket=s3_bucket)["Contents"]] == ["a b"]
    client.delete_object(Bucket=s3_bucket, Key="a b")
    assert [said.text.split()[0] for said in bucket.said] == ["PUT", "GET", "HEAD", "GET", "DELETE"]
    assert bucket.said[0].text == f"PUT /{s3_bucket}/a%20b"


def test_a_request_is_answered_in_the_servers_place(bucket: FaultProxy, s3_server: SwiftServer, s3_bucket: str) -> None:
    fault = bucket.on(Fault(Answer(503), "PUT .*thing", times=2))
    with pytest.raises(ClientError, match="SlowDown"):
        _client(s3_server, bucket).put_object(Bucket=s3_bucket, Key="thing", Body=b"z" * 3_000_000)
    _client(s3_server, bucket, tries=3).put_object(Bucket=s3_bucket, Key="thing", Body=b"z")
    assert fault.fired == 2
    assert s3_server.client().get_object(Bucket=s3_bucket, Key="thing")["Body"].read() == b"z"


@pytest.mark.parametrize("effect", [Reset(), Close()])
def test_an_upload_that_is_cut_leaves_nothing(
    bucket: FaultProxy, s3_server: SwiftServer, s3_bucket: str, effect: Effect
) -> None:
    fault = bucket.on(Fault(effect, "PUT", Sending(100_000)))
    with pytest.raises((ClientError, BotoCoreError)):
        _client(s3_server, bucket).put_object(Bucket=s3_bucket, Key="thing", Body=b"z" * 300_000)
    assert fault.fired == 1
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=s3_bucket)


def test_a_corrupted_upload_is_refused_by_its_signature(
    bucket: FaultProxy, s3_server: SwiftServer, s3_bucket: str
) -> None:
    fault = bucket.on(Fault(Corrupt(), "PUT", Sending(1000)))
    with pytest.raises((ClientError, BotoCoreError)):
        _client(s3_server, bucket).put_object(Bucket=s3_bucket, Key="thing", Body=b"z" * 300_000)
    assert fault.fired == 1
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=s3_bucket)


def test_a_fault_that_never_fires_is_told(database: FaultProxy) -> None:
    fault = database.on(Fault(Reset(), "never said"))
    _copied(database.url)
    assert fault.fired == 0
    with pytest.raises(AssertionError, match="never fired"):
        fault.wait(0.01)
