"""Connections as libpq makes them, by every process alike: TLS, passwords, services, several hosts, poolers."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.errors import (
    BackupError,
    SourceError,
    SourceUnavailableError,
    TargetError,
    TargetUnavailableError,
)
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.restore import PostgresTarget
from backup_pipeline.postgres.source import PostgresSource, examine_source
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.postgres.reading import plan_for, read_table, run_sql, snapshot_of
from backup_pipeline_tests.servers.debian import system_binaries
from backup_pipeline_tests.servers.pooler import Pooler, pooled_settings, pooler
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.servers.tls import TlsServer

SHOP = (
    "CREATE TABLE goods (id int PRIMARY KEY, name text); INSERT INTO goods SELECT i, 'x' FROM generate_series(1, 9) i"
)
# Row-level security that shows a third of the rows to their own owner.
SHARED = """
CREATE ROLE app01 LOGIN PASSWORD 'app'; GRANT CREATE ON SCHEMA public TO app01; SET ROLE app01;
CREATE TABLE orders (id int PRIMARY KEY, tenant int);
INSERT INTO orders SELECT i, i % 3 FROM generate_series(1, 3000) i;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON orders USING (tenant = 1)"""
OURS = (
    *("search_path", "row_security", "TimeZone", "DateStyle", "statement_timeout", "lock_timeout", "lc_monetary"),
    *("idle_in_transaction_session_timeout", "client_connection_check_interval", "synchronize_seqscans"),
)


def everything_read(url: str) -> tuple[int, str]:
    """The rows of `goods` by a worker, and the schema by pg_dump."""
    with snapshot_of(url) as snapshot:
        return read_table(snapshot, plan_for(snapshot, "goods")).num_rows, snapshot.schema_sql()


@pytest.fixture(scope="module")
def shop(tls_postgres: TlsServer) -> str:
    """The name of a database with rows behind TLS."""
    with psycopg.connect(tls_postgres.url(), autocommit=True) as session:
        session.execute("CREATE DATABASE shop")
    run_sql(tls_postgres.url("shop"), SHOP, "GRANT SELECT ON goods TO certified")
    return "shop"


@pytest.mark.parametrize(
    "parameters",
    [
        {"sslmode": "require"},
        {"sslmode": "prefer"},
        {"sslmode": "verify-full"},
        {"sslmode": "verify-full", "channel_binding": "require"},
        {"sslmode": "require", "require_auth": "scram-sha-256", "load_balance_hosts": "random"},
    ],
)
def test_a_server_that_takes_tls_alone_is_read_by_every_process(
    tls_postgres: TlsServer, shop: str, parameters: dict[str, str]
) -> None:
    rows, sql = everything_read(tls_postgres.url(shop, **parameters))
    assert rows == 9
    assert "CREATE TABLE public.goods" in sql
    with PostgresTarget(tls_postgres.url(shop, **parameters)).session() as target:
        assert target.look([("public", "goods")]).relations[("public", "goods")].rows == 9


@pytest.mark.parametrize("locked", [False, True])
def test_a_client_is_known_by_its_certificate_also_where_the_key_has_a_password(
    tls_postgres: TlsServer, shop: str, locked: bool
) -> None:
    rows, sql = everything_read(tls_postgres.certified_url(shop, locked=locked))
    assert (rows, "CREATE TABLE public.goods" in sql) == (9, True)


@pytest.mark.parametrize("program", ["system", "wheel"])
def test_both_kinds_of_pg_dump_take_every_secret(
    tls_postgres: TlsServer, shop: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.postgres import programs

    if program == "wheel":
        monkeypatch.setattr(programs, "_SYSTEM", ())
    for url in (tls_postgres.certified_url(shop, locked=True), tls_postgres.url(shop)):
        with snapshot_of(url) as snapshot:
            facts = snapshot.try_dump()
            assert "CREATE TABLE public.goods" in snapshot.schema_sql()
        assert facts.lent is (program == "wheel")
        assert facts.release.is_as_recent(facts.server) or program == "wheel"


def test_a_certificate_of_another_authority_is_refused_with_what_to_correct(
    tls_postgres: TlsServer, shop: str, tmp_path: Path
) -> None:
    from backup_pipeline_tests.servers.tls import Authority

    stranger = Authority(tmp_path, "a stranger")
    url = tls_postgres.url(shop, sslrootcert=str(stranger.root))
    with pytest.raises(SourceError, match="certificate verify failed") as caught:
        everything_read(url)
    assert not caught.value.transient
    assert "sslrootcert" in caught.value.do
    with pytest.raises(SourceError, match="no encryption") as plain:
        everything_read(tls_postgres.url(shop, sslmode="disable"))
    assert "sslmode" in plain.value.do


PLACES = {
    "PGPASSWORD": "postgresql://postgres@{place}/{database}",
    "PGPASSFILE": "postgresql://postgres@{place}/{database}",
    "PGSERVICEFILE": "postgresql:///?service=shop",
    "PGSERVICE": "postgresql:///",
    "PGHOST": "postgresql:///{database}",
}


@pytest.mark.parametrize("where", [*PLACES, "~/.pgpass", "~/.pg_service.conf"])
def test_what_libpq_takes_from_its_environment_every_process_has(
    system_postgres: EmbeddedPostgres,
    system_database: str,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_sql(system_database, SHOP)
    connection, database = system_postgres.connection, system_database.rpartition("/")[2]
    for file, text in {
        "pass": f"{connection.host}:{connection.port}:*:postgres:{connection.password}\n",
        "service": f"[shop]\nhost={connection.host}\nport={connection.port}\nuser=postgres\ndbname={database}\n"
        f"password={connection.password}\n",
    }.items():
        for path in (tmp_path / file, tmp_path / {"pass": ".pgpass", "service": ".pg_service.conf"}[file]):
            path.touch(0o600)
            path.write_text(text)
    # libpq in this process reads them like any other's.
    given = {
        "PGPASSWORD": {"PGPASSWORD": connection.password},
        "PGPASSFILE": {"PGPASSFILE": str(tmp_path / "pass")},
        "PGSERVICEFILE": {"PGSERVICEFILE": str(tmp_path / "service")},
        "PGSERVICE": {"PGSERVICEFILE": str(tmp_path / "service"), "PGSERVICE": "shop"},
        "PGHOST": {
            "PGHOST": connection.host,
            "PGPORT": str(connection.port),
            "PGUSER": "postgres",
            "PGPASSFILE": str(tmp_path / "pass"),
        },
        "~/.pgpass": {"HOME": str(tmp_path)},
        "~/.pg_service.conf": {"HOME": str(tmp_path)},
    }[where]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    pattern = {"~/.pgpass": PLACES["PGPASSFILE"], "~/.pg_service.conf": PLACES["PGSERVICEFILE"]} | PLACES
    url = pattern[where].format(place=f"{connection.host}:{connection.port}", database=database)
    rows, sql = everything_read(url)
    assert (rows, "CREATE TABLE public.goods" in sql) == (9, True)
    assert examine_source(url, now).role == "postgres"
    with PostgresTarget(url).session() as target:
        assert target.look([("public", "goods")]).relations[("public", "goods")].rows == 9


@pytest.fixture(scope="module")
def pooled(system_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's URL of a database whose rows are hidden by FORCE ROW LEVEL SECURITY."""
    with temporary_database(system_postgres) as url:
        run_sql(url, SHARED)
        yield url
        run_sql(url, "DROP OWNED BY app01; DROP ROLE app01")


