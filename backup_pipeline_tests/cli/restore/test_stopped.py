"""Restores that are stopped: Ctrl-C and kill -9 leave the target as it was, and an honest row."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.cli.restore.conftest import Books, Target
from backup_pipeline_tests.environment import kept_environment
from backup_pipeline_tests.orchestration.installation import until


@contextmanager
def _held_up(installation: Installation, target: Target) -> Iterator[subprocess.Popen[str]]:
    """A restore in a process of its own that waits for a lock in the midst of its transaction."""
    # A shell that starts the tests in the background makes them, and all they start, deaf to Ctrl-C.
    hears = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{hears}; from backup_pipeline.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "restore", "latest", "--target-url", target.url]
    command += ["-T", "goods", "--mode", "replace", "--confirm", target.database]
    with psycopg.connect(target.url) as other:
        other.execute("LOCK TABLE goods IN SHARE MODE")
        process = subprocess.Popen(
            command,
            env={**kept_environment(), **installation.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: _waits(target), 60)
            yield process
        finally:
            process.kill()
            process.communicate()


def _waits(target: Target) -> bool:
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(target.rows(waiting))


def test_ctrl_c_stops_it_at_once(installation: Installation, damaged: Target, books: Books) -> None:
    with _held_up(installation, damaged) as process:
        assert books.newest().status is RestoreStatus.RUNNING
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
    assert damaged.counts() == (400, 0)
    assert books.newest().status is RestoreStatus.CANCELED
    assert "Traceback" not in out + err
    assert f"database {damaged.database} is as it was" in err


def test_what_was_killed_is_closed_by_the_next_restore(
    installation: Installation, damaged: Target, books: Books, run: Run
) -> None:
    with _held_up(installation, damaged) as process:
        process.kill()
        process.communicate()
        killed = books.newest()
        assert killed.status is RestoreStatus.RUNNING
    until(lambda: not _waits(damaged), 30)
    ended = run("restore", "latest", "--target-url", damaged.url, "-T", "goods", "--mode", "upsert")
    assert ended.code == 21  # it is not confirmed; but it has looked about first
    closed = run("restores", "show", str(killed.id))
    assert "ended without a word" in closed.out
    assert "failed" in closed.out
    assert damaged.counts() == (400, 0)


@pytest.mark.parametrize("at", ["plan", "confirm"])
def test_ctrl_c_before_it_begins_touches_nothing(
    run: Run, damaged: Target, books: Books, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place = "operations.restore.plan_request" if at == "plan" else "cli.restore.terminal.TerminalDoor.confirm"
    monkeypatch.setattr(f"backup_pipeline.{place}", stop)
    ended = run("restore", "latest", "--target-url", damaged.url, "-T", "goods", "--mode", "replace")
    assert ended.code == 130
    assert books.newest().status is RestoreStatus.CANCELED
    assert damaged.counts() == (400, 0)
