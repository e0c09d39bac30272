"""The restore target: one connection to a database, and the transaction in which tables are made, filled or merged.

Rows come in by COPY, counted by the server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import psycopg

from backup_pipeline.core.errors import BackupError, CanceledError, LockedError, PreflightRefusedError, TargetError
from backup_pipeline.core.ports import PageWritten, Progress, Silence, StageStarted, TableFinished, TableStarted
from backup_pipeline.core.restore import Action, Name, RestorePlan, TableReport, TableRestore, TargetFacts
from backup_pipeline.core.restore.columns import NUMBER, differs
from backup_pipeline.postgres.connection import Endpoint, first_connection, parse_endpoint
from backup_pipeline.postgres.restore import queries as target_queries
from backup_pipeline.postgres.restore import sql
from backup_pipeline.postgres.restore.merge import Counters, Guards, Merged, Staged, check_keys, kinds_of, merge
from backup_pipeline.postgres.restore.queries import (
    TargetConnection,
    as_target_errors,
    connect_error,
    facts,
    oids_of,
    own_rows,
    target_error,
)
from backup_pipeline.postgres.restore.sql import copy_sql, fill_sql, run_patiently
from backup_pipeline.postgres.session import (
    WRITING,
    apply_sql,
    identifier,
    literal,
    refuse_replica,
    relation_sql,
    timeouts,
)

_NUMBERS = "restore_numbers"
_TYPE = """
SELECT format_type(a.atttypid, a.atttypmod) AS pg_type FROM pg_attribute a
WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s"""
Rows = Callable[[TableRestore], Iterable[bytes]]
_DEFAULT = """
SELECT pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_attribute a
JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s"""


def load(work: TargetConnection, table: TableRestore, into: str, rows: Rows, *, freeze: bool) -> int:
    """COPY the backup's rows of `table` into the relation `into`; how many the server says it took.

    TargetError when that is not what the manifest says.
    """
    work.progress.tell(TableStarted(table.name, table.rows_in_backup))
    statement = copy_sql(into, (column.target for column in table.columns), binary=table.binary, freeze=freeze)
    try:
        with work.connection.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                for chunk in rows(table):
                    copy.write(chunk)
                    work.progress.tell(PageWritten(table.name, 0, len(chunk)))
            taken = cursor.rowcount
    except psycopg.Error as error:
        raise target_error(error, work.endpoint, f"loading {table.target_name}") from error
    if taken != table.rows_in_backup:
        message = f"{taken:,} rows of {table.name} were loaded; the manifest says {table.rows_in_backup:,}."
        raise TargetError(message, do="The target is as it was. Run `backup-pipeline verify`; use another backup.")
    return taken


def load_in_place(work: TargetConnection, table: TableRestore, rows: Rows, *, freeze: bool) -> int:
    """COPY straight into the target's table; values for columns that the backup has not are defaults meanwhile."""
    target = relation_sql(table.target)
    before = {column: _default(work, table, column) for column in table.filled}
    if numbered := any(NUMBER in value for value in table.filled.values()):
        work.run(f"CREATE TEMPORARY SEQUENCE {_NUMBERS}", "numbering new rows")
    for column, value in table.filled.items():
        filled = fill_sql(value, f"nextval('pg_temp.{_NUMBERS}')")
        _set_default(work, target, column, f"{filled}::{_type(work, table, column)}" if differs(value) else filled)
    taken = load(work, table, target, rows, freeze=freeze)
    for column, expression in before.items():
        _set_default(work, target, column, expression)
    if numbered:
        work.run(f"DROP SEQUENCE pg_temp.{_NUMBERS}", "numbering new rows")
    return taken


def _type(work: TargetConnection, table: TableRestore, column: str) -> str:
    """The column's type, as SQL: a text that is computed does not become it by itself."""
    [row] = work.rows(_TYPE, {"table": relation_sql(table.target), "column": column})
    return str(row["pg_type"])