@contextmanager
def before(server: EmbeddedPostgres, folder: Path, mode: str, **more: str | int) -> Iterator[Pooler]:
    users = {"app01": "app", "postgres": server.connection.password}
    with pooler(folder, (server.connection.host, server.connection.port), users, mode=mode, **more) as made:
        yield made


@pytest.mark.parametrize(
    "more", [{"server_round_robin": 1, "min_pool_size": 4}, {"default_pool_size": 1}, {"default_pool_size": 20}]
)
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_its_connections_is_refused_and_left_as_it_was(
    system_postgres: EmbeddedPostgres, pooled: str, tmp_path: Path, mode: str, more: dict[str, int]
) -> None:
    database = pooled.rpartition("/")[2]
    with before(system_postgres, tmp_path, mode, **more) as made:
        if mode == "transaction":
            made.fill(database, "app01", more.get("default_pool_size", 4) if len(more) == 1 else 4)
        url = made.url(database, "app01")
        untouched = pooled_settings(made, database, "app01", OURS)
        sessions = locks_and_prepared(pooled)
        for deed in (read_orders, examined, restored):
            with pytest.raises(BackupError, match="gives each transaction whichever") as caught:
                deed(url)
            assert isinstance(caught.value, SourceError | TargetError)
            assert not caught.value.transient
            assert "Name the server itself" in caught.value.do
        assert pooled_settings(made, database, "app01", OURS) == untouched
        assert len(untouched) == 1
        assert locks_and_prepared(pooled) == sessions


def read_orders(url: str) -> None:
    with snapshot_of(url) as snapshot:
        read_table(snapshot, plan_for(snapshot, "orders"))


def examined(url: str) -> None:
    examine_source(url, now)


def restored(url: str) -> None:
    with PostgresTarget(url).session() as target:
        target.lock()


