"""The source: a consistent snapshot of a PostgreSQL database, read by several connections; and as a doctor sees it."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import ConnStatus

from backup_pipeline.core.doctor import DumpFacts, Release, SourceFacts, Standby
from backup_pipeline.core.errors import BackupError, CanceledError, SnapshotLostError
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Clock, Page, Progress, Silence, Waiting
from backup_pipeline.core.relations import Database, Relation
from backup_pipeline.postgres.businesses import PostgresBusinessRows
from backup_pipeline.postgres.connection import Endpoint, Patience, Session, first_connection, parse_endpoint
from backup_pipeline.postgres.dump import LOCKED_OUT, SETTING_NAMES, DumpOptions, SchemaDump, loadable
from backup_pipeline.postgres.errors import RECOVERY, LockWatch, connect_error, connection_lost, query_error
from backup_pipeline.postgres.introspect import introspect
from backup_pipeline.postgres.page_sql import own_column, source_sql
from backup_pipeline.postgres.pages import PageSize, TableReading, read_pages, run
from backup_pipeline.postgres.programs import Choice, choose_dump
from backup_pipeline.postgres.session import (
    BEGIN,
    DUMPING,
    KNOWN,
    Worker,
    Workers,
    apply_sql,
    literal,
    refuse_hidden_damage,
    session_settings,
    startup_options,
)

_OPEN = """
SELECT pg_export_snapshot() AS id, current_database() AS database,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn,
       pg_is_in_recovery() AS standby, current_setting('server_version') AS server_version"""
_CANCEL_TIMEOUT_S = 5.0

Row = dict[str, Any]


class Holder:
    """Holds the snapshot open until `close`. Raises psycopg's errors as they are; safe from any thread."""

    def __init__(self, connection: Session, settings: Mapping[str, str], patience: Patience) -> None:
        self._patience = patience
        self._connection = connection
        self._guard = threading.Lock()
        self._ends = socket.socketpair()
        self._watcher: threading.Thread | None = None
        try:
            self.query(BEGIN)
            # The first query takes the snapshot: what was committed before it arrived is in it.
            first = self.query(apply_sql(settings))[0]
            refuse_hidden_damage(first["refused"])
            self.pid = int(first["pid"])
            opened = self.query(_OPEN)[0]
        except BaseException:
            self.close()
            raise
        self.server_version = self._connection.info.server_version
        self.standby = bool(opened.pop("standby"))
        self.entry = SnapshotEntry(**opened, taken_at=first["asked_at"].astimezone(UTC))

    def query(self, sql: str, parameters: Sequence[object] | None = None) -> list[Row]:
        """The rows of `sql` in the snapshot."""
        with self._guard, self._patience.waiting(self._connection):
            cursor = self._connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def watch(self, lost: Callable[[], None]) -> None:
        """Call `lost`, in a thread of its own, as soon as the server ends this connection."""
        self._watcher = threading.Thread(target=self._watch, args=(lost,), name="snapshot watch", daemon=True)
        self._watcher.start()

    def gone(self) -> bool:
        """Whether the server ended the connection, as far as its messages arrived; returns at once."""
        with self._guard:
            try:
                # The farewell first, then the end: two readings.
                self._connection.pgconn.consume_input()
                self._connection.pgconn.consume_input()
            except psycopg.Error:
                return True
            return self._connection.pgconn.status == ConnStatus.BAD

    def cancel(self) -> None:
        """Stop the query that runs now, if one does."""
        if not self._guard.locked():
            return
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    def close(self) -> None:
        """End the transaction: the snapshot can not be joined any more."""
        self._ends[1].close()
        if self._watcher and self._watcher is not threading.current_thread():
            self._watcher.join()
        self._ends[0].close()
        with suppress(psycopg.Error):
            self._connection.close()

    def _watch(self, lost: Callable[[], None]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection.fileno(), selectors.EVENT_READ)
            selector.register(self._ends[0], selectors.EVENT_READ)
            while not any(key.fileobj is self._ends[0] for key, _ in selector.select()):
                # Something to read: an answer for a thread that is querying, or the server's farewell.
                if self.gone():
                    lost()
                    return


_TID_RANGE_SCAN = 140000
_MIB = 1 << 20


