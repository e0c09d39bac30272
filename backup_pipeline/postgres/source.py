"""The source: a consistent snapshot of a PostgreSQL database, read by several connections; and as a doctor sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from backup_pipeline.core.doctor import DumpFacts, Release, SourceFacts, Standby
from backup_pipeline.core.errors import BackupError, CanceledError, SnapshotLostError
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.plans import BlockRange, TablePlan
from backup_pipeline.core.ports import Clock, Page, Progress, Silence, Waiting
from backup_pipeline.core.relations import Database, Relation, RelationKind
from backup_pipeline.postgres.businesses import PostgresBusinessRows
from backup_pipeline.postgres.connection import Endpoint, Patience, first_connection, parse_endpoint
from backup_pipeline.postgres.dump import LOCKED_OUT, SETTING_NAMES, DumpOptions, SchemaDump, loadable
from backup_pipeline.postgres.errors import RECOVERY, LockWatch, connect_error, connection_lost, query_error
from backup_pipeline.postgres.introspect import file_sql, introspect
from backup_pipeline.postgres.page_sql import between_blocks, own_column, source_sql
from backup_pipeline.postgres.pages import PageSize, TableReading, blocks_sql, read_pages, run
from backup_pipeline.postgres.programs import Choice, choose_dump
from backup_pipeline.postgres.session import (
    BEGIN,
    DUMPING,
    KNOWN,
    Holder,
    Worker,
    Workers,
    apply_sql,
    join_sql,
    literal,
    session_settings,
    startup_options,
)

Row = dict[str, Any]


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

    @contextmanager
    def joined(self, entry: SnapshotEntry, progress: Progress | None = None) -> Iterator[PostgresSnapshot]:
        """The snapshot that somebody else holds open; see the port."""
        opened = PostgresSnapshot(self._endpoint, self._options, progress or Silence(), joined=entry)
        try:
            yield opened
        finally:
            opened.close()


_ON_DISK = {RelationKind.TABLE, RelationKind.MATERIALIZED}
_LOST = "Run it again with a new snapshot; the server's log says why."


class PostgresSnapshot:
    """One consistent read view (core's port `Snapshot`): a holder's transaction, joined by workers as they are needed.

    Suspended `read` iterators keep their worker: at most `max_connections` of them at a time.
    """

    def __init__(
        self, endpoint: Endpoint, options: SourceOptions, progress: Progress, *, joined: SnapshotEntry | None = None
    ) -> None:
        self._options, self._joined = options, joined is not None
        self._settings = session_settings(options.statement_timeout_s, options.lock_timeout_s)
        self._patience = Patience.beyond(options.statement_timeout_s)
        try:
            connection, self._route = first_connection(endpoint, "holder", options.connect_timeout_s)
            self._holder = Holder(connection, self._settings, self._patience, joined)
        except psycopg.Error as error:
            failed = query_error(error, endpoint, "joining the snapshot")
            raise (failed if isinstance(failed, SnapshotLostError) else connect_error(error, endpoint)) from None
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
        self._holder.watch(self._lost, self._still if joined else None)
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

    def ranges(self, plan: TablePlan, count: int) -> Sequence[BlockRange]:
        """The table in at most so many ranges of blocks; see the port."""
        if not self._reading.ranges_of_blocks or plan.relation.kind not in _ON_DISK or count < 2:
            return ()
        doing = f"measuring {plan.relation.full_name}"
        # The lock stays until this transaction ends, so that no other file takes the place of this one between ranges.
        self._ask(f"SELECT FROM {source_sql(plan.relation)} LIMIT 0", doing)
        file = int(self._ask(file_sql(plan), doing)[0]["file"] or 0)
        blocks = int(self._ask(blocks_sql(plan), doing)[0]["blocks"])
        starts = sorted({blocks * number // count for number in range(count)})
        stops = [*starts[1:], None]
        return [BlockRange(n, *ends, file) for n, ends in enumerate(zip(starts, stops, strict=True))] if file else ()

    def count(self, plan: TablePlan) -> int:
        """The rows of the plan by `count(*)`, in this snapshot."""
        ends = (plan.blocks.start, plan.blocks.stop) if plan.blocks else None
        where = f" WHERE {between_blocks(*ends)}" if ends else ""
        sql = f"SELECT count(*) AS n FROM {source_sql(plan.relation)}{where}"  # noqa: S608
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

    def _still(self) -> bool:
        """Whether the snapshot can still be joined; a server that can not be asked says so by itself soon enough."""
        try:
            with self._route.connect("control") as session:
                session.execute(BEGIN.encode())
                session.execute(join_sql(self.entry.id).encode())
        except psycopg.Error as error:
            return not isinstance(query_error(error, self._endpoint, "joining the snapshot"), SnapshotLostError)
        return True

    def _lost(self) -> None:
        message = f"The snapshot of {self._endpoint} is lost: the server ended the connection that held it."
        if self._joined:
            message = f"The snapshot of {self._endpoint} is over: the run that holds it for this one has ended it."
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
