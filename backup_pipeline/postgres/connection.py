"""The very libpq that psycopg uses: for compiled code that works on its connections, and for programs that lack TLS."""

from __future__ import annotations

import ctypes
import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from psycopg.rows import dict_row

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.text import is_unambiguous, redact, redact_url


@cache
def function_address(name: str) -> int:
    """The address of libpq's function `name`."""
    address = ctypes.cast(getattr(_libpq(), name), ctypes.c_void_p).value
    if address is None:
        message = f"libpq has no function {name}."
        raise LookupError(message)
    return address


def connection_address(connection: psycopg.Connection[Any]) -> int:
    """The address of libpq's connection (PGconn)."""
    address: int = connection.pgconn.pgconn_ptr  # type: ignore[attr-defined]  # every implementation of pq has it
    return address


@cache
def library_file() -> Path | None:
    """The file of that libpq, where a program can be started with it in place of its own: on Linux."""
    if sys.platform != "linux":
        return None
    where = _Place()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(function_address("PQconnectdbParams")), ctypes.byref(where)):
        return None
    path = Path(where.file.decode()).resolve()
    return path if path.is_file() and path.name.startswith("libpq") else None


class _Place(ctypes.Structure):
    """dladdr's Dl_info: the file that an address belongs to."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )
    file: bytes


@cache
def _libpq() -> ctypes.CDLL:
    if psycopg.pq.__impl__ == "binary":
        # Names are looked up in the extension module, then in what it was linked with.
        return ctypes.CDLL(import_module("psycopg_binary.pq").__file__)
    return ctypes.CDLL(psycopg.pq.misc.find_libpq_full_path() or "libpq.so.5")


_PATIENCE_S = 10.0
_FAILED, _READING, _WRITING, _OK = 0, 1, 2, 3  # libpq's PostgresPollingStatusType
_VERBOSE = 2  # libpq's PGVerbosity
# A server's severity and code, as libpq writes them at this verbosity: `FATAL:  28P01: password …`
_STATE = re.compile(r":  ([0-9A-Z]{5}): ")
# The severity has no spaces in it; what libpq says by itself has a single one behind its colon.
_ANSWERED = re.compile(r": [^\s:]+:  |^[^\s:]+:  ")


def server_answered(message: str) -> bool:
    """Whether the error of a connection holds the server's own words, as opposed to those of libpq or the network."""
    return bool(_ANSWERED.search(message))


