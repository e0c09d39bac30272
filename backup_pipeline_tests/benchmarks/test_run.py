"""Tests of a race with real processes: turns, medians, and contestants that do not arrive."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backup_pipeline_tests.orchestration.installation import until
from benchmarks.run import Arena, Contestant, ContestantError, Course, Lap, compete, run_once, timing

COURSE = Course("postgresql://me:s3cr3t@127.0.0.1/bench", "bench_bigint", 7)
SAY = "import json, sys; print(json.dumps({'seconds': 2.0, 'peak_mib': 9, 'rows': 7}))"


def contestant(name: str, program: str, *, peer: bool = True, slow: bool = False, limit_s: float = 30) -> Contestant:
    return Contestant(name, (sys.executable, "-c", program), "CSV", COURSE, peer=peer, slow=slow, limit_s=limit_s)


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(rounds=2, folder=tmp_path / "out", psql=Path("psql"))


def test_they_take_turns_and_a_slow_one_runs_once(arena: Arena, tmp_path: Path) -> None:
    log = tmp_path / "log"
    note = f"open({str(log)!r}, 'a').write('%s'); {SAY}"
    field = [
        contestant("ours", note % "o", peer=False),
        contestant("b", note % "b"),
        contestant("c", note % "c", slow=True),
    ]
    timings, absent = compete(field, arena)
    assert log.read_text() == "obcob"
    assert [(one.who, one.rounds, one.median, one.rows) for one in timings] == [
        ("ours", 2, 2.0, 7),
        ("b", 2, 2.0, 7),
        ("c", 1, 2.0, 7),
    ]
    assert absent == {}
    assert not arena.folder.exists()


def test_the_median_and_the_largest_peak_count() -> None:
    one = timing(contestant("a", SAY), [Lap(5.0, 10, 4.0), Lap(1.0, 30, 9.0, 7.5), Lap(2.0, 20, 3.0)])
    assert (one.median, one.fastest, one.slowest, one.peak_mib, one.rounds) == (2.0, 1.0, 5.0, 30, 3)
    assert (one.cpu_s, one.written_mib) == (4.0, 7.5)


def test_the_cpu_of_a_contestant_is_its_own_and_the_servers(arena: Arena) -> None:
    """This process stands for the server: it has worked before, which does not count."""
    said = SAY.replace("'rows'", "'cpu_s': 1.5, 'rows'").replace("import json", "import time, json")
    beside = replace(arena, postmaster=os.getpid())
    one = run_once(contestant("a", said), beside)
    assert one.cpu_s is not None
    assert 1.5 <= one.cpu_s < 3
    assert run_once(contestant("a", SAY), beside).cpu_s is None
    assert run_once(contestant("a", said), arena).cpu_s is None


def test_what_a_contestant_wrote_is_added_up(arena: Arena) -> None:
    program = f"import sys, pathlib; pathlib.Path(sys.argv[3], 'a').write_bytes(bytes(1048576)); {SAY}"
    assert run_once(contestant("a", program), arena).written_mib == 1.0


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit('no server at ' + sys.argv[1])", "no server at postgresql://me:***@127.0.0.1/bench"),
        ("pass", "it did not print its seconds, but ''"),
        ("import sys; sys.exit(3)", "it ended with code 3"),
        (SAY.replace("7", "6"), "exported 6 of the 7 rows"),
    ],
)
def test_a_peer_that_fails_is_absent_with_the_reason(arena: Arena, program: str, why: str) -> None:
    timings, absent = compete([contestant("peer", program), contestant("other", SAY)], arena)
    assert [one.who for one in timings] == ["other"]
    assert why in absent["peer"]
    assert "s3cr3t" not in absent["peer"]


def test_a_peer_that_takes_too_long_is_ended_with_all_it_started(arena: Arena, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = (
        "import subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
        f" open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    started = time.monotonic()
    timings, absent = compete([contestant("peer", program, limit_s=1)], arena)
    assert timings == ()
    assert "it took longer than 1 s" in absent["peer"]
    assert time.monotonic() - started < 20
    until(lambda: not psutil.pid_exists(int(pid.read_text())) or _zombie(int(pid.read_text())), 10)


def _zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_ours_may_not_fail(arena: Arena) -> None:
    with pytest.raises(ContestantError, match="ours on bench_bigint: no"):
        compete([contestant("ours", "import sys; sys.exit('no')", peer=False)], arena)
