"""A PostgreSQL server of our own: for trying, drills and tests. It never outlives the program that started it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from psycopg import sql

from backup_pipeline.core.errors import BackupError, LockedError, UsageError
from backup_pipeline.core.text import redact
from backup_pipeline.embedded.cluster import (
    LOOPBACK,
    SUPERUSER,
    Connection,
    Dependent,
    Home,
    Limits,
    ProcessUser,
    choose_identity,
    hand_over,
    open_lock,
    open_log,
    prepare,
    read_connection,
    running,
    try_lock,
    write_connection,
)
from backup_pipeline.postgres.programs import Binaries, find_binaries

__all__ = ["Connection", "EmbeddedPostgres", "Enclosure", "running"]

DEFAULTS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_OURS = ("data_directory", "listen_addresses", "port", "unix_socket_directories", "logging_collector")
_POLL_SECONDS = 0.02
_PORT_ATTEMPTS = 3
_SOCKET_PORT = 5432
"""A part of the socket's name."""


@dataclass(frozen=True)
class Enclosure:
    """Where a server is kept in that runs code of others: the folder of its only socket, and what it may touch.

    Its data and the socket are added to `limits`. The folder's path must be short: the system allows some 90 letters.
    """

    socket: Path
    limits: Limits | None = None


class EmbeddedPostgres:
    """A PostgreSQL server whose data, log and password live in `home`; also a context manager.

    It listens on 127.0.0.1 only, on a port of its own, and wants a password (SCRAM). The first start makes the data
    directory (about a second); later ones reuse it and recover from a crash. When a server of that home already runs,
    `start` attaches to it, and `stop` leaves it to the program that started it. A server ends with the program that
    started it, also when that is killed (Linux). `options` are server settings on top of DEFAULTS, such as
    `{"fsync": "off"}`; an attached server keeps its own. `identity` is found out when it is not given. With an
    `enclosure` it does not listen on the network at all.
    """

    def __init__(
        self,
        home: Path,
        binaries: Binaries | None = None,
        options: Mapping[str, str] | None = None,
        *,
        identity: ProcessUser | None = None,
        enclosure: Enclosure | None = None,
        timeout: float = 60,
    ) -> None:
        """Name the server; nothing is started. `timeout` (seconds) bounds start, crash recovery included."""
        self._home = Home(home.resolve())
        self._binaries = binaries
        self._options = {**DEFAULTS, **(options or {})}
        self._identity = identity
        self._socket = enclosure.socket if enclosure else None
        self._limits = enclosure.limits if enclosure else None
        self._timeout = timeout
        self._child: Dependent | None = None
        self._connection: Connection | None = None
        if refused := sorted(set(self._options) & set(_OURS)):
            what = f"the embedded server decides {', '.join(refused)} itself"
            raise UsageError(what, do="Leave these options out.")

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def connection(self) -> Connection:
        """How to reach the server; UsageError before start and after stop."""
        if self._connection is None:
            what = f"the embedded server of {self._home.path} is not started"
            raise UsageError(what, do="Call start() first.")
        return self._connection

    @property
    def attached(self) -> bool:
        """Whether the server belongs to another program, and `stop` therefore leaves it running."""
        return self._connection is not None and self._child is None

    def url(self, database: str, user: str = SUPERUSER, *, password: str | None = None) -> str:
        """The libpq URL of `database`, by 127.0.0.1 or by the socket; without `password`, the superuser's."""
        return self.connection.url(database, user, password=password)

    def ensure_database(self, name: str) -> None:
        """Create the database `name` unless it exists."""
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        with psycopg.connect(self.url("postgres"), autocommit=True) as session:
            if session.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                return
            # Two programs may create it at once; the catalog's unique index lets one of them win.
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                session.execute(create)

    def start(self) -> None:
        """Start the server, or attach to the one that runs; return when it accepts connections.

        BackupError with the log's last lines when the server ends instead; LockedError when a server of this home is
        alive but does not answer in time. After an error nothing is left running.
        """
        if self._child and self._ready(self.connection, self._child):
            return
        self.stop()  # Forget a server that has died, or that is another program's and may have.
        self._home.make()
        with open_lock(self._home) as lock:
            self._connection = self._lock_or_attach(lock)
            if self._connection is None:
                self._start_own(lock)

    def stop(self) -> None:
        """Shut down a server that is ours (fast, then harder; bounded) and wait for its end; detach from another's."""
        child, self._child = self._child, None
        connection, self._connection = self._connection, None
        if child is None:
            return
        # A server that died may have a successor by now, started by another program.
        if connection == read_connection(self._home):
            self._home.connection.unlink(missing_ok=True)
        if not child.stop():
            what = f"the server (pid {child.pid}) does not end"
            raise BackupError(what, do=f"Read {self._home.log}; end it by hand.")

    def _lock_or_attach(self, lock: int) -> Connection | None:
        """The server that already runs; None once the home is locked and this program is the one to start it."""
        deadline = time.monotonic() + self._timeout
        while not try_lock(lock):
            if connection := running(self._home.path):
                return connection
            if time.monotonic() > deadline:
                what = f"a server of {self._home.path} is alive but did not answer within {self._timeout:g} s"
                raise LockedError(what, do=f"Read {self._home.log}; end its process if it hangs.")
            time.sleep(_POLL_SECONDS)  # nothing announces that a lock is free or that another's server is ready
        return None

    def _start_own(self, lock: int) -> None:
        self._home.connection.unlink(missing_ok=True)
        binaries = self._binaries or find_binaries()
        identity = self._identity or choose_identity(binaries.tool("postgres"))
        prepare(self._home, binaries, identity, lock=lock, durable=self._options["fsync"] != "off")
        if self._socket:
            hand_over(self._socket, identity)
        try:
            self._connection = self._launch(str(binaries.tool("postgres")), identity, lock)
            self._home.port.write_text(str(self._connection.port))
            write_connection(self._home, self._connection)
        except BaseException:
            self.stop()
            raise

    def _launch(self, program: str, identity: ProcessUser, lock: int) -> Connection:
        password = self._home.password.read_text()
        for attempt in range(_PORT_ATTEMPTS):
            port = _free_port(_last_port(self._home) if attempt == 0 else 0) if self._socket is None else _SOCKET_PORT
            with open_log(self._home) as log:
                begin = self._home.log.stat().st_size
                command = [program, "-D", str(self._home.data), *self._settings(port)]
                self._child = Dependent(command, identity, log=log, keep_open=(lock,), limits=self._own_limits())
            host, pid = str(self._socket or LOOPBACK), self._child.pid
            connection = Connection(host, port, pid, _created(pid), os.getpid(), password)
            if self._ready(connection, self._child):
                return connection
            log_text = self._home.log.read_bytes()[begin:].decode(errors="replace").strip()
            # Somebody may take the port between our look at it and the server's.
            if "could not create any TCP/IP sockets" not in log_text:
                break
        what = f"the PostgreSQL server of {self._home.path} did not start: {redact(_tail(log_text), password)}"
        raise BackupError(what, do=f"Correct the cause; the whole log is {self._home.log}.")

    def _own_limits(self) -> Limits | None:
        if self._limits is None:
            return None
        own = (self._home.data, *((self._socket,) if self._socket else ()))
        return replace(self._limits, write=(*self._limits.write, *own))

    def _settings(self, port: int) -> list[str]:
        where = ("", str(self._socket)) if self._socket else (LOOPBACK, "")
        fixed = {"listen_addresses": where[0], "port": str(port), "unix_socket_directories": where[1]}
        settings = {**self._options, **fixed, "logging_collector": "off"}
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _ready(self, connection: Connection, child: Dependent) -> bool:
        """Wait until the server accepts; False when it has ended or the time is up (then it is stopped)."""
        deadline = time.monotonic() + self._timeout
        while not child.exited.wait(_POLL_SECONDS):
            if _announced(self._home) and connection.accepts():
                return True
            if time.monotonic() > deadline:
                child.stop()
        return False


def _announced(home: Home) -> bool:
    """Whether the server says in its pid file that it is ready: asking earlier would fill the log with refusals."""
    with suppress(OSError):
        return (home.data / "postmaster.pid").read_text().rstrip().endswith("ready")
    return False


def _created(pid: int) -> float:
    with suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return 0.0


def _last_port(home: Home) -> int:
    with suppress(OSError, ValueError):
        return int(home.port.read_text())
    return 0


def _free_port(wanted: int) -> int:
    """`wanted` when nobody listens there, else (and for 0) a port the system picks."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except (OSError, OverflowError):
            probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.splitlines()[-lines:]) or "it said nothing"