def _default(work: TargetConnection, table: TableRestore, column: str) -> str | None:
    rows = work.rows(_DEFAULT, {"table": relation_sql(table.target), "column": column})
    return rows[0]["expression"] if rows else None


def _set_default(work: TargetConnection, target: str, column: str, expression: str | None) -> None:
    how = f"SET DEFAULT {expression}" if expression is not None else "DROP DEFAULT"
    work.run(f"ALTER TABLE {target} ALTER COLUMN {identifier(column)} {how}", f"filling column {column}")


# For the transaction alone. Definitions name everything in full; functions may name what is not there yet.
_SETTINGS = """
SET LOCAL check_function_bodies = off; SET LOCAL client_min_messages = warning;
SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL work_mem = '64MB'; SET LOCAL synchronize_seqscans = off"""
# It holds locks while other connections work: a machine that is gone without a word must not hold them for hours, and
# no limit of the server's may end a restore that is alive. Over a local socket the first three mean nothing.
_HOLDING = """
SELECT set_config(name, CASE name WHEN 'tcp_keepalives_idle' THEN '30' WHEN 'tcp_keepalives_interval' THEN '10'
                        WHEN 'tcp_keepalives_count' THEN '3' ELSE '0' END, true) FROM pg_settings
WHERE name IN ('tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count',
               'idle_in_transaction_session_timeout', 'transaction_timeout')"""
_FROM_DUMP = "SET LOCAL search_path = ''"


@dataclass(frozen=True)
class _Loaded:
    """A table whose rows are with the server, and since when."""

    table: TableRestore
    rows: int
    seconds: float


def restore_in_transaction(
    work: TargetConnection, plan: RestorePlan, rows: Rows, protect: Callable[[], None]
) -> Sequence[TableReport]:
    """Carry out the plan inside the transaction that is open; what became of each table.

    `protect` is called when nobody else can write any more, before rows that are there are changed.
    """
    work.run(_SETTINGS, "beginning")
    work.rows(_HOLDING)
    _take_path(work, plan)
    if all(table.action is Action.CREATE for table in plan.tables):
        reports = _create(work, plan, rows)
    elif any(table.rows_now for table in plan.tables):
        reports = _merge(work, plan, rows, protect)
    else:
        reports = _fill(work, plan, rows)
    return reports


def _create(work: TargetConnection, plan: RestorePlan, rows: Rows) -> list[TableReport]:
    """Make the tables, load them while nothing slows that down, then make what belongs to them."""
    work.progress.tell(StageStarted("definitions"))
    for schema in plan.steps.schemas:
        work.run(f"CREATE SCHEMA {identifier(schema)}", f"making schema {schema}")
    _run_dumped(work, plan.steps.before, plan.search_path)
    _take_path(work, plan)
    for plain in plan.steps.plain:
        work.run(sql.create_plain_sql(plain), f"making {'.'.join(plain.target)}")
    counters = Counters(work, plan.tables, plan.sequences)
    kinds = kinds_of(work, plan.tables)
    work.progress.tell(StageStarted("load"))
    for table in (table for table in plan.tables if table.extension):
        work.run(f"DELETE FROM {relation_sql(table.target)}", f"emptying {table.target_name}")  # noqa: S608
    frozen = {table.target: kinds[table.target] == "r" and not table.extension for table in plan.tables}
    loaded = [_load_direct(work, table, rows, freeze=frozen[table.target]) for table in plan.tables]
    work.progress.tell(StageStarted("indexes and keys"))
    for plain in plan.steps.plain:
        if plain.key:
            work.run(sql.plain_key_sql(plain), f"making the key of {'.'.join(plain.target)}")
    _run_dumped(work, plan.steps.after, plan.search_path)
    _take_path(work, plan)
    for name in plan.steps.refreshed:
        work.run(f"REFRESH MATERIALIZED VIEW {relation_sql(name)}", f"filling {'.'.join(name)}")
    _finish(work, counters)
    return [_report(work, table, Merged(inserted=table.rows)) for table in loaded]


