"""Ledgers for tests: copies of one migrated database, dropped with the test, or the session, that asked for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString, TypeVar

import psycopg

from backup_pipeline.core.alerts import REMIND_EVERY
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.servers.postgres import copy_database, drop_database

Template = Callable[[], tuple[EmbeddedPostgres, str]]
"""The server, and the name of the database there that every ledger is a copy of."""

_MOVED = """
CREATE SCHEMA IF NOT EXISTS moved;
CREATE OR REPLACE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '{at}' $$;
"""


class ScratchLedger(SqlLedger):
    """The ledger in PostgreSQL, with what tests do to it besides."""

    def __init__(self, url: str, *, remind_every: timedelta = REMIND_EVERY) -> None:
        super().__init__(url, remind_every=remind_every)
        self.url = url

    def put(self, *rows: Attempt) -> None:
        """Write the rows as they are, whatever way they came to be so."""
        self.adopt(rows, [])

    def execute(self, query: LiteralString, parameters: Sequence[Any] = ()) -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.url) as session:
            session.execute(query, parameters)

    def set_clock(self, at: datetime) -> None:
        """Let the clock of the database stand at `at`; the first time has to be before the ledger is used."""
        with psycopg.connect(self.url) as session:
            session.execute(_MOVED.format(at=at.isoformat()).encode())
            [(statement,)] = session.execute(
                "SELECT format('ALTER DATABASE %I SET search_path = moved, pg_catalog, public', current_database())"
            ).fetchall()
            session.execute(statement)


L = TypeVar("L", bound=ScratchLedger)


@dataclass
class _Scope:
    """Ledgers that end together."""

    template: Template
    made: list[tuple[EmbeddedPostgres, str, ScratchLedger]] = field(default_factory=list)


_scopes: list[_Scope] = []


def new_ledger(*, remind_every: timedelta = REMIND_EVERY, at: datetime | None = None) -> ScratchLedger:
    """A new, empty ledger, its clock standing at `at` if that is given.

    It is dropped with the test that runs, or with the session where a fixture of a session or a module asks.
    """
    ledger = new_ledger_of(ScratchLedger, remind_every=remind_every)
    if at is not None:
        ledger.set_clock(at)
    return ledger


def new_ledger_of(kind: type[L], *, remind_every: timedelta = REMIND_EVERY) -> L:
    """As `new_ledger`, of a class whose methods count or fail."""
    scope = _scopes[-1]
    server, template = scope.template()
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    copy_database(server, template, name)
    ledger = kind(server.url(name), remind_every=remind_every)
    scope.made.append((server, name, ledger))
    return ledger


@contextmanager
def ledgers_of(template: Template, *, drop: bool = True) -> Iterator[None]:
    """Where `new_ledger` makes them; those made in this context are closed, and dropped if `drop`, at its end."""
    scope = _Scope(template)
    _scopes.append(scope)
    try:
        yield
    finally:
        _scopes.pop()
        for server, name, ledger in scope.made:
            ledger.close()
            if drop:
                drop_database(server, name)
