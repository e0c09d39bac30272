"""Child processes that end with this one, however it ends, and write into files under the home."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from backup_pipeline.core.errors import BackupError, LockedError, UsageError
from backup_pipeline.embedded.cluster import running as running_server
from backup_pipeline.embedded.cluster import tied

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
                with _appending(before) as former:
                    os.write(former, self.log.read_bytes()[-_LOG_LIMIT:])
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


_NAME = "up.lock"


@contextmanager
def only_one(home: Path, about: Mapping[str, Any]) -> Iterator[int]:
    """Hold the home; gives the descriptor of the lock, which a child that inherits it goes on holding.

    `about` is what a second one is told, beside the process id: addresses. LockedError when another holds it.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(home, _read(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), **about}).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def running_ui(home: Path) -> str | None:
    """Where the UI of the `up` is that runs in this home; None when none does."""
    with suppress(OSError):
        descriptor = os.open(home / _NAME, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            address = _read(descriptor).get("ui")
            return address if isinstance(address, str) else None
        finally:
            os.close(descriptor)
    return None


def _read(descriptor: int) -> Mapping[str, Any]:
    with suppress(ValueError):
        record = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(record, dict):
            return record
    return {}


def _held(home: Path, about: Mapping[str, Any]) -> LockedError:
    pid = about.get("pid")
    if isinstance(pid, int) and not _is_alive(pid):
        message = f"An `up` of {home} (process {pid}) was killed, and what it had started is still being ended."
        return LockedError(message, do="Start it again in some seconds.")
    where = f", {about['ui']}" if about.get("ui") else ""
    message = f"`up` runs already in {home}: process {pid or 'unknown'}{where}."
    do = (
        f"Use that one, or stop it: Ctrl-C in its terminal, or kill {pid or 'its process'}. A second one needs a home "
        "and ports of its own: BACKUP_HOME=/another/folder backup-pipeline up --port 3100 --console-port 3101."
    )
    return LockedError(message, do=do)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_READY_WITHIN_S = 180.0
_POLL_S = 0.25
_SHORTEN_EVERY_S = 60.0
_RESTARTS = 5
"""So often in _RESTARTS_WITHIN_S a code server or a console that ends by itself is started again."""
_RESTARTS_WITHIN_S = 300.0
# The path of a socket has at most 103 bytes on macOS, 107 on Linux.
_LONGEST_FOLDER = 90
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # names of it, not a bind

CODE, WEB, DAEMON, CONSOLE = "code", "web", "daemon", "console"
_NAMES = {CODE: "The code server", CONSOLE: "The console"}


@dataclass(frozen=True)
class Addresses:
    """Where the UI and the console listen."""

    host: str
    port: int
    console_port: int

    @property
    def ui(self) -> str:
        """The Dagster UI's address, for people on this machine."""
        return _url(self.host, self.port)

    @property
    def console(self) -> str:
        """The console's address, for people on this machine."""
        return _url(self.host, self.console_port)

    def check_free(self) -> None:
        """UsageError, with the option that chooses another, when somebody listens there."""
        refuse_taken_port(self.host, self.port)
        refuse_taken_port(self.host, self.console_port, option="--console-port")


@dataclass(frozen=True)
class Up:
    """Where `up` runs: its addresses, its home, and the descriptor of the home's lock."""

    addresses: Addresses
    home: Path
    lock: int

    @property
    def logs(self) -> Path:
        """The folder that its processes write into."""
        return self.home / "logs"


def run_dagster(up: Up, tell: Callable[[str], None], ready: Callable[[], None]) -> None:
    """Run everything until a signal or the end of one of them; then stop them all.

    `ready` is called when the UI answers. BackupError when one of them ends by itself, but for the code server and the
    console, which are started again.
    """
    stop, addresses = threading.Event(), up.addresses
    with _signals(stop), _code_socket(up.home) as (socket_path, workspace), family(up.logs, up.lock) as running:
        if (server := running_server(up.home / "postgres")) is not None and server.owner == os.getpid():
            running.guard(server.pid)
        code = running.start(CODE, _code_command(socket_path), whole_group=True)
        console = running.start(CONSOLE, _console_command(addresses))
        running.start(WEB, _web_command(addresses, workspace, socket_path))
        if _wait(running, stop, lambda: listens(socket_path), "The code server does not answer"):
            running.start(DAEMON, _daemon_command(workspace))
            if _wait(running, stop, lambda: _answers(f"{addresses.ui}/server_info"), f"{addresses.ui} does not answer"):
                ready()
                _watch(running, (code, console), stop, tell)
        ended = [child for child in running.children if child.ended is not None]
        if ended and not stop.is_set():
            raise _ended_by_itself(ended[0])
        tell("Stopping.")


def _watch(running: Family, again: Sequence[Child], stop: threading.Event, tell: Callable[[str], None]) -> None:
    """Return at a signal, or when a child ended that is not started `again`, or ended too often.

    What goes on does so in other processes: nobody's backup ends because a page's server did.
    """
    restarts: dict[str, list[float]] = {child.name: [] for child in again}
    shortened = time.monotonic()
    while not stop.wait(_POLL_S):
        now = time.monotonic()
        for child in running.children:
            if child.ended is None:
                continue
            lately = [at for at in restarts.get(child.name, ()) if now - at < _RESTARTS_WITHIN_S]
            if child not in again or len(lately) >= _RESTARTS:
                return
            restarts[child.name] = [*lately, now]
            tell(
                f"{_NAMES[child.name]} ended by itself, with code {child.ended}, and is started again. See {child.log}."
            )
            running.run(child)
        if now - shortened > _SHORTEN_EVERY_S:
            shortened = now
            for child in running.children:
                child.shorten_log()


def _wait(running: Family, stop: threading.Event, holds: Callable[[], bool], otherwise: str) -> bool:
    """Whether it comes to hold; False when a child ended or a signal came; BackupError when the time is up."""
    for _ in range(int(_READY_WITHIN_S / _POLL_S)):
        if holds():
            return True
        if stop.wait(_POLL_S) or any(child.ended is not None for child in running.children):
            return False
    message = f"{otherwise} within {_READY_WITHIN_S:.0f} s."
    raise BackupError(message, do=f"Read the logs in {running.logs}.")


def _ended_by_itself(child: Child) -> BackupError:
    message = f"The {child.name} process ended by itself, with code {child.ended}.{_last_words(child)}"
    return BackupError(message, do=f"Correct the cause and start again; the whole log is {child.log}.")


def _last_words(child: Child, lines: int = 8) -> str:
    with suppress(OSError):
        lines_of_log = child.log.read_bytes()[-8192:].decode(errors="replace").strip().splitlines()
        return "\nIts last words:\n" + "\n".join(f"  {line}" for line in lines_of_log[-lines:]) if lines_of_log else ""
    return ""


def _code_command(socket_path: Path) -> Sequence[str]:
    # It loads the code in a process of its own, and anew when somebody presses the UI's reload button.
    where = ["--socket", str(socket_path), "--location-name", "backup_pipeline"]
    return [sys.executable, "-m", "dagster", "code-server", "start", "-m", "backup_pipeline.definitions", *where]


def _web_command(addresses: Addresses, workspace: Path, socket_path: Path) -> Sequence[str]:
    where = ["--host", addresses.host, "--port", str(addresses.port), "--workspace", str(workspace)]
    return [sys.executable, "-m", "backup_pipeline.orchestration.web_server", *where, "--code-socket", str(socket_path)]


def _daemon_command(workspace: Path) -> Sequence[str]:
    script = Path(sysconfig.get_path("scripts")) / "dagster-daemon"
    return [sys.executable, str(script), "run", "--workspace", str(workspace)]


def _console_command(addresses: Addresses) -> Sequence[str]:
    where = ["--host", addresses.host, "--port", str(addresses.console_port)]
    return [sys.executable, "-m", "backup_pipeline.cli", "serve", *where]


@contextmanager
def _code_socket(home: Path) -> Iterator[tuple[Path, Path]]:
    """A path for the code server's socket, and the workspace that names it, in a folder that only we may enter.

    Whoever reaches a code server may run what they like in it: no port, which every user of the machine reaches.
    One server for web server and daemon: each would start one of its own, and the daemon a new one every minute.
    """
    with _private_folder(home) as folder:
        socket_path, workspace = folder / "code.sock", folder / "workspace.yaml"
        # JSON is YAML, and quotes whatever a path holds.
        server = {"socket": str(socket_path), "location_name": "backup_pipeline"}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
        yield socket_path, workspace


@contextmanager
def _private_folder(home: Path) -> Iterator[Path]:
    """`run` in the home, emptied; another one where the path of a socket would become too long for the system."""
    folder = home.resolve() / "run"
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        with tempfile.TemporaryDirectory(prefix="backup-up-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP set `stop`, also where a shell started us with SIGINT ignored."""

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answers(url: str) -> bool:
    with suppress(URLError, OSError), urlopen(url, timeout=2):  # noqa: S310  # http, and ours
        return True
    return False


def _url(host: str, port: int) -> str:
    name = _WILDCARDS.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def refuse_taken_port(host: str, port: int, *, option: str = "--port") -> None:
    """UsageError, naming the option that chooses another, when somebody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"Port {port} on {host} is not free: {error.strerror}."
            raise UsageError(message, do=f"Stop what uses it, or choose another with {option}.") from error
