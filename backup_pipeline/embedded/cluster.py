"""The home of an embedded PostgreSQL on disk, and its child processes: never root, never alive longer than this one.

<home>/server.lock       held by the server and its children for as long as one of them lives
<home>/cluster/data      the data directory
<home>/cluster/password  the superuser's password
<home>/<role>.password   that of a role of the demo, where it has one
<home>/connection.json   how to reach the server; there while it runs
<home>/port              the port it last had
<home>/server.log
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg.pq import Conninfo

from backup_pipeline.core.errors import BackupError, LockedError, SettingsError
from backup_pipeline.core.text import redact
from backup_pipeline.postgres.programs import Binaries

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


SUPERUSER = "postgres"
_LOG_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Home:
    """The paths of one embedded server. Nothing is read or made by naming them."""

    path: Path

    @property
    def cluster(self) -> Path:
        """What initdb makes and every later start needs: renamed into place in one step."""
        return self.path / "cluster"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.cluster / "data"

    @property
    def password(self) -> Path:
        """The file with the superuser's password."""
        return self.cluster / "password"

    def role_password(self, role: str) -> Path:
        """The file with the password of a role of the demo."""
        return self.path / f"{role}.password"

    @property
    def connection(self) -> Path:
        """How to reach the running server."""
        return self.path / "connection.json"

    @property
    def port(self) -> Path:
        """The file with the port of the last start."""
        return self.path / "port"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.path / "server.log"

    def make(self) -> None:
        """Make the directory, for its owner only."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)


@contextmanager
def open_lock(home: Home) -> Iterator[int]:
    """The descriptor of the home's lock file. Closing it lets go, unless a child has inherited it."""
    descriptor = os.open(home.path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Whether the home is now ours: nobody starts a server here, and no process of an earlier one is left.

    The server inherits the descriptor, and with it the lock. The kernel therefore knows exactly whether any of its
    processes is alive, whatever became of pid files, of the process that started it, or of a pid that was given anew.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def open_log(home: Home) -> Iterator[int]:
    """The descriptor of the log, at its end; a log that has grown too long is put aside first."""
    with suppress(FileNotFoundError):
        if home.log.stat().st_size > _LOG_LIMIT:
            home.log.replace(home.log.with_suffix(".log.1"))
    descriptor = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def prepare(home: Home, binaries: Binaries, identity: ProcessUser, *, lock: int, durable: bool = True) -> None:
    """Leave `home` with a whole data directory that a server can be started on. Needs the lock.

    SettingsError when the data belongs to another major version; LockedError when a server that was started by other
    means runs on it.
    """
    for leftover in home.path.glob("cluster.*"):
        shutil.rmtree(leftover)
    if identity.mode == "switched":
        home.path.chmod(0o711)  # the other user has to get through; what lies inside is closed by itself
    if not home.data.exists():
        _initialise(home, binaries, identity, lock=lock, durable=durable)
    version = int((home.data / "PG_VERSION").read_text())
    if version != binaries.version:
        what = f"{home.data} was made by PostgreSQL {version}; the binaries are {binaries.version} ({binaries.bindir})"
        raise SettingsError(what, do=f"Choose another directory, or binaries of PostgreSQL {version}.")
    hand_over(home.cluster, identity)
    _clear_pid_file(home)


def _initialise(home: Home, binaries: Binaries, identity: ProcessUser, *, lock: int, durable: bool) -> None:
    staging = Path(tempfile.mkdtemp(prefix="cluster.", dir=home.path))
    password = staging / "password"
    password.touch(0o600)
    password.write_text(secrets.token_urlsafe(24))
    (staging / "data").mkdir(0o700)
    hand_over(staging, identity)
    command = [
        str(binaries.tool("initdb")),
        f"--pgdata={staging / 'data'}",
        f"--username={SUPERUSER}",
        "--auth=scram-sha-256",
        f"--pwfile={password}",
        "--encoding=UTF8",
        *_locale(binaries.version),
        *([] if durable else ["--no-sync"]),
    ]
    done = run_dependent(command, identity, keep_open=(lock,))
    if done.returncode != 0:
        shutil.rmtree(staging, ignore_errors=True)
        message = redact((done.stderr or done.stdout).strip()) or f"no message, exit {done.returncode}"
        what = f"initdb failed in {home.path}: {message}"
        reach = f"Every directory above {home.path} must let other users pass. " if identity.mode == "switched" else ""
        raise BackupError(what, do=f"{reach}Correct the cause, then start again.")
    staging.rename(home.cluster)


def _locale(version: int) -> list[str]:
    # Locale C exists everywhere, C.UTF-8 does not; from 17 on PostgreSQL brings its own Unicode rules.
    return ["--locale=C", *(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if version >= 17 else [])]


def hand_over(directory: Path, identity: ProcessUser) -> None:
    """Give `directory` to the user the server runs as: PostgreSQL refuses data that belongs to another."""
    owner = identity.uid if identity.mode == "switched" else os.geteuid()
    if directory.stat().st_uid == owner:
        return
    for path in [*directory.rglob("*"), directory]:
        os.chown(path, owner, -1, follow_symlinks=False)


def _clear_pid_file(home: Home) -> None:
    """Remove the pid file of a server that was killed.

    PostgreSQL itself would refuse to start while that pid is a zombie, or belongs to somebody new. Its processes all
    work in the data directory, which says who lives there better than a file that may be half written.
    """
    pid_file = home.data / "postmaster.pid"
    if not pid_file.exists():
        return
    for process in psutil.process_iter(["pid", "cwd"]):
        if process.info["cwd"] == str(home.data):
            what = f"a process (pid {process.info['pid']}) that was started by other means runs in {home.data}"
            raise LockedError(what, do="Stop it, or choose another directory.")
    pid_file.unlink()


LOOPBACK = "127.0.0.1"
# Two readings of one process's start may differ when the clock is set between them.
_SAME_START_SECONDS = 5.0


@dataclass(frozen=True)
class Connection:
    """Address, process and superuser of a running server.

    `host` is an address, or the folder of the server's socket. `pid` is the server's and `created` that process's
    start, in epoch seconds; `owner` is the pid of the program that started it and will end it.
    """

    host: str
    port: int
    pid: int
    created: float
    owner: int
    password: str = field(repr=False)
    superuser: str = SUPERUSER

    def url(self, database: str, user: str = SUPERUSER, *, password: str | None = None) -> str:
        """The libpq URL of `database`. Without `password` the superuser's is used, whoever `user` is."""
        secret = self.password if password is None else password
        names = [quote(part, safe="") for part in (user, secret, database)]
        by_socket = self.host.startswith("/")
        place = "" if by_socket else f"{self.host}:{self.port}"
        parameters = {"host": self.host, "port": str(self.port)} if by_socket else {}
        parameters |= _against_environment("" if by_socket else self.host)
        query = f"?{urlencode(parameters, safe='/', quote_via=quote)}" if parameters else ""
        return f"postgresql://{names[0]}:{names[1]}@{place}/{names[2]}{query}"

    def accepts(self) -> bool:
        """Whether the server lets the superuser in. SCRAM proves both sides: a stranger on that port does not pass."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5, require_auth="scram-sha-256").close()
        except psycopg.OperationalError:
            return False
        return True


def _against_environment(address: str) -> dict[str, str]:
    """Parameters against PG* variables that are meant for another server: those that would lead elsewhere, or fail.

    `address` is the server's; empty: it is reached by a socket.
    """
    ours = {
        "hostaddr": address,
        "sslmode": "disable",
        "sslnegotiation": "postgres",
        "sslcertmode": "disable",
        "gssencmode": "disable",
        "channel_binding": "disable",
        "require_auth": "scram-sha-256",
        "target_session_attrs": "any",
        "options": "",
    }
    given = {option.keyword.decode(): option for option in Conninfo.get_defaults()}
    foreign = (name for name in ours if name in given and given[name].val not in {None, b"", given[name].compiled})
    return {name: ours[name] for name in foreign}


def running(home: Path) -> Connection | None:
    """The server that runs in `home` now and accepts connections, whoever started it; None when there is none."""
    connection = read_connection(Home(home.resolve()))
    if connection and _alive(connection) and connection.accepts():
        return connection
    return None


def read_connection(home: Home) -> Connection | None:
    """What `connection.json` says, true or stale; None when it is absent or not whole."""
    with suppress(OSError, ValueError, TypeError):
        return Connection(**json.loads(home.connection.read_text()))
    return None


def read_role_password(home: Path, role: str) -> str | None:
    """The password of a role of the demo; None where it has none of its own."""
    with suppress(FileNotFoundError):
        return Home(home.resolve()).role_password(role).read_text()
    return None


def make_role_password(home: Path, role: str) -> str:
    """A new password, made at random, in a file that only its owner may read. FileExistsError where one is there."""
    password = secrets.token_urlsafe(24)
    path = Home(home.resolve()).role_password(role)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    return password


def remove_role_password(home: Path, role: str) -> None:
    """Remove that file, as the demo was not made."""
    Home(home.resolve()).role_password(role).unlink(missing_ok=True)


def write_connection(home: Home, connection: Connection) -> None:
    """Write `connection.json`, readable by its owner alone, under its name only when whole."""
    draft = home.connection.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(connection), file)
    draft.replace(home.connection)


def _alive(connection: Connection) -> bool:
    """Whether that very process lives, and its program too: a server whose parent has changed is about to end."""
    with suppress(psutil.Error):
        server = psutil.Process(connection.pid)
        same = abs(server.create_time() - connection.created) < _SAME_START_SECONDS
        return same and server.ppid() == connection.owner
    return False
