"""The folder and the scratch server of a drill: gone at the end, and gone with the next drill when one was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from backup_pipeline.settings import Settings
from backup_pipeline.wiring.drill import open_sandbox
from backup_pipeline_tests.orchestration.installation import until

_KILLED = """
import sys
from pathlib import Path
from backup_pipeline.core.drill.definitions import ServerNeeds
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.drill import open_sandbox
with open_sandbox(Settings(work_dir=Path(sys.argv[1]))) as shop, shop.server(ServerNeeds(18)) as scratch:
    with scratch.database._work() as work:  # as many locks as thousands of tables take
        work.rows("SELECT count(pg_advisory_xact_lock(n)) FROM generate_series(1, 30000) AS n")
    print(scratch.target.url, shop.root, flush=True)
    sys.stdin.read()
"""


def test_everything_is_gone_at_the_end_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on purpose"):
        _fail_in_workshop(tmp_path)
    assert [*(tmp_path / "drills").iterdir()] == []


def _fail_in_workshop(work: Path) -> None:
    with open_sandbox(Settings(work_dir=work)) as shop:
        assert shop.folder.stat().st_mode & 0o777 == 0o700
        shop.store("a").put("x/y", [b"1"])
        assert (shop.folder / "a" / "x" / "y").read_bytes() == b"1"
        raise ValueError("on purpose")


def test_the_server_of_a_killed_drill_ends_and_its_folder_goes_with_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        url, _, root = child.stdout.readline().strip().partition(" ")
        servers = [process for process in psutil.Process(child.pid).children() if "postgres" in process.name()]
        assert servers
        assert [at for server in servers for at in server.net_connections("inet")] == []
        os.kill(child.pid, signal.SIGKILL)
    assert Path(root).is_dir()
    until(lambda: not any(server.is_running() for server in servers), 30)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=3)
    with open_sandbox(Settings(work_dir=tmp_path)) as shop:
        assert not Path(root).exists()
        with open_sandbox(Settings(work_dir=tmp_path)):
            assert shop.folder.is_dir()  # another drill that lives is left alone


def test_a_folder_that_is_being_made_is_left_alone_for_a_minute(tmp_path: Path) -> None:
    new, old = tmp_path / "drills" / "drill-new", tmp_path / "drills" / "drill-old"
    for folder in (new, old):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 100, time.time() - 100))
    with open_sandbox(Settings(work_dir=tmp_path)):
        assert (new.exists(), old.exists()) == (True, False)
