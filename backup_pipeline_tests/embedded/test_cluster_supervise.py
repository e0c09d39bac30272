"""A server does not outlive its program, whichever way that ends, and is never root."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path

import psutil
import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres, running
from backup_pipeline.embedded.cluster import Home, ProcessUser, choose_identity, run_dependent
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline_tests.servers.parents import HOLD_A_SERVER, parent, python, says, tell
from backup_pipeline_tests.servers.postgres import THROWAWAY

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_killing_the_program_shuts_its_server_down_cleanly(tmp_path: Path) -> None:
    with parent(HOLD_A_SERVER, str(tmp_path)) as program:
        server = psutil.Process(int(says(program)[0]))
        program.kill()
        _, left = psutil.wait_procs([server], timeout=20)
    for process in left:
        process.kill()
    assert left == []
    assert "database system is shut down" in Home(tmp_path).log.read_text()
    assert running(tmp_path) is None


def test_killing_the_program_and_starting_again_at_once_waits_for_the_old_server(tmp_path: Path) -> None:
    with parent(HOLD_A_SERVER, str(tmp_path)) as program:
        old = int(says(program)[0])
        program.kill()
        program.wait(10)  # until then it is alive, to whoever looks
        with EmbeddedPostgres(tmp_path, options=THROWAWAY) as server:
            assert server.connection.pid != old
            assert not server.attached


def test_killing_the_program_during_initdb_is_no_wedge(tmp_path: Path) -> None:
    with parent(HOLD_A_SERVER, str(tmp_path)) as program:
        while not list(tmp_path.glob("cluster.*/data/base")):
            assert program.poll() is None
        program.kill()
    assert not Home(tmp_path).cluster.exists()
    with EmbeddedPostgres(tmp_path, options=THROWAWAY) as server:
        assert running(tmp_path) == server.connection
    assert list(tmp_path.glob("cluster.*")) == []


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    ignoring = f"import signal; signal.signal(signal.SIGINT, lambda *_: None)\n{HOLD_A_SERVER}"
    with parent(ignoring, str(tmp_path)) as program:
        server = psutil.Process(int(says(program)[0]))
        os.killpg(program.pid, signal.SIGINT)
        with psycopg.connect(_url(tmp_path)) as session:
            session.execute("SELECT pg_sleep(0.3)")  # a shutdown would end this session
        assert server.is_running()
        assert "shutdown request" not in Home(tmp_path).log.read_text()
        tell(program)
        assert program.wait(30) == 0
    assert not server.is_running()


def test_the_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, options=THROWAWAY)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join(60)
    try:
        with psycopg.connect(server.url("postgres")) as session:
            session.execute("SELECT pg_sleep(0.3)")  # a shutdown would end this session
        assert "shutdown request" not in Home(tmp_path).log.read_text()
    finally:
        server.stop()


@as_root
def test_root_is_mapped_to_a_user_whose_files_stay_roots(tmp_path: Path) -> None:
    program = find_binaries().tool("postgres")
    identity = choose_identity(program)
    if identity.mode != "mapped":
        pytest.skip("user namespaces are forbidden here")
    assert run_dependent(["/usr/bin/id", "-u"], identity).stdout.strip() == str(identity.uid)
    with EmbeddedPostgres(tmp_path, options=THROWAWAY):
        assert {path.stat().st_uid for path in Home(tmp_path).data.rglob("*")} == {0}


@as_root
def test_root_switches_to_a_user_where_namespaces_are_forbidden() -> None:
    switched = ProcessUser("switched", NOBODY, NOBODY)
    if run_dependent([str(find_binaries().tool("postgres")), "--version"], switched).returncode != 0:
        pytest.skip("the binaries lie where nobody but root may read")
    # Not tmp_path: pytest's directories are closed to other users.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        home = Path(directory) / "home"
        with EmbeddedPostgres(home, options=THROWAWAY, identity=switched) as server:
            assert set(psutil.Process(server.connection.pid).uids()) == {NOBODY}
            assert server.connection.accepts()
        # The same data, started by the usual way afterwards.
        with EmbeddedPostgres(home, options=THROWAWAY) as server:
            assert running(home) == server.connection


@as_root
def test_an_ordinary_user_stays_who_he_is(tmp_path: Path) -> None:
    source = """
import os
from pathlib import Path
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded.cluster import choose_identity
from backup_pipeline.postgres.programs import find_binaries
with EmbeddedPostgres(Path(sys.argv[1]), options={"fsync": "off"}) as server:
    print(os.geteuid(), choose_identity(find_binaries().tool("postgres")).mode, server.connection.accepts())
"""
    done = run_dependent(python(source, str(tmp_path)), ProcessUser("mapped", NOBODY, NOBODY))
    assert done.stdout.split() == [str(NOBODY), "keep", "True"], done.stderr


def _url(home: Path) -> str:
    connection = running(home)
    assert connection
    return connection.url("postgres")
