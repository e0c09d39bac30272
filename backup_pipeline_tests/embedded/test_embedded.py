"""An embedded PostgreSQL, from its first start over crashes and strangers to its end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from backup_pipeline.core.errors import BackupError, LockedError, SettingsError, UsageError
from backup_pipeline.embedded import EmbeddedPostgres, running
from backup_pipeline.embedded.cluster import Dependent, Home, choose_identity, open_log
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline_tests.servers.parents import HOLD_A_SERVER, parent, says, tell
from backup_pipeline_tests.servers.postgres import THROWAWAY, temporary_database


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where each test of this file starts and ends a server: one initdb for all of them."""
    path = tmp_path_factory.mktemp("embedded")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(directory: Path) -> Home:
    return Home(directory)


@pytest.fixture
def server(home: Home) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(home.path, options=THROWAWAY) as started:
        yield started


def remember(server: EmbeddedPostgres, word: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute("SET synchronous_commit = on")  # THROWAWAY would lose the last moments before a kill
        session.execute("DROP TABLE IF EXISTS memory")
        session.execute("CREATE TABLE memory (word text)")
        session.execute("INSERT INTO memory VALUES (%s)", (word,))


def recall(server: EmbeddedPostgres) -> str:
    with psycopg.connect(server.url("postgres")) as session:
        row = session.execute("SELECT word FROM memory").fetchone()
    assert row
    return str(row[0])


def test_it_is_postgres_18_in_utf8_and_utc(server: EmbeddedPostgres) -> None:
    server.ensure_database('ডেমো "x"')
    server.ensure_database('ডেমো "x"')
    with psycopg.connect(server.url('ডেমো "x"')) as session:
        shown = [session.execute(f"SHOW {name}").fetchone() for name in ("server_encoding", "timezone", "jit", "fsync")]
        lowered = session.execute("SELECT lower('Ä')").fetchone()
        assert session.info.server_version // 10000 == 18
    assert shown == [("UTF8",), ("UTC",), ("off",), ("off",)]
    assert lowered == ("ä",)


def test_a_wrong_password_is_rejected(server: EmbeddedPostgres) -> None:
    for password in ("wrong", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url("postgres", password=password))


def test_it_listens_on_loopback_and_nowhere_else(server: EmbeddedPostgres) -> None:
    process = psutil.Process(server.connection.pid)
    listening = [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", server.connection.port)]
    assert process.net_connections("unix") == []


def test_what_it_writes_is_for_its_owner_alone(server: EmbeddedPostgres, home: Home) -> None:
    private = [home.path, home.cluster, home.data, home.password, home.connection, home.log]
    assert [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert server.connection.password not in repr(server.connection)
    assert not any(server.connection.password in word for word in psutil.Process(server.connection.pid).cmdline())


def test_stop_leaves_no_process_and_no_connection_file(server: EmbeddedPostgres, home: Home) -> None:
    family = [psutil.Process(server.connection.pid)]
    family += family[0].children(recursive=True)
    server.stop()
    assert [process for process in family if process.is_running()] == []
    assert not home.connection.exists()
    assert running(home.path) is None
    server.stop()


def test_a_restart_keeps_data_password_and_port(server: EmbeddedPostgres) -> None:
    remember(server, "kept")
    url = server.url("postgres")
    server.stop()
    server.start()
    assert server.url("postgres") == url
    assert recall(server) == "kept"


def test_a_port_that_was_taken_meanwhile_is_replaced(server: EmbeddedPostgres) -> None:
    before = server.connection.port
    server.stop()
    with socket.create_server(("127.0.0.1", before)):
        server.start()
    assert server.connection.port != before


def test_a_killed_server_recovers_at_the_next_start(server: EmbeddedPostgres) -> None:
    remember(server, "committed")
    os.kill(server.connection.pid, signal.SIGKILL)
    server.start()
    assert recall(server) == "committed"


def test_a_pid_file_whose_pid_belongs_to_somebody_new_is_no_wedge(server: EmbeddedPostgres, home: Home) -> None:
    server.stop()
    (home.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    server.start()
    assert running(home.path) == server.connection


def test_a_server_started_by_other_means_is_left_alone(server: EmbeddedPostgres, home: Home) -> None:
    server.stop()
    program = find_binaries().tool("postgres")
    with open_log(home) as log:
        settings = ["listen_addresses=127.0.0.1", f"port={home.port.read_text()}", "unix_socket_directories="]
        command = [str(program), "-D", str(home.data), *(word for setting in settings for word in ("-c", setting))]
        stranger = Dependent(command, choose_identity(program), log=log)
    try:
        while not (home.data / "postmaster.pid").exists():
            assert not stranger.exited.wait(0.01)
        with pytest.raises(LockedError, match="started by other means"):
            server.start()
        assert not stranger.exited.is_set()
        assert (home.data / "postmaster.pid").exists()
    finally:
        assert stranger.stop()


def test_a_second_program_attaches_and_does_not_stop_it(server: EmbeddedPostgres, home: Home) -> None:
    with parent(HOLD_A_SERVER, str(home.path)) as other:
        assert says(other) == [str(server.connection.pid), "True"]
        tell(other)
        assert other.wait(30) == 0
    assert running(home.path) == server.connection


def test_programs_that_start_at_once_share_one_server(tmp_path: Path) -> None:
    servers = [EmbeddedPostgres(tmp_path / "home", options=THROWAWAY) for _ in range(4)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert len({server.connection.pid for server in servers}) == 1
        assert [server.attached for server in servers].count(False) == 1
    finally:
        for server in servers:
            server.stop()
    assert running(tmp_path / "home") is None


def test_a_stale_connection_file_is_not_believed(server: EmbeddedPostgres, home: Home) -> None:
    said = home.connection.read_text()
    server.stop()
    for stale in (said, said[:20], '{"host": "127.0.0.1"}'):
        home.connection.write_text(stale)
        assert running(home.path) is None


def test_a_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="shared_buffers") as caught:
        EmbeddedPostgres(tmp_path, options={"shared_buffers": "plenty"}).start()
    assert "server.log" in caught.value.do


def test_data_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    old = find_binaries(version=16)
    with EmbeddedPostgres(tmp_path, old, THROWAWAY) as server, psycopg.connect(server.url("postgres")) as session:
        assert session.info.server_version // 10000 == 16
    with pytest.raises(SettingsError, match=r"made by PostgreSQL 16; the binaries are 18"):
        EmbeddedPostgres(tmp_path).start()


def test_options_that_would_open_it_to_the_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="listen_addresses"):
        EmbeddedPostgres(tmp_path, options={"listen_addresses": "*"})
    with pytest.raises(UsageError, match="not started"):
        EmbeddedPostgres(tmp_path).url("postgres")


def test_the_fixture_gives_an_empty_database_of_its_own(postgres_server: EmbeddedPostgres, fresh_database: str) -> None:
    with temporary_database(postgres_server) as other, psycopg.connect(other) as session:
        session.execute("CREATE TABLE only_there ()")
        session.commit()
        with psycopg.connect(fresh_database) as own:
            assert own.execute("SELECT to_regclass('only_there')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)