def _run_dumped(work: TargetConnection, statements: Sequence[str], path: str) -> None:
    """Run what pg_dump wrote, under the search path that it wrote it for, none; or under `path`, for functions.

    A function is called as soon as a table's definition names it. Statements name everything in full, so that a path
    stands in no statement's way.
    """
    if not path:
        work.run(_FROM_DUMP, "beginning")
    for statement in statements:
        run_patiently(work, statement, f"running {_first_line(statement)}")


def _take_path(work: TargetConnection, plan: RestorePlan) -> None:
    """Our own search path, or the one that functions of the tables want while rows are written."""
    path = literal(plan.search_path or "pg_catalog")
    work.rows(f"SELECT set_config('search_path', {path}, true)")


def _first_line(statement: str) -> str:
    lines = [line for line in statement.splitlines() if line and not line.startswith("SET ")]
    return " ".join(" ".join(lines)[:100].split()) if lines else statement[:100]


def _fill(work: TargetConnection, plan: RestorePlan, rows: Rows) -> list[TableReport]:
    """Load into tables that are there and empty."""
    counters = Counters(work, plan.tables, plan.sequences)
    guards = Guards(work, plan)
    kinds = kinds_of(work, plan.tables)
    guards.lock(kinds)
    guards.lock_alone(kinds)
    for table in plan.tables:
        _refuse_rows(work, table, own_rows(table.target, kinds[table.target]))
    guards.take_away()
    work.progress.tell(StageStarted("load"))
    loaded = [_load_direct(work, table, rows, freeze=False) for table in plan.tables]
    work.progress.tell(StageStarted("references"))
    guards.put_back()
    _finish(work, counters)
    return [_report(work, table, Merged(inserted=table.rows)) for table in loaded]


def _refuse_rows(work: TargetConnection, table: TableRestore, rows: str) -> None:
    if work.number(f"SELECT count(*) AS n FROM (SELECT FROM {rows} LIMIT 1) AS found"):  # noqa: S608
        message = f"{table.target_name} was empty when the restore was planned, and is not now."
        raise PreflightRefusedError(message, do="Plan it again: look at what is there now.")


def _load_direct(work: TargetConnection, table: TableRestore, rows: Rows, *, freeze: bool) -> _Loaded:
    started = time.perf_counter()
    taken = load_in_place(work, table, rows, freeze=freeze)
    return _Loaded(table, taken, time.perf_counter() - started)


def _merge(work: TargetConnection, plan: RestorePlan, rows: Rows, protect: Callable[[], None]) -> list[TableReport]:
    """Load beside the tables; lock them; keep safe what they hold; then compare, and write what differs."""
    counters = Counters(work, plan.tables, plan.sequences)
    work.progress.tell(StageStarted("load"))
    stagings = {table.name: f"pg_temp.restore_{number}" for number, table in enumerate(plan.tables)}
    loaded = [_stage(work, table, stagings[table.name], rows) for table in plan.tables]
    guards = Guards(work, plan)
    kinds = kinds_of(work, plan.tables)
    guards.lock(kinds)
    protect()
    work.progress.tell(StageStarted("put in place"))
    staged = _staged(work, plan, guards, stagings)
    for entry in staged:
        check_keys(work, entry)
        guards.refuse_losses(entry.table, entry.staging, entry.rows)
    guards.lock_alone(kinds)
    guards.take_away()
    merged = [_timed_merge(work, entry) for entry in staged]
    guards.put_back()
    _finish(work, counters)
    return [
        _report(work, replace(rows_in, seconds=rows_in.seconds + seconds), done)
        for rows_in, (done, seconds) in zip(loaded, merged, strict=True)
    ]


def _stage(work: TargetConnection, table: TableRestore, staging: str, rows: Rows) -> _Loaded:
    started = time.perf_counter()
    work.run(sql.staging_sql(staging, table), f"making room for {table.name}")
    taken = load(work, table, staging, rows, freeze=True)
    work.run(f"ANALYZE {staging}", f"looking over the rows of {table.name}")
    return _Loaded(table, taken, time.perf_counter() - started)


