"""Dagster's web server and daemon, and the console, as child processes: started, watched, and stopped together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen

from backup_pipeline.core.errors import BackupError, UsageError
from backup_pipeline.settings import PROJECT

_READY_WITHIN_S = 120.0
_STOPPED_WITHIN_S = 30.0
_POLL_S = 0.25

Child = subprocess.Popen[bytes]


def run_dagster(host: str, port: int, tell: Callable[[str], None], *, console_port: int) -> None:
    """Run web server, daemon and console on `host` until a signal or the end of one of them; then stop them all.

    BackupError when one of them ends by itself, UsageError when a port is taken.
    """
    refuse_taken_port(host, port)
    refuse_taken_port(host, console_port, option="--console-port")
    stop = threading.Event()
    with _signals(stop), _children([*_commands(host, port), _console(host, console_port)]) as children:
        tell("Starting Dagster.")
        if _wait_ready(host, port, children, stop):
            tell(f"Dagster UI: http://{host}:{port}  (Ctrl-C stops everything)")
            tell(f"Freshness: http://{host}:{console_port}/healthz/freshness")
            while not stop.wait(_POLL_S) and all(child.poll() is None for child in children):
                pass
        ended = [child for child in children if child.poll() is not None]
        if ended and not stop.is_set():
            message = f"A process ended by itself, with code {ended[0].returncode}: {_name(ended[0])}."
            raise BackupError(message, do="Read its last lines above, correct the cause, and start again.")
        tell("Stopping.")


def _name(child: Child) -> str:
    """What the child is: the module that it runs."""
    return str(child.args[2]) if isinstance(child.args, list) else str(child.args)


def _commands(host: str, port: int) -> Sequence[Sequence[str]]:
    file = PROJECT / "workspace.yaml"  # which a checkout has, and an installed package has not
    workspace = ["-w", str(file)] if file.is_file() else ["-m", "backup_pipeline.definitions"]
    return [
        [sys.executable, "-m", "dagster_webserver", "-h", host, "-p", str(port), *workspace],
        [sys.executable, "-m", "dagster._daemon", "run", *workspace],
    ]


def _console(host: str, port: int) -> Sequence[str]:
    return [sys.executable, "-m", "backup_pipeline.cli", "serve", "--host", host, "--port", str(port)]


@contextmanager
def _children(commands: Sequence[Sequence[str]]) -> Iterator[list[Child]]:
    """The commands, each in a process group of its own, so that Ctrl-C reaches them through us and in order."""
    children: list[Child] = []
    try:
        # extend, not a comprehension: what was started before one of them fails must be ended too
        children.extend(subprocess.Popen(command, start_new_session=True) for command in commands)  # noqa: S603  # ours
        yield children
    finally:
        for child in children:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)
        for child in children:
            _end(child)


def _end(child: Child) -> None:
    """Wait for the child; end its whole group when it takes too long, and whatever it left of the group."""
    try:
        child.wait(_STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`, also where a shell started us with SIGINT ignored."""

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_ready(host: str, port: int, children: Sequence[Child], stop: threading.Event) -> bool:
    """Whether the UI answers; False when a child ended, a signal came, or the time is up."""
    for _ in range(int(_READY_WITHIN_S / _POLL_S)):
        if stop.wait(_POLL_S) or any(child.poll() is not None for child in children):
            return False
        with suppress(URLError, OSError), urlopen(f"http://{host}:{port}/server_info", timeout=2):
            return True
    message = f"The Dagster UI does not answer on {host}:{port} within {_READY_WITHIN_S:.0f} s."
    raise BackupError(message, do="Read its last lines above.")


def refuse_taken_port(host: str, port: int, *, option: str = "--port") -> None:
    """UsageError, naming the option that chooses another, when somebody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"Port {port} on {host} is not free: {error.strerror}."
            raise UsageError(message, do=f"Stop what uses it, or choose another with {option}.") from error
