"""The owner of an attempt and its heartbeat."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.core.ledger import Owner, is_orphaned
from backup_pipeline.ledger import alive, this_owner
from backup_pipeline.operations.background import Heartbeat
from backup_pipeline.wiring.ports import is_alive_here
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger_of

OFTEN = timedelta(milliseconds=5)


class _CountingLedger(ScratchLedger):
    """A ledger that is away for its first `away` beats and tells when it was beaten `enough` times."""

    beats, away, enough = 0, 0, 3

    def __init__(self, url: str, **more: Any) -> None:
        super().__init__(url, **more)
        self.beaten_enough = threading.Event()

    def beat(self, backup_id: str, now: datetime) -> None:
        self.beats += 1
        if self.beats >= self.enough:
            self.beaten_enough.set()
        if self.beats <= self.away:
            raise LedgerUnavailableError("The ledger is away.", do="Wait.")
        super().beat(backup_id, now)


def _counting(*, away: int = 0, enough: int = 3) -> _CountingLedger:
    ledger = new_ledger_of(_CountingLedger)
    ledger.away, ledger.enough = away, enough
    return ledger


def _now() -> datetime:
    return datetime.now(UTC)


def test_a_process_of_another_container_is_never_looked_for_here() -> None:
    """It has this host's name and ids of its own: the node's network in Kubernetes, `hostname:` of Compose."""
    code = "from backup_pipeline.ledger import this_owner; o = this_owner(); print(o.host, o.pid, o.started); input()"
    contained = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(contained, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        host, _, rest = process.stdout.readline().partition(" ")
        if not rest:
            pytest.skip("no process may get process ids of its own here (unshare --pid)")
        pid, started = rest.split()
        owner = Owner(host, int(pid), float(started))
        assert host.startswith(f"{socket.gethostname()}/")
        assert not alive(owner)  # what the ids of this machine would say
        assert is_alive_here(owner)
        process.communicate("\n")


def test_a_heart_beats_again_and_again_with_the_clock_it_was_given() -> None:
    ledger = _counting()
    ledger.begin(attempt())
    times = iter(_now() + timedelta(days=day) for day in range(10**6))
    with Heartbeat(lambda: ledger.beat("b1", next(times)), "b1", every=OFTEN):
        assert ledger.beaten_enough.wait(5)
    row = ledger.get("b1")
    assert row is not None
    assert row.heartbeat_at is not None
    assert row.heartbeat_at > _now() + timedelta(days=1)


def test_it_goes_on_when_the_ledger_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    ledger = _counting(away=2, enough=4)
    ledger.begin(attempt())
    with caplog.at_level(logging.WARNING), Heartbeat(lambda: ledger.beat("b1", _now()), "b1", every=OFTEN):
        assert ledger.beaten_enough.wait(5)
    row = ledger.get("b1")
    assert row is not None
    assert row.heartbeat_at is not None
    assert caplog.text.count("The ledger is away.") == 2


def test_it_stops_when_there_is_no_such_row(caplog: pytest.LogCaptureFixture) -> None:
    ledger = _counting(enough=2)
    with Heartbeat(lambda: ledger.beat("b9", _now()), "b9", every=OFTEN):
        assert not ledger.beaten_enough.wait(0.2)
    assert "b9 is not in the ledger" in caplog.text


def test_leaving_does_not_wait_for_the_next_beat_and_ends_the_thread() -> None:
    ledger = _counting(enough=1)
    ledger.begin(attempt())
    started = time.monotonic()
    with Heartbeat(lambda: ledger.beat("b1", _now()), "b1", every=timedelta(hours=1)):
        assert ledger.beaten_enough.wait(5)
    assert time.monotonic() - started < 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heartbeat")]


def test_an_error_inside_the_context_comes_out_and_stops_the_heart() -> None:
    ledger = _counting()
    ledger.begin(attempt())
    with pytest.raises(ZeroDivisionError), Heartbeat(lambda: ledger.beat("b1", _now()), "b1", every=OFTEN):
        raise ZeroDivisionError
    count = ledger.beats
    assert not threading.Event().wait(0.05)
    assert ledger.beats == count


def test_an_end_inside_the_context_keeps_the_last_heartbeat() -> None:
    ledger = _counting()
    ledger.begin(attempt())
    with Heartbeat(lambda: ledger.beat("b1", _now()), "b1", every=OFTEN):
        ledger.end("b1", outcome())
        ended = ledger.get("b1")
        assert ledger.beaten_enough.wait(5)
    assert ledger.get("b1") == ended


def test_this_process_lives() -> None:
    assert alive(this_owner())


def test_another_process_with_the_same_pid_is_not_the_owner() -> None:
    me = this_owner()
    assert not alive(replace(me, started=me.started - 60))


def test_a_process_is_dead_once_killed_also_before_its_parent_has_noticed() -> None:
    program = (
        "from backup_pipeline.ledger import this_owner; o = this_owner(); print(o.pid, o.started, flush=True);"
        "import threading; threading.Event().wait()"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid, started = child.stdout.readline().split()
    owner = replace(this_owner(), pid=int(pid), started=float(started))
    try:
        assert alive(owner)
        child.kill()
        assert _dies(lambda: not alive(owner))  # a zombie now: nobody has waited for it
    finally:
        child.communicate()
    assert not alive(owner)
    running = attempt(owner=owner)
    assert is_orphaned(running, now=running.created_at, host=owner.host, alive=alive)


def _dies(dead: object) -> bool:
    pause = threading.Event()
    return any(dead() or pause.wait(0.02) for _ in range(250))  # type: ignore[operator]