def locks_and_prepared(url: str) -> list[tuple[int]]:
    return run_sql(url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")


def test_a_pool_in_session_mode_is_as_good_as_the_server_and_left_as_it_was(
    system_postgres: EmbeddedPostgres, pooled: str, tmp_path: Path
) -> None:
    """Also one that does not reset what a session has set."""
    database = pooled.rpartition("/")[2]
    with before(system_postgres, tmp_path, "session", server_reset_query="", default_pool_size=8) as made:
        url = made.url(database, "app01")
        untouched = pooled_settings(made, database, "app01", OURS)
        with pytest.raises(BackupError, match="row-level security"):
            read_orders(url)
        facts = examine_source(url, now)
        assert facts.relayed
        admin = made.url(database, "postgres")
        with snapshot_of(admin) as snapshot:
            assert read_table(snapshot, plan_for(snapshot, "orders")).num_rows == 3000
        with PostgresTarget(admin).session() as target:
            target.lock()
            assert target.look([("public", "orders")]).relations[("public", "orders")].rows == 3000
        assert pooled_settings(made, database, "app01", OURS) == untouched
        assert pooled_settings(made, database, "postgres", OURS) == untouched
        assert locks_and_prepared(pooled) == [(0,)]


def test_a_schema_is_dumped_through_a_pool_in_session_mode(
    system_postgres: EmbeddedPostgres, pooled: str, tmp_path: Path
) -> None:
    database = pooled.rpartition("/")[2]
    with before(system_postgres, tmp_path, "session") as made, snapshot_of(made.url(database, "postgres")) as snapshot:
        assert "CREATE TABLE public.orders" in snapshot.schema_sql()


@pytest.fixture(scope="module")
def balanced(
    system_postgres: EmbeddedPostgres, postgres_server: EmbeddedPostgres
) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """Two servers that know the same role, with a database of the same name: 5 rows in the older, 7 in the newer."""
    servers = (system_postgres, postgres_server)
    for server, rows in zip(servers, (5, 7), strict=True):
        server.ensure_database("balanced")
        url = server.url("balanced")
        run_sql(url, f"CREATE TABLE goods AS SELECT generate_series(1, {rows}) AS id")
        run_sql(url, "CREATE ROLE balanced LOGIN SUPERUSER PASSWORD 'same'")
    yield servers
    for server in servers:
        run_sql(server.url("balanced"), "DROP ROLE balanced")
        run_sql(server.url("postgres"), "DROP DATABASE balanced WITH (FORCE)")


def test_every_further_connection_goes_to_the_host_that_was_reached(
    balanced: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    """Two servers, one chosen at random for each snapshot."""
    places = ",".join(f"{server.connection.host}:{server.connection.port}" for server in balanced)
    url = f"postgresql://balanced:same@{places}/balanced?load_balance_hosts=random"
    seen = set()
    for _ in range(10):
        with snapshot_of(url, max_connections=3) as snapshot:
            rows = read_table(snapshot, plan_for(snapshot, "goods")).num_rows
            major = snapshot.entry.server_version.partition(".")[0]
            assert (rows, major) in {(5, str(system_binaries().version)), (7, "18")}
            assert snapshot._now("SELECT count(*) AS n FROM public.goods") == [{"n": rows}]
            if rows not in seen:
                assert f"Dumped from database version {major}." in snapshot.schema_sql()
        seen.add(rows)
    assert seen == {5, 7}


def test_a_balancer_that_gives_each_connection_another_server_is_refused(
    balanced: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    with in_turn([(server.connection.host, server.connection.port) for server in balanced]) as port:
        url = f"postgresql://balanced:same@127.0.0.1:{port}/balanced?sslmode=disable&gssencmode=disable"
        with snapshot_of(url) as snapshot, pytest.raises(SourceError, match="another server answered") as caught:
            read_table(snapshot, plan_for(snapshot, "goods"))
    assert "name one server" in caught.value.do


@contextmanager
def in_turn(places: list[tuple[str, int]]) -> Iterator[int]:
    """The port of a balancer on loopback that leads each connection to the next of `places`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                pass
            finally:
                for end in (source, sink):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                sink.close()

        def serve() -> None:
            for place in itertools.cycle(places):
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.create_connection(place)
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=relay, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


REFUSALS = [
    ("28P01", SourceError, TargetError, "Correct the user and the password"),
    ("3D000", SourceError, TargetError, "reate the database"),
    ("57P03", SourceUnavailableError, TargetUnavailableError, "wait until it takes connections"),
    ("53300", SourceUnavailableError, TargetUnavailableError, "no connection left"),
]


@pytest.mark.parametrize(("state", "source", "target", "advice"), REFUSALS)
def test_a_refusal_is_understood_in_whatever_language_it_comes(
    state: str, source: type[BackupError], target: type[BackupError], advice: str
) -> None:
    with refusing(state, "Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen") as port:
        url = f"postgresql://x:y@127.0.0.1:{port}/z?sslmode=disable&gssencmode=disable"
        with pytest.raises(SourceError, match="Passwort-Auth") as caught, PostgresSource(url).snapshot():
            pass
        assert (type(caught.value), advice in caught.value.do) == (source, True)
        with pytest.raises(TargetError) as other, PostgresTarget(url).session():
            pass
        assert (type(other.value), advice in other.value.do) == (target, True)


@contextmanager
def refusing(state: str, message: str) -> Iterator[int]:
    """The port of a server that refuses everybody, in German."""
    fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": message}
    body = b"".join(name.encode() + text.encode() + b"\0" for name, text in fields.items()) + b"\0"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(struct.unpack("!i", client.recv(4))[0])
                    client.sendall(b"E" + struct.pack("!i", len(body) + 4) + body)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
