"""A real PostgreSQL for the tests: one server a test process, and an empty database for each test that asks."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

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
        with EmbeddedPostgres(home, options=THROWAWAY) as server:
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def temporary_database(server: EmbeddedPostgres, *, template: str | None = None) -> Iterator[str]:
    """The superuser's URL of a new database, which is dropped afterwards with whatever is connected to it.

    It is empty, or a copy of the database `template`, which nobody may be connected to.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    if template is None:
        server.ensure_database(name)
    else:
        copy_database(server, template, name)
    try:
        yield server.url(name)
    finally:
        drop_database(server, name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop the database with whatever is connected to it."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def copy_database(server: EmbeddedPostgres, template: str, name: str) -> None:
    """A copy of files, not by way of the log: half the time for a small database (some 25 ms)."""
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))