@dataclass(frozen=True)
class SourceOptions:
    """How the source is treated: timeouts in seconds (0: none), connections at once, and the size of pages.

    Besides `max_connections` workers there is the holder, and one connection more while something is canceled or the
    definition of a view is looked up. `programs` is the folder of pg_dump, where one is named; `environment` is what
    libpq needs of ours in a child process.
    """

    statement_timeout_s: float = 3600
    lock_timeout_s: float = 30
    connect_timeout_s: int = 10
    max_connections: int = 4
    page_bytes: int = 4 * _MIB
    first_page_rows: int = 2000
    max_page_rows: int = 1_000_000
    programs: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class PostgresSource:
    """The database at `url`, or one that was reached before. SettingsError when that is no PostgreSQL URL.

    Nothing is connected before `snapshot`.
    """

    def __init__(self, url: str | Endpoint, *, options: SourceOptions | None = None) -> None:
        self._endpoint = url if isinstance(url, Endpoint) else parse_endpoint(url)
        self._options = options or SourceOptions()
        self.url = self._endpoint.shown_url

    @contextmanager
    def snapshot(
        self, progress: Progress | None = None, *, lock_timeout_s: float | None = None
    ) -> Iterator[PostgresSnapshot]:
        """A snapshot, held open until the context ends; `progress` is told when it waits for a lock.

        SourceUnavailableError when the server can not be reached now, SourceError when it refuses.
        """
        options = self._options
        if lock_timeout_s is not None:
            own = options.lock_timeout_s
            options = replace(options, lock_timeout_s=min(own, lock_timeout_s) if own else lock_timeout_s)
        opened = PostgresSnapshot(self._endpoint, options, progress or Silence())
        try:
            yield opened
        finally:
            opened.close()


_LOST = "Run it again with a new snapshot; the server's log says why."