def refusal_state(conninfo: str, patience_s: float = _PATIENCE_S) -> str:
    """The SQLSTATE with which the server refuses a connection; empty when it takes it, or none comes.

    A connection more is made for it, by libpq itself: only there can the code be asked for before the first answer.
    """
    start = _function("PQconnectStart", ctypes.c_void_p, ctypes.c_char_p)
    connection = start(conninfo.encode())
    if not connection:
        return ""
    try:
        _function("PQsetErrorVerbosity", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(connection, _VERBOSE)
        if _polled(connection, time.monotonic() + patience_s) != _FAILED:
            return ""
        message = _function("PQerrorMessage", ctypes.c_char_p, ctypes.c_void_p)(connection) or b""
    finally:
        _function("PQfinish", None, ctypes.c_void_p)(connection)
    states = _STATE.findall(message.decode(errors="replace"))
    return str(states[-1]) if states else ""


def _polled(connection: int, deadline: float) -> int:
    """How the connection came out; _WRITING when it took too long."""
    poll = _function("PQconnectPoll", ctypes.c_int, ctypes.c_void_p)
    descriptor = _function("PQsocket", ctypes.c_int, ctypes.c_void_p)
    state = _WRITING
    while state in {_READING, _WRITING}:
        socket, left = descriptor(connection), deadline - time.monotonic()
        if left <= 0:
            return _WRITING
        if socket >= 0:
            select.select([socket] if state == _READING else [], [socket] if state == _WRITING else [], [], left)
        state = poll(connection)
    return state


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(result, *arguments)(function_address(name))


_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
_SCHEMES = ("postgresql://", "postgres://")
# A peer that is gone without a word is noticed within a minute; the system's own patience is two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Those of libpq's parameters that nobody may see."""
# What says how a server is found and chosen: no question any more once one is reached.
_CHOOSING = {"service", "servicefile", "host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts"}
# libpq fills this in while it connects, though a list of its defaults has none.
_IMPLIED = {"sslcertmode": b"allow"}
_SERVICE = "service "
_EXAMPLE = "Write it as postgresql://user:password@host:5432/database; %-encode special characters of the password."


@dataclass(frozen=True)
class Endpoint:
    """A database and the role that reads it. Its text, `isp at db:5432 as app`, is fit for people.

    `address` is the URL that says where and as whom, and nothing else. `parameters` are libpq's, by name: what they
    leave open it takes from a service, the environment and its files, until `at` has fixed everything.
    """

    host: str
    port: str
    database: str
    user: str
    shown_url: str
    address: str
    parameters: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        if self.host.startswith(_SERVICE):
            return f"the database of {self.host}"
        return f"{self.database} at {self.host}:{self.port} as {self.user}"

    def conninfo(self, role: str, connect_timeout_s: int) -> str:
        """The libpq connection string of one connection; `role` says in the server's own views what it is for."""
        return make_conninfo(**{**self.parameters, **self._ours(role, connect_timeout_s)})

    def child_conninfo(self, role: str, connect_timeout_s: int) -> tuple[str, Mapping[str, str]]:
        """The connection string that may stand in a process list, and the secret parameters, which go another way.

        A program's libpq may be older than ours: what stands at its default is left out.
        """
        defaults = {option.keyword.decode(): option.compiled for option in Conninfo.get_defaults()}
        given = {k: v for k, v in self.parameters.items() if v.encode() != _IMPLIED.get(k, defaults.get(k))}
        public = {name: value for name, value in given.items() if name not in SECRET_PARAMETERS}
        hidden = {name: value for name, value in given.items() if name in SECRET_PARAMETERS}
        return make_conninfo(**{**public, **self._ours(role, connect_timeout_s)}), hidden

    def reached_by(self, connection: psycopg.Connection[Any]) -> Endpoint:
        """The endpoint that `connection` reached: its server and nothing left open, wherever it came from.

        Of several hosts, or addresses of one name, it is the one; the name stays, because certificates are for names.
        What a service, the environment and password files add is written out.
        """
        known = {option.keyword.decode(): option.val.decode() for option in connection.pgconn.info if option.val}
        info = connection.info
        parameters = {name: value for name, value in known.items() if name not in _CHOOSING}
        parameters |= {"host": info.host, "port": str(info.port), "target_session_attrs": "any"}
        parameters |= {"hostaddr": info.hostaddr} if info.hostaddr else {}
        parameters |= {"password": info.password} if info.password else {}
        if connection.pgconn.ssl_in_use and known.get("sslmode") in {"allow", "prefer"}:
            parameters["sslmode"] = "require"
        secrets = (*self.secrets, *(parameters[name] for name in SECRET_PARAMETERS if parameters.get(name)))
        return replace(
            self,
            host=info.host,
            port=str(info.port),
            database=info.dbname,
            user=info.user,
            parameters=parameters,
            secrets=tuple(dict.fromkeys(secrets)),
        )

    def _ours(self, role: str, connect_timeout_s: int) -> dict[str, str]:
        """What every connection has, beside what the URL says."""
        # Without client_encoding libpq would hand out the server's encoding, and Arrow would call it UTF-8.
        ours = {
            "application_name": application_of(role),
            "connect_timeout": str(connect_timeout_s),
            "client_encoding": "UTF8",
        }
        return ours | {name: str(value) for name, value in _KEEPALIVES.items() if name not in self.parameters}

    def redact(self, text: str) -> str:
        """`text` without anything secret of this endpoint."""
        return redact(text, *self.secrets)


def application_of(role: str) -> str:
    """What a connection of ours for `role` is called in the server's views."""
    return f"backup_pipeline {role}"


def parse_endpoint(url: str, *, name: str = "The source URL") -> Endpoint:
    """The endpoint of a `postgresql://` URL; SettingsError, without its password, when it is none.

    `name` is what people call the URL: the variable it stands in.
    """
    parts, shown = _taken_apart(url, name)
    known = {**_defaults(parts), **parts}
    service = f"{_SERVICE}{known['service']}" if "service" in known else ""
    return Endpoint(
        host=known.get("host") or known.get("hostaddr") or service or "the local socket",
        port=known.get("port") or "5432",
        database=known.get("dbname") or service or known.get("user") or "the default database",
        user=known.get("user") or service or "the default user",
        shown_url=shown,
        parameters=parts,
        address=_address(parts, known),
        secrets=tuple(parts[name] for name in SECRET_PARAMETERS if parts.get(name)),
    )


def _address(parts: Mapping[str, str], known: Mapping[str, str]) -> str:
    """The URL that says where and as whom, and nothing else; libpq understands it."""
    host, user = known.get("host") or known.get("hostaddr") or "", parts.get("user", "")
    name, place = quote(user, safe=""), f"[{host}]" if ":" in host else quote(host, safe=",")
    port = f":{known['port']}" if "port" in parts or known.get("port", "5432") != "5432" else ""
    database = quote(known.get("dbname") or user, safe="")
    service = f"?service={quote(known['service'], safe='')}" if "service" in known else ""
    return f"postgresql://{name}{'@' if user else ''}{place}{port}/{database}{service}"


def _defaults(parts: Mapping[str, str]) -> dict[str, str]:
    """What libpq would take from its environment for these parameters; a service's may be anything."""
    defaults = {option.keyword.decode(): option.val.decode() for option in Conninfo.get_defaults() if option.val}
    if "service" in parts or "service" in defaults:
        return {name: value for name, value in defaults.items() if name == "service"}
    return {name: value for name, value in defaults.items() if name in {"host", "hostaddr", "port", "dbname", "user"}}


def _taken_apart(url: str, name: str) -> tuple[dict[str, str], str]:
    """The parts of a URL, and how it may be shown."""
    if not url.startswith(_SCHEMES):
        scheme = _SCHEME.match(url)
        start = f"it starts with {scheme[1]!r}" if scheme else "it has no scheme"
        message = f"{name} is not a PostgreSQL URL: {start}."
        raise SettingsError(message, do=_EXAMPLE)
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
        shown = redact_url(url)
    except (Error, ValueError) as error:
        # What libpq quotes may be a piece of the password.
        reason = _QUOTED.sub('"…"', " ".join(str(error).split())).rstrip(".")
        message = f"{name} is malformed: {reason}."
        raise SettingsError(message, do=_EXAMPLE) from None
    if not is_unambiguous(url):
        message = f"{name} is malformed: its password holds a character that ends it."
        raise SettingsError(message, do=_EXAMPLE)
    # Of several hosts some may go without: `db1:5433,db2`.
    if not all(port.isdigit() or not port for port in parts.get("port", "0").split(",")):
        message = f"{name} is malformed: its port is not a number."
        raise SettingsError(message, do=_EXAMPLE)
    return parts, shown


_MOST_BEYOND_S = 30.0


class Patience:
    """How long one wait for a server may take, in seconds; 0: for ever.

    A server ends its statements in time by itself. This is for when no word of it arrives: a network, or a pooler, that
    stands still and keeps the connection open, on which the driver would wait for ever.
    """

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds

    @classmethod
    def beyond(cls, statement_timeout_s: float) -> Patience:
        """A little longer than the server lets a statement run, so that it is the first to say so."""
        return cls(statement_timeout_s + min(_MOST_BEYOND_S, statement_timeout_s))

    @contextmanager
    def waiting(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Cut `connection` when this lasts too long; what then fails is an OperationalError that says so."""
        if not self.seconds:
            yield
            return
        end = _End(connection)
        timer = threading.Timer(self.seconds, end.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except psycopg.Error as error:
            if not end.was_cut:
                raise
            message = f"no answer came within {self.seconds:g} s, and the connection was cut"
            raise psycopg.OperationalError(message) from error
        finally:
            timer.cancel()
            end.over()


class _End:
    """Cuts a connection's socket, from another thread, unless the wait for it is over."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._guard = threading.Lock()
        self._over = False
        self.was_cut = False

    def cut(self) -> None:
        """Whoever reads or writes there is told at once."""
        with self._guard, suppress(OSError, psycopg.Error):
            if not self._over:
                with socket.socket(fileno=os.dup(self._connection.fileno())) as end:
                    self.was_cut = True
                    end.shutdown(socket.SHUT_RDWR)

    def over(self) -> None:
        """From now on the connection is left alone."""
        with self._guard:
            self._over = True


Session = psycopg.Connection[dict[str, Any]]

# Everything in full, and the time as its bytes: at this point any setting may be in force.
_WHO = """SELECT pg_catalog.pg_backend_pid() AS pid,
pg_catalog.encode(pg_catalog.timestamptz_send(pg_catalog.pg_postmaster_start_time()), 'hex') AS started"""
# A server that lets somebody in and then says nothing for so long has no connection free behind its pooler.
_FIRST_ANSWER = Patience(30)
_LOOKS = 3


class UnsuitableConnectionError(psycopg.OperationalError):
    """A connection that was made and can not be used: `what` is wrong with it, and what to `do`."""

    def __init__(self, what: str, do: str) -> None:
        super().__init__(what)
        self.what = what
        self.do = do


@dataclass(frozen=True)
class Route:
    """The way to the one server that a first connection has reached.

    `started`, when that server was, tells it from every other one. `relayed`: a pooler or proxy stands before it,
    and gives each connection a session of its own.
    """

    endpoint: Endpoint
    started: str
    connect_timeout_s: int
    relayed: bool

    def connect(self, role: str) -> Session:
        """A further connection; UnsuitableConnectionError when another server answers. psycopg's errors."""
        session = _open(self.endpoint, role, self.connect_timeout_s)
        try:
            self._check(session)
        except BaseException:
            session.close()
            raise
        return session

    def _check(self, session: Session) -> None:
        if _row_of(session, _WHO)["started"] != self.started:
            what = f"Behind {self.endpoint} another server answered than the one that was reached first."
            do = "A balancer stands there, or the server was restarted: name one server in the URL, then run it again."
            raise UnsuitableConnectionError(what, do)


def first_connection(endpoint: Endpoint, role: str, connect_timeout_s: int) -> tuple[Session, Route]:
    """A connection in autocommit, and the way to more of them. psycopg's errors; nothing is set in the session yet.

    UnsuitableConnectionError when what answers is a pooler that does not keep a session together.
    """
    session = _open(endpoint, role, connect_timeout_s)
    try:
        return session, _route(session, endpoint, connect_timeout_s)
    except BaseException:
        session.close()
        raise


def _route(session: Session, endpoint: Endpoint, connect_timeout_s: int) -> Route:
    row = _row_of(session, _WHO)
    # A server names its own process to whoever connects, a pooler or proxy makes a number up.
    relayed = row["pid"] != session.info.backend_pid
    reached = endpoint.reached_by(session)
    if relayed and _is_shared(session, reached, connect_timeout_s):
        raise _pooled(reached)
    return Route(reached, row["started"], connect_timeout_s, relayed)


def _open(endpoint: Endpoint, role: str, connect_timeout_s: int) -> Session:
    conninfo = endpoint.conninfo(role, connect_timeout_s)
    return psycopg.connect(conninfo, autocommit=True, row_factory=dict_row, prepare_threshold=None)


def _row_of(session: Session, sql: str) -> dict[str, Any]:
    with _FIRST_ANSWER.waiting(session):
        [row] = session.execute(sql.encode()).fetchall()
    return row


def _is_shared(session: Session, endpoint: Endpoint, connect_timeout_s: int) -> bool:
    """Whether transactions of one client meet several server processes, or those of two clients the same one.

    In transaction mode the connection that was used last, or longest ago, comes next: two that ask in turn, several
    times each, either meet or change. In session mode each keeps its own.
    """
    other = _open(endpoint, "second look", connect_timeout_s)
    try:
        pids = [{_row_of(client, _WHO)["pid"] for _ in range(_LOOKS)} for client in (session, other, session)]
    finally:
        other.close()
    first_pids = pids[0] | pids[2]
    return len(first_pids) > 1 or len(pids[1]) > 1 or first_pids == pids[1]


def _pooled(endpoint: Endpoint) -> UnsuitableConnectionError:
    what = (
        f"A pooler stands before {endpoint} and gives each transaction whichever of its connections is free "
        "(transaction or statement mode): a snapshot and its settings need a session of their own. Nothing was set."
    )
    do = (
        "Name the server itself in the URL (PostgreSQL's own port is usually 5432), or a pool in session mode "
        "(pgbouncer: pool_mode = session); docs/connecting.md."
    )
    return UnsuitableConnectionError(what, do)
