"""Child processes that end with this one, however it ends, and write into files under the home."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.demo.supervise import tied

_GUARD = Path(__file__).with_name("process_guard.py")
_STOPPED_WITHIN_S = 30.0
_LOG_LIMIT = 16 * 1024 * 1024


@dataclass
class Child:
    """A program of ours and its process; `name` is what people call it, and its log file.

    `former` are the process groups of earlier ones, which died and may have left children that go on, such as runs.
    """

    name: str
    command: Sequence[str]
    log: Path
    whole_group: bool = False
    process: subprocess.Popen[bytes] | None = None
    former: list[int] = field(default_factory=list)

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has ended."""
        return self.process.poll() if self.process else None

    def shorten_log(self) -> None:
        """Put a log that has grown too long aside, and go on with an empty one; the one before is let go."""
        with suppress(OSError):
            if self.log.stat().st_size > _LOG_LIMIT:
                # The child keeps its descriptor, which writes at the end, wherever that then is.
                before = self.log.with_suffix(".log.1")
                before.unlink(missing_ok=True)
                with _appending(before) as kept:
                    os.write(kept, self.log.read_bytes()[-_LOG_LIMIT:])
                os.truncate(self.log, 0)


@dataclass
class Family:
    """The children of this process, and the guard that ends them when this process can not."""

    logs: Path
    keep_open: int
    children: list[Child] = field(default_factory=list)
    _guard: subprocess.Popen[bytes] | None = None

    def start(self, name: str, command: Sequence[str], *, whole_group: bool = False) -> Child:
        """Start a program; with `whole_group` its own children are told to stop together with it."""
        child = Child(name, command, self.logs / f"{name}.log", whole_group)
        self.children.append(child)
        self.run(child)
        return child

    def run(self, child: Child) -> None:
        """Start a child's program, or start it again."""
        child.shorten_log()
        if child.process is not None:
            child.former.append(child.process.pid)
        with _appending(child.log) as log:
            child.process = subprocess.Popen(  # noqa: S603  # ours
                tied(child.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.guard(child.process.pid)

    def guard(self, group: int) -> None:
        """Have a process group ended when this process can not do it."""
        self._tell_guard(str(group))

    def stop(self) -> None:
        """End all of them, in the order in which they were started last."""
        for child in reversed(self.children):
            self._interrupt(child)
        for child in reversed(self.children):
            _end(child)
        if self._guard is not None:
            with suppress(OSError):
                self._tell_guard("done")
            if self._guard.stdin:
                self._guard.stdin.close()
            self._guard.wait()

    def begin(self) -> None:
        """Start the guard."""
        # It inherits the lock of the home, which is therefore not free before it has ended what was left.
        self._guard = subprocess.Popen(  # noqa: S603  # ours
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            pass_fds=[self.keep_open],
            start_new_session=True,
        )

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin:
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()

    def _interrupt(self, child: Child) -> None:
        if child.process is None:
            return
        for group in child.former:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGINT)
        with suppress(ProcessLookupError):
            if child.whole_group:
                os.killpg(child.process.pid, signal.SIGINT)
            else:
                child.process.send_signal(signal.SIGINT)


@contextmanager
def family(logs: Path, keep_open: int) -> Iterator[Family]:
    """Children that write into the folder `logs`; all are ended with the context. The guard keeps `keep_open` open."""
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.chmod(0o700)
    started = Family(logs, keep_open)
    started.begin()
    try:
        yield started
    finally:
        started.stop()


def listens(path: Path) -> bool:
    """Whether a server listens at the socket `path`."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end(child: Child) -> None:
    """Wait for the child; end its whole group when it takes too long, and whatever it left of the group."""
    if child.process is None:
        return
    groups = [*child.former, child.process.pid]
    try:
        child.process.wait(_STOPPED_WITHIN_S)
        for group in groups:
            _wait_for_group(group)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        child.process.wait()


def _wait_for_group(group: int) -> None:
    """A run in progress ends its SQL and writes its row before it goes."""
    deadline = time.monotonic() + _STOPPED_WITHIN_S
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
