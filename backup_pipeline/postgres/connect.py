"""One way to connect, for every process: the first connection finds the server, and all further ones go to that one.

Nothing is set before it is known that a session is one: a pooler in transaction or statement mode is refused, because
it hands what a session has set, and what it has locked, to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from backup_pipeline.postgres.endpoint import Endpoint
from backup_pipeline.postgres.patience import Patience

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
        if _asked(session, _WHO)["started"] != self.started:
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
    row = _asked(session, _WHO)
    # A server names its own process to whoever connects, a pooler or proxy makes a number up.
    relayed = row["pid"] != session.info.backend_pid
    reached = endpoint.at(session)
    if relayed and _is_shared(session, reached, connect_timeout_s):
        raise _pooled(reached)
    return Route(reached, row["started"], connect_timeout_s, relayed)


def _open(endpoint: Endpoint, role: str, connect_timeout_s: int) -> Session:
    conninfo = endpoint.conninfo(role, connect_timeout_s)
    return psycopg.connect(conninfo, autocommit=True, row_factory=dict_row, prepare_threshold=None)


def _asked(session: Session, sql: str) -> dict[str, Any]:
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
        pids = [{_asked(one, _WHO)["pid"] for _ in range(_LOOKS)} for one in (session, other, session)]
    finally:
        other.close()
    own = pids[0] | pids[2]
    return len(own) > 1 or len(pids[1]) > 1 or own == pids[1]


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