def _staged(work: TargetConnection, plan: RestorePlan, guards: Guards, stagings: dict[str, str]) -> list[Staged]:
    names: list[Name] = [table.target for table in plan.tables]
    now = facts(work.rows, names)
    oids = oids_of(work.rows, names)
    unique = {row["relation"]: int(row["n"]) for row in work.rows(target_queries.UNIQUE_INDEXES, {"oids": oids})}
    ids = {(row["schema"], row["name"]): row["id"] for row in work.rows(target_queries.RELATIONS, {"oids": oids})}
    return [
        Staged(
            table=table,
            staging=stagings[table.name],
            rows=own_rows(table.target, now.relations[table.target].kind),
            relation=now.relations[table.target],
            others_unique=max(unique.get(ids[table.target], 0) - 1, 0),
            referred=table.target in guards.referred_from_outside,
        )
        for table in plan.tables
    ]


def _timed_merge(work: TargetConnection, staged: Staged) -> tuple[Merged, float]:
    started = time.perf_counter()
    return merge(work, staged), time.perf_counter() - started


def _finish(work: TargetConnection, counters: Counters) -> None:
    """What may still fail comes first: a sequence that was set stays so, whatever happens to the transaction."""
    work.run("SET CONSTRAINTS ALL IMMEDIATE", "checking what was deferred")
    counters.set()


def _report(work: TargetConnection, loaded: _Loaded, done: Merged) -> TableReport:
    table = loaded.table
    work.progress.tell(TableFinished(table.name, table.name, loaded.rows, table.bytes, loaded.seconds))
    return TableReport(
        name=table.name,
        target=table.target,
        loaded=loaded.rows,
        inserted=done.inserted,
        updated=done.updated,
        deleted=done.deleted,
        unchanged=loaded.rows - done.inserted - done.updated,
        seconds=round(loaded.seconds, 3),
    )


LOCK = {"class": 1_650_551_664, "object": 1}
"""The advisory lock that a restore holds on its target database."""
_CANCEL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class TargetOptions:
    """How the target is treated: timeouts in seconds (0: none), and the role to work as, where not the URL's."""

    statement_timeout_s: float = 0
    lock_timeout_s: float = 30
    connect_timeout_s: int = 10
    role: str | None = None


class PostgresTarget:
    """The database at `url` (core's port `RestoreTarget`). SettingsError when that is no PostgreSQL URL."""

    def __init__(self, url: str, *, options: TargetOptions | None = None) -> None:
        self._endpoint = parse_endpoint(url, name="The target URL")
        self._options = options or TargetOptions()
        self.url = self._endpoint.shown_url
        self.reached = self._endpoint
        """Of several servers that the URL may mean, the one that the last session went to."""

    @contextmanager
    def session(self) -> Iterator[PostgresTargetSession]:
        """Connect, and close the connection at the end; TargetUnavailableError when that does not work."""
        opened = PostgresTargetSession(self._endpoint, self._options)
        self.reached = opened.endpoint
        try:
            yield opened
        finally:
            opened.close()


