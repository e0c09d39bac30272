"""What `up` starts ends with it, however it ends; and there is one in a home."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import psutil
import pytest

from backup_pipeline.core.errors import LockedError
from backup_pipeline.wiring import process_guard, processes
from backup_pipeline.wiring.processes import family, only_one, running_ui
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.parents import parent, says

# A child that has a child of its own, as a code server has a run.
_SLEEP = "import time; time.sleep(600)"
_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_SLEEP!r}]); {_SLEEP}"
_UP = f"""
from pathlib import Path
import os, time
from backup_pipeline.wiring.processes import only_one
from backup_pipeline.wiring.processes import family
home = Path(sys.argv[1])
with only_one(home, {{"ui": "http://127.0.0.1:3000"}}) as lock, family(home / "logs", lock) as running:
    running.start("child", [sys.executable, "-c", {_CHILD!r}])
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def test_children_and_their_children_end_when_the_program_is_killed(tmp_path: Path) -> None:
    with parent(_UP, str(tmp_path)) as program:
        assert says(program) == [str(program.pid)]
        until(lambda: len(psutil.Process(program.pid).children(recursive=True)) >= 3, 20)
        members = psutil.Process(program.pid).children(recursive=True)
        with pytest.raises(LockedError) as refused, only_one(tmp_path, {}):
            pass
        assert f"runs already in {tmp_path}: process {program.pid}, http://127.0.0.1:3000." in refused.value.what
        assert "BACKUP_HOME=" in refused.value.do
        assert refused.value.exit_code == 11
        program.send_signal(signal.SIGKILL)
        program.wait(10)
        _, alive = psutil.wait_procs(members, timeout=20)
    assert alive == []
    with only_one(tmp_path, {}):
        pass


def test_the_guard_ends_those_who_do_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_guard, "_PATIENCE_S", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    with parent(deaf) as program:
        assert says(program) == ["up"]
        process_guard.end([program.pid])
        assert program.wait(5) == -signal.SIGKILL


def test_a_lock_that_outlives_its_program_says_that_it_is_being_ended(tmp_path: Path) -> None:
    with only_one(tmp_path, {}) as lock:
        (tmp_path / "up.lock").write_text('{"pid": 4194305}')  # beyond what the kernel gives
        again = os.dup(lock)
    try:
        (tmp_path / "up.lock").write_text('{"pid": 4194305}')
        with (
            pytest.raises(LockedError, match="was killed, and what it had started is still being ended"),
            only_one(tmp_path, {}),
        ):
            pass
    finally:
        os.close(again)


def test_logs_are_their_owner_s_and_do_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOG_LIMIT", 500)
    talks = "import time\nfor n in range(100): print('line', n, flush=True)\ntime.sleep(600)"
    with only_one(tmp_path, {}) as lock, family(tmp_path / "logs", lock) as running:
        child = running.start("child", [sys.executable, "-c", talks])
        log = tmp_path / "logs" / "child.log"
        until(lambda: b"line 99" in log.read_bytes(), 20)
        child.shorten_log()
        assert (log.read_bytes(), b"line 99" in (tmp_path / "logs" / "child.log.1").read_bytes()) == (b"", True)
        for path, mode in ((log, 0o600), (log.with_suffix(".log.1"), 0o600), (log.parent, 0o700)):
            assert stat.S_IMODE(path.stat().st_mode) == mode
    assert child.ended is not None


def test_where_the_ui_of_a_home_is_is_known_as_long_as_it_runs(tmp_path: Path) -> None:
    assert running_ui(tmp_path) is None
    with only_one(tmp_path, {"ui": "http://127.0.0.1:3100"}):
        assert running_ui(tmp_path) == "http://127.0.0.1:3100"
    assert running_ui(tmp_path) is None
