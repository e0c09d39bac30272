"""A real PostgreSQL for the tests: one server a test process, and an empty database for each test that asks."""

from __future__ import annotations

import shutil
import uuid
import weakref
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from backup_pipeline.embedded import EmbeddedPostgres

# Quick instead of durable: the data never outlives the tests.
THROWAWAY: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


@contextmanager
def throwaway_server(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server in `home`, stopped at the end, its data removed.

    Each xdist worker has one of its own: a shared one would end with whichever worker started it, while others still
    use it. Should a worker be killed, the kernel ends its server.
    """
    try:
        with EmbeddedPostgres(home, options={**THROWAWAY, "scram_iterations": "1"}) as server:
            _hash_less(server)
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _hash_less(server: EmbeddedPostgres) -> None:
    """Keep the superuser's password with the server's few iterations: each connection counts those of initdb again."""
    password = psycopg.conninfo.conninfo_to_dict(server.url("postgres"))["password"]
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(password)))


@contextmanager
def temporary_database(server: EmbeddedPostgres, *, template: str | None = None) -> Iterator[str]:
    """The superuser's URL of a new database, which is dropped afterwards with whatever is connected to it.

    It is empty, or a copy of the database `template`, which nobody may be connected to.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(server, template or "template1", name)
    try:
        yield server.url(name)
    finally:
        drop_database(server, name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop the database with whatever is connected to it."""
    _superuser(server).execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def copy_database(server: EmbeddedPostgres, template: str, name: str) -> None:
    """A copy of files, not by way of the log: half the time for a small database (some 25 ms)."""
    session = _superuser(server)
    files = sql.SQL("STRATEGY FILE_COPY" if session.info.server_version >= 150000 else "")
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}")
    session.execute(copy.format(sql.Identifier(name), sql.Identifier(template), files))


_sessions: MutableMapping[EmbeddedPostgres, psycopg.Connection[TupleRow]] = weakref.WeakKeyDictionary()


def _superuser(server: EmbeddedPostgres) -> psycopg.Connection[TupleRow]:
    """A session in the database `postgres` that is kept with its server: to connect costs as much as to copy."""
    session = _sessions.get(server)
    if session is None or not _answers(session):
        session = psycopg.connect(server.url("postgres"), autocommit=True)
        weakref.finalize(server, session.close)
        _sessions[server] = session
    return session


def _answers(session: psycopg.Connection[TupleRow]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False  # the server was started again meanwhile
    return True