class PostgresTargetSession:
    """One connection (core's port `TargetSession`). `cancel` may be called from any thread, the rest from one."""

    def __init__(self, endpoint: Endpoint, options: TargetOptions) -> None:
        self._options = options
        self._canceled = threading.Event()
        self._settings = {**WRITING, **timeouts(options.statement_timeout_s, options.lock_timeout_s)}
        self._holds_lock = False
        try:
            self._connection, route = first_connection(endpoint, "restore", options.connect_timeout_s)
        except psycopg.Error as error:
            raise connect_error(error, endpoint) from None
        self.endpoint = route.endpoint
        self._work = TargetConnection(self._connection, self.endpoint, Silence())
        try:
            self._begin(alone=not route.relayed)
        except BaseException:
            self.close()
            raise

    def look(self, wanted: Sequence[Name]) -> TargetFacts:
        """What is there now, as one transaction shows it."""
        with self._target_errors("looking at the target"), self._transaction("REPEATABLE READ, READ ONLY"):
            return facts(self._work.rows, wanted)

    def lock(self) -> None:
        """Keep other restores out until the session ends; LockedError, naming the holder, when one is under way."""
        with self._target_errors("locking the target"), self._transaction("READ COMMITTED, READ ONLY"):
            self._holds_lock = self._work.rows(target_queries.TRY_LOCK, LOCK)[0]["held"]
            if self._holds_lock:
                return
            holders = self._work.rows(target_queries.HOLDER, LOCK)
        holder = f"process {holders[0]['pid']} ({holders[0]['application_name']})" if holders else "another session"
        message = f"Another restore into {self.endpoint.database} is under way: {holder} holds its lock."
        raise LockedError(message, do="Wait until it ends; if nobody runs it, end it with pg_terminate_backend.")

    def restore(
        self,
        plan: RestorePlan,
        rows: Callable[[TableRestore], Iterable[bytes]],
        progress: Progress,
        protect: Callable[[], None],
    ) -> Sequence[TableReport]:
        """Carry out the plan in one transaction; what became of each table, in the plan's order."""
        work = TargetConnection(self._connection, self.endpoint, progress, self._options.lock_timeout_s)
        with self._target_errors("ending the restore"), self._transaction("READ COMMITTED, READ WRITE"):
            return restore_in_transaction(work, plan, rows, protect)

    def analyze(self, tables: Sequence[Name]) -> Sequence[str]:
        """Make new statistics; a sentence for each table where that failed."""
        notes = []
        for name in tables:
            try:
                with self._target_errors("making statistics"), self._transaction("READ COMMITTED, READ WRITE"):
                    self._work.run(f"ANALYZE {relation_sql(name)}", f"making statistics of {'.'.join(name)}")
            except BackupError as error:
                notes.append(error.what)
        return notes

    def cancel(self) -> None:
        """Stop the running statement: `restore` raises CanceledError, and the target is as it was."""
        self._canceled.set()
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    def close(self) -> None:
        """End the connection, and with it its lock and whatever was not committed."""
        with suppress(psycopg.Error):
            if self._holds_lock:  # a pooler in session mode may keep the session for the next
                self._connection.execute(target_queries.UNLOCK, LOCK)
        self._connection.close()

    def _begin(self, *, alone: bool) -> None:
        """Look whether our settings can be set at all; let the session last while a backup is fetched."""
        with self._target_errors("looking at the target"), self._transaction("READ COMMITTED, READ ONLY"):
            pass
        if alone:  # behind a pooler the session is somebody else's afterwards
            with suppress(psycopg.errors.UndefinedObject):  # servers before 14 have no such limit
                self._connection.execute("SET SESSION idle_session_timeout = 0")

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[None]:
        """A transaction of that mode with our settings and as the options' role, which both end with it."""
        with self._connection.transaction():
            self._connection.execute(f"SET TRANSACTION ISOLATION LEVEL {mode}".encode())
            row = self._connection.execute(apply_sql(self._settings).encode()).fetchone()
            refuse_replica(row["refused"] if row else [])
            if self._options.role is not None:
                self._work.run(f"SET LOCAL ROLE {identifier(self._options.role)}", "taking BACKUP_RESTORE_ROLE's role")
            yield

    @contextmanager
    def _target_errors(self, doing: str) -> Iterator[None]:
        """Raise errors of the transaction itself as BackupErrors; whatever fails after `cancel` was canceled."""
        try:
            with as_target_errors(self.endpoint, doing):
                yield
        except BackupError as error:
            if self._canceled.is_set():
                message = "The restore was canceled."
                raise CanceledError(message, do="The target is as it was.") from error
            raise