class PostgresSnapshot:
    """One consistent read view (core's port `Snapshot`): a holder's transaction, joined by workers as they are needed.

    Suspended `read` iterators keep their worker: at most `max_connections` of them at a time.
    """

    def __init__(self, endpoint: Endpoint, options: SourceOptions, progress: Progress) -> None:
        self._options = options
        self._settings = session_settings(options.statement_timeout_s, options.lock_timeout_s)
        self._patience = Patience.beyond(options.statement_timeout_s)
        try:
            connection, self._route = first_connection(endpoint, "holder", options.connect_timeout_s)
            self._holder = Holder(connection, self._settings, self._patience)
        except psycopg.Error as error:
            raise connect_error(error, endpoint) from None
        self._endpoint = endpoint = self._route.endpoint
        self.entry = self._holder.entry
        self._workers = Workers(self._worker, options.max_connections)
        self._reading = TableReading(
            workers=self._workers,
            now=self._now,
            endpoint=endpoint,
            size=PageSize(options.page_bytes, options.first_page_rows, options.max_page_rows),
            ranges_of_blocks=self._holder.server_version >= _TID_RANGE_SCAN,
        )
        self._dumps: list[SchemaDump] = []
        self._guard = threading.Lock()
        self._holder.watch(self._lost)
        self._locks = LockWatch(
            self._slow, self._now, lambda message: progress.tell(Waiting(message)), options.lock_timeout_s
        )

    def database(self) -> Database:
        """Every relation the snapshot shows."""
        return introspect(lambda sql: self._ask(sql, "reading the system catalog"), self.entry.database)

    def read(self, plan: TablePlan) -> Iterator[Page]:
        """The table's pages in order, each once; see the port for the errors."""
        self._workers.check()
        return read_pages(plan, self._reading)

    def count(self, plan: TablePlan) -> int:
        """The rows of the relation by `count(*)`, in this snapshot."""
        sql = f"SELECT count(*) AS n FROM {source_sql(plan.relation)}"  # noqa: S608
        return int(str(run(self._reading, sql, f"counting {plan.relation.full_name}")[0]["n"]))

    def count_up_to(self, relation: Relation, most: int) -> int | None:
        """The relation's own rows in this snapshot; None when they are more than `most`."""
        inner = f"SELECT FROM {source_sql(relation)} LIMIT {most + 1}"
        sql = f"SELECT count(*) AS n FROM ({inner}) AS first_rows"  # noqa: S608
        counted = int(str(run(self._reading, sql, f"counting {relation.full_name}")[0]["n"]))
        return counted if counted <= most else None

    def duplicate_keys(self, plan: TablePlan) -> int:
        """How many keys stand more than once, in this snapshot; 0 when an index enforces them, or there is no key."""
        if plan.key_enforced or not plan.key:
            return 0
        key = ", ".join(own_column(name) for name in plan.key)
        inner = f"SELECT FROM {source_sql(plan.relation)} GROUP BY {key} HAVING count(*) > 1"
        sql = f"SELECT count(*) AS n FROM ({inner}) AS repeated"  # noqa: S608
        return int(str(run(self._reading, sql, f"looking for repeated keys of {plan.relation.full_name}")[0]["n"]))

    def businesses(self) -> PostgresBusinessRows:
        """What the snapshot shows of businesses."""
        return PostgresBusinessRows(self._reading, self.entry)

    def schema_sql(self) -> str:
        """The DDL of the database as this snapshot shows it; a comment at the top names what the role may not read."""
        options = self._dump_options(self._choice())
        dump = SchemaDump(options, self._patience, lambda: self._locks.blocked(options.application))
        with self._guard:
            self._dumps.append(dump)
        hidden = [(str(row["schema"]), str(row["name"])) for row in self._ask(LOCKED_OUT, "reading privileges")]
        try:
            sql = dump.run(self.entry.id, without=hidden, lock_timeout_s=self._options.lock_timeout_s)
        except BackupError:
            self._workers.check()
            raise
        self._workers.check()
        return loadable(sql, [str(row["name"]) for row in self._ask(SETTING_NAMES, "reading the settings")])

    def try_dump(self) -> DumpFacts:
        """Which pg_dump is used here; it has connected, and dumped nothing. The error that `schema_sql` would meet."""
        choice = self._choice()
        SchemaDump(self._dump_options(choice), self._patience).try_it()
        program, server = choice.program, Release.of(self._holder.server_version)
        lent = program.library is not None
        return DumpFacts(str(program.path), program.release, server, lent=lent, passed_over=choice.passed_over)

    def _choice(self) -> Choice:
        return choose_dump(Release.of(self._holder.server_version), self._endpoint, self._options.programs)

    def _dump_options(self, choice: Choice) -> DumpOptions:
        """How pg_dump is run here; SourceError when no program fits this server and connection."""
        known = {str(row["name"]): str(row["reset_val"]) for row in self._ask(KNOWN, "reading the settings")}
        settings, environment = dict(DUMPING), dict(self._options.environment)
        if self._route.relayed:
            # Every pooler takes these two the other way; the third only keeps notices away.
            environment |= {"PGTZ": settings.pop("TimeZone"), "PGDATESTYLE": settings.pop("DateStyle")}
            del settings["client_min_messages"]
        options = startup_options(settings, known)
        role = f"schema {self._holder.pid}"  # by that its session is known from those of other backups
        return DumpOptions(choice.program, self._endpoint, self._options.connect_timeout_s, environment, options, role)

    def cancel(self) -> None:
        """Stop every running query at once; readers raise CanceledError. Returns when none runs any more."""
        self._stop(CanceledError("Reading the source was canceled."))

    def close(self) -> None:
        """End the snapshot."""
        self._stop(CanceledError("The snapshot is closed."))
        self._locks.close()
        self._workers.close()
        self._holder.close()

    def _slow(self, after_s: float) -> list[str]:
        """Conditions on `w.pid` for the sessions of ours whose statement has run for so many seconds."""
        with self._guard:
            dumps = [dump for dump in self._dumps if dump.runs_for(after_s)]
        of_dump = "SELECT pid FROM pg_stat_activity WHERE application_name = {}"
        names = [of_dump.format(literal(dump.application)) for dump in dumps]
        pids = self._workers.slow(after_s)
        listed = [", ".join(map(str, pids))] if pids else []
        return [f"w.pid IN ({of})" for of in (*names, *listed)]

    def _lost(self) -> None:
        message = f"The snapshot of {self._endpoint} is lost: the server ended the connection that held it."
        self._stop(SnapshotLostError(message, do=RECOVERY if self._holder.standby else _LOST))

    def _stop(self, reason: BackupError) -> None:
        with self._guard:
            dumps = list(self._dumps)
        for dump in dumps:
            dump.cancel()
        self._workers.stop(reason, self._cancel_backends)
        self._holder.cancel()

    def _cancel_backends(self, pids: list[int]) -> None:
        """The second way to cancel: from a session of its own, where a cancel request does not get through."""
        with suppress(psycopg.Error), self._route.connect("control") as control:
            control.execute(
                "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.unnest(%s::pg_catalog.int4[]) AS pid", [pids]
            )

    def _ask(self, sql: str, doing: str) -> list[Row]:
        self._workers.check()
        try:
            return self._holder.query(sql)
        except psycopg.Error as error:
            self._workers.check()
            if connection_lost(error):
                self._lost()
                self._workers.check()
            raise query_error(error, self._endpoint, doing) from error

    def _now(self, sql: str) -> list[Row]:
        """The rows of `sql` in a session of its own, which sees what the snapshot does not. psycopg's errors."""
        with self._route.connect("control") as session, self._patience.waiting(session), session.transaction():
            session.execute(apply_sql(self._settings).encode())
            return session.execute(sql.encode()).fetchall()

    def _worker(self) -> Worker:
        try:
            worker = Worker(self._route.connect("worker"), self._settings, self.entry.id, self._patience)
            worker.blocked = self._locks.blocked
            return worker  # noqa: TRY300  the errors are those of connecting
        except psycopg.Error as error:
            if self._holder.gone():
                self._lost()
            self._workers.check()
            failed = query_error(error, self._endpoint, "joining the snapshot")
            if isinstance(failed, SnapshotLostError):
                raise failed from error
            raise connect_error(error, self._endpoint) from error


