"""Child processes that are never root and never outlive this one."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backup_pipeline.core.errors import BackupError

# No variable of ours reaches a child: PGDATA, PGPORT, LC_ALL and the like would change what it does.
CHILD_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_LAUNCHER = Path(__file__).with_name("launch.py")
# PostgreSQL's own scale: fast shutdown (clean), immediate (recovers at the next start), and the end.
_SHUTDOWN = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)


@dataclass(frozen=True)
class ProcessUser:
    """Whom a child runs as. `launch.py` says what the modes mean; uid and gid are those the child sees."""

    mode: Literal["keep", "mapped", "switched"]
    uid: int
    gid: int


@dataclass(frozen=True)
class Limits:
    """What a child may touch, where the kernel can hold it to that: paths to read, to run programs of, to write."""

    read: tuple[Path, ...] = ()
    run: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()

    def as_json(self) -> str:
        """As `launch.py` takes them."""
        return json.dumps({name: [str(path) for path in getattr(self, name)] for name in ("read", "run", "write")})


def choose_identity(program: Path) -> ProcessUser:
    """An identity under which `program` runs and PostgreSQL agrees to; BackupError when there is none.

    PostgreSQL wants a user who is not root and has a name. Everybody else is mapped to one, or, where the system
    forbids user namespaces, root switches to one. Whether an identity works is found out by running `program` in it.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return ProcessUser("keep", os.geteuid(), os.getegid())
    stand_in = _stand_in()
    reasons = []
    for mode in ("mapped", "switched") if os.geteuid() == 0 else ("mapped",):
        identity = ProcessUser(mode, stand_in.pw_uid, stand_in.pw_gid)
        tried = run_dependent([str(program), "--version"], identity)
        if tried.returncode == 0:
            return identity
        reasons.append(f"{mode}: {(tried.stderr.strip() or 'no reason given').splitlines()[-1]}")
    what = f"{program} can not be run as a user who is not root ({'; '.join(reasons)})"
    raise BackupError(
        what,
        do="Run as an ordinary user, or allow user namespaces, or put the program where every user may read it.",
    )


def run_dependent(
    command: Sequence[str], identity: ProcessUser, *, keep_open: Sequence[int] = (), timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end as `identity`, its output captured; it ends early when this process does."""
    return subprocess.run(  # noqa: S603 - the command is ours
        [*_launcher(identity), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=CHILD_ENVIRONMENT,
        pass_fds=keep_open,
        start_new_session=True,
        timeout=timeout,
        check=False,
    )


class Dependent:
    """A child process that gets SIGINT from the kernel when this process ends, however it ends (Linux).

    The kernel ties that signal to the *thread* that forked. So each child has a thread of its own, which forks it and
    then waits for it: it lives as long as the child does, whichever thread asked for the child. The child is the leader
    of its own session: Ctrl-C in the terminal reaches this process alone, which then decides.

    `exited` is set once the child has ended and was reaped; `pid` is the child's, also after the launcher's exec.
    """

    def __init__(
        self,
        command: Sequence[str],
        identity: ProcessUser,
        *,
        log: int,
        keep_open: Sequence[int] = (),
        limits: Limits | None = None,
    ) -> None:
        """Start `command` with its output going to the descriptor `log`; OSError when it can not be started."""
        self.exited = threading.Event()
        forked: Future[subprocess.Popen[bytes]] = Future()

        def host() -> None:
            try:
                process = subprocess.Popen(  # noqa: S603 - the command is ours
                    [*_launcher(identity, limits), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=CHILD_ENVIRONMENT,
                    pass_fds=keep_open,
                    start_new_session=True,
                )
            except BaseException as error:  # noqa: BLE001 - raised again by result(), in the thread that asked
                forked.set_exception(error)
                return
            forked.set_result(process)
            process.wait()
            self.exited.set()

        threading.Thread(target=host, name=f"host of {Path(command[0]).name}", daemon=True).start()
        self._process = forked.result()
        self.pid = self._process.pid

    def stop(self, patience: float = 30) -> bool:
        """End the child: fast, then immediate, then by force, `patience` seconds each. Returns whether it has ended."""
        for number in _SHUTDOWN:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            if self.exited.wait(patience):
                return True
        return False


def tied(command: Sequence[str]) -> list[str]:
    """`command` as a child that stays who this process is, and gets SIGINT when the thread that starts it ends (Linux).

    Start it from the main thread, which lives as long as the process does.
    """
    return [*_launcher(ProcessUser("keep", os.geteuid(), os.getegid())), *command]


def _launcher(identity: ProcessUser, limits: Limits | None = None) -> list[str]:
    who = [identity.mode, str(identity.uid), str(identity.gid), str(os.getpid())]
    return [sys.executable, "-I", "-S", str(_LAUNCHER), *who, limits.as_json() if limits else ""]


def stranger(program: Path, folder: Path) -> ProcessUser | None:
    """A user who owns nothing on this machine, for code of others: root's `nobody`; None where there is none.

    That user must be able to run `program` and to reach `folder`. `postgres` is no stranger: a server of this machine
    may run as that user, or let it in without a password.
    """
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        identity = ProcessUser("switched", nobody.pw_uid, nobody.pw_gid)
        reached = run_dependent(["/usr/bin/test", "-x", str(folder)], identity).returncode == 0
        if reached and run_dependent([str(program), "--version"], identity).returncode == 0:
            return identity
    return None


def _has_name(uid: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(uid).pw_name)
    return False


def _stand_in() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    for user in pwd.getpwall():
        if user.pw_uid != 0:
            return user
    what = "the system knows no user but root"
    raise BackupError(what, do="Add one, such as nobody: PostgreSQL refuses to be root.")