_TIMEOUT_MS = 10_000

_OURS = """n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
_SERVER = """
SELECT current_user AS role, current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS number, pg_is_in_recovery() AS standby,
       r.rolsuper AS superuser, r.rolcreaterole AS createrole, r.rolcreatedb AS createdb,
       has_database_privilege(current_database(), 'CREATE') AS create_here, current_database() AS database,
       coalesce(current_setting('transaction_timeout', true), '0') AS transaction_timeout,
       coalesce(current_setting('old_snapshot_threshold', true), '-1') AS old_snapshot_threshold
FROM pg_roles r WHERE r.rolname = current_user"""
_CLOCK = "SELECT clock_timestamp() AS now"
_RELATIONS = f"""
SELECT n.nspname || '.' || c.relname AS name,
       has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'SELECT')
           OR has_any_column_privilege(c.oid, 'SELECT')) AS readable,
       has_table_privilege(c.oid, 'INSERT') OR has_table_privilege(c.oid, 'UPDATE')
           OR has_table_privilege(c.oid, 'DELETE') OR has_table_privilege(c.oid, 'TRUNCATE') AS writable,
       c.relrowsecurity AND row_security_active(c.oid) AS filtered
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS} ORDER BY 1"""  # noqa: S608
_SCHEMAS = """
SELECT n.nspname AS name FROM pg_namespace n
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND has_schema_privilege(n.oid, 'CREATE') ORDER BY 1"""
# A standby that has replayed all it receives is not behind, however long ago the primary wrote something. One that
# receives nothing does not know what it has missed.
_STANDBY = """
SELECT EXISTS (SELECT FROM pg_stat_wal_receiver) AS streams,
       CASE WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
                 AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS lag,
       current_setting('hot_standby_feedback') = 'on' AS feedback,
       (SELECT s.setting::float8 / 1000 FROM pg_settings s WHERE s.name = 'max_standby_streaming_delay') AS delay_s"""


def examine_source(url: str, clock: Clock, *, connect_timeout_s: int = 10) -> SourceFacts:
    """What is to be known of the source at `url`; reads the system catalogs only.

    SourceUnavailableError when it can not be reached now, SourceError when it refuses, SettingsError for no URL.
    """
    endpoint = parse_endpoint(url)
    try:
        session, route = first_connection(endpoint, "doctor", connect_timeout_s)
    except psycopg.Error as error:
        raise connect_error(error, endpoint) from None
    with session:
        try:
            with session.transaction():
                session.execute(f"SET LOCAL statement_timeout = {_TIMEOUT_MS}; SET LOCAL search_path = pg_catalog")
                return replace(_facts(session, endpoint, clock), relayed=route.relayed)
        except psycopg.Error as error:
            raise query_error(error, endpoint, "examining the source") from None


def _facts(session: psycopg.Connection[Row], endpoint: Endpoint, clock: Clock) -> SourceFacts:
    before = clock()
    now: datetime = _single_row(session, _CLOCK)["now"]
    after = clock()
    server = _single_row(session, _SERVER)
    relations = session.execute(_RELATIONS).fetchall()
    creates = [str(row["name"]) for row in session.execute(_SCHEMAS).fetchall()]
    return SourceFacts(
        url=endpoint.shown_url,
        role=str(server["role"]),
        version=str(server["version"]),
        major=int(server["number"]) // 10_000,
        before=before,
        now=now.astimezone(UTC),
        after=after,
        powers=_powers(server),
        writable=tuple(str(row["name"]) for row in relations if row["writable"]),
        creates=tuple([f"database {server['database']}", *creates] if server["create_here"] else creates),
        hidden=tuple(str(row["name"]) for row in relations if not row["readable"]),
        filtered=tuple(str(row["name"]) for row in relations if row["filtered"]),
        ends=tuple(_ends(server)),
        standby=_standby(session) if server["standby"] else None,
    )


def _powers(server: Row) -> tuple[str, ...]:
    named = {
        "superuser": "a superuser",
        "createrole": "one that creates roles",
        "createdb": "one that creates databases",
    }
    return tuple(power for name, power in named.items() if server[name])


def _ends(server: Row) -> list[str]:
    usual = {"transaction_timeout": "0", "old_snapshot_threshold": "-1"}
    return [f"{name} = {server[name]}" for name, value in usual.items() if server[name] != value]


def _standby(session: psycopg.Connection[Row]) -> Standby:
    row = _single_row(session, _STANDBY)
    lag = None if row["lag"] is None else timedelta(seconds=float(row["lag"]))
    return Standby(lag, bool(row["feedback"]), float(row["delay_s"]), bool(row["streams"]))


def _single_row(session: psycopg.Connection[Row], sql: str) -> Row:
    [row] = session.execute(sql).fetchall()
    return row
