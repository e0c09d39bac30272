"""The statements that put rows in place. `t` is the table, `s` the staging table with the backup's rows.

Staging tables are temporary ones, made in the restore's own transaction: nobody else sees them, they make no WAL, and
whoever dies, this program or the server, they are gone with the transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from backup_pipeline.core.errors import LockedError
from backup_pipeline.core.plans import type_name
from backup_pipeline.core.restore import Name, PlainTable, TableRestore
from backup_pipeline.core.restore.columns import NUMBER, RANDOM
from backup_pipeline.postgres.restore.queries import Row, TargetConnection, target_error
from backup_pipeline.postgres.session import identifier, literal, relation_sql


def names(columns: Iterable[str], alias: str = "") -> str:
    """Column names, comma-separated."""
    dot = f"{alias}." if alias else ""
    return ", ".join(f"{dot}{identifier(column)}" for column in columns)


def copy_sql(table: str, columns: Iterable[str], *, binary: bool, freeze: bool) -> str:
    """COPY of rows in the server's binary form, or as CSV, where an empty cell without quotes is NULL."""
    form = "binary" if binary else "csv"
    return f"COPY {table} ({names(columns)}) FROM STDIN (FORMAT {form}{', FREEZE' if freeze else ''})"


def staging_sql(staging: str, table: TableRestore) -> str:
    """Make the staging table: the loaded columns in the target's own types, nothing enforced."""
    columns = names(column.target for column in table.columns)
    source = f"SELECT {columns} FROM {relation_sql(table.target)}"  # noqa: S608
    return f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS {source} WITH NO DATA"


def same_key(table: TableRestore) -> str:
    """The condition under which a row of `t` and one of `s` are the same row."""
    return " AND ".join(f"t.{identifier(key)} = s.{identifier(key)}" for key in table.key)


def differs(columns: Iterable[str]) -> str:
    """The condition under which they hold different values, in any bit: 1.0 is not 1.00."""
    columns = list(columns)
    return f"ROW({names(columns, 't')})::record OPERATOR(pg_catalog.*<>) ROW({names(columns, 's')})::record"


def bad_keys_sql(staging: str, table: TableRestore) -> str:
    """How many keys of the backup's rows are NULL somewhere, or stand more than once."""
    keys = [identifier(key) for key in table.key]
    null = " OR ".join(f"{key} IS NULL" for key in keys)
    inner = f"SELECT FROM {staging} GROUP BY {', '.join(keys)} HAVING count(*) > 1 OR bool_or({null})"
    return f"SELECT count(*) AS n FROM ({inner}) AS bad"  # noqa: S608


def delete_absent_sql(staging: str, rows: str, table: TableRestore) -> str:
    """Remove the rows that the backup has not; without a key all of them."""
    if not table.key:
        return f"DELETE FROM {rows} AS t"  # noqa: S608
    return f"DELETE FROM {rows} AS t WHERE NOT EXISTS (SELECT FROM {staging} AS s WHERE {same_key(table)})"  # noqa: S608


def update_sql(staging: str, rows: str, table: TableRestore, columns: Sequence[str]) -> str:
    """Give rows with the same key the backup's values of `columns`, where they differ."""
    values = ", ".join(f"{identifier(column)} = s.{identifier(column)}" for column in columns)
    condition = f"{same_key(table)} AND {differs(columns)}"
    return f"UPDATE {rows} AS t SET {values} FROM {staging} AS s WHERE {condition}"  # noqa: S608


def differing_sql(staging: str, rows: str, table: TableRestore, columns: Sequence[str]) -> str:
    """How many rows with the same key differ in `columns`."""
    condition = f"{same_key(table)} AND {differs(columns)}"
    return f"SELECT count(*) AS n FROM {rows} AS t JOIN {staging} AS s ON {condition}"  # noqa: S608


def changed_sql(changed: str, staging: str, rows: str, table: TableRestore) -> str:
    """Keep the rows that will change, as they will be: the backup's values, and those of the columns it has not."""
    loaded = [column.target for column in table.columns]
    columns = names(loaded, "s") + "".join(f", t.{identifier(column)}" for column in table.kept)
    source = f"SELECT {columns} FROM {rows} AS t JOIN {staging} AS s ON {same_key(table)} AND {differs(loaded)}"  # noqa: S608
    return f"CREATE TEMPORARY TABLE {changed} ON COMMIT DROP AS {source}"


def delete_changed_sql(changed: str, rows: str, table: TableRestore) -> str:
    """Remove the rows that will change."""
    return f"DELETE FROM {rows} AS t USING {changed} AS s WHERE {same_key(table)}"  # noqa: S608


def insert_changed_sql(changed: str, table: TableRestore) -> str:
    """Put the changed rows back."""
    columns = names([*(column.target for column in table.columns), *table.kept])
    into = f"INSERT INTO {relation_sql(table.target)} ({columns}) OVERRIDING SYSTEM VALUE"
    return f"{into} SELECT {columns} FROM {changed}"  # noqa: S608


def insert_sql(staging: str, rows: str, table: TableRestore, types: Mapping[str, str]) -> str:
    """Add the rows whose key the table lacks (without a key all), with the values for columns the backup has not."""
    loaded = [column.target for column in table.columns]
    number = f"((SELECT count(*) FROM {rows}) + row_number() OVER ())"  # noqa: S608
    values = "".join(f", {fill_sql(value, number)}::{types[name]}" for name, value in table.filled.items())
    into = f"INSERT INTO {relation_sql(table.target)} ({names([*loaded, *table.filled])}) OVERRIDING SYSTEM VALUE"
    missing = f" WHERE NOT EXISTS (SELECT FROM {rows} AS t WHERE {same_key(table)})" if table.key else ""
    return f"{into} SELECT {names(loaded, 's')}{values} FROM {staging} AS s{missing}"  # noqa: S608


def fill_sql(value: str, number: str) -> str:
    """The value of a column that the backup does not hold, as SQL; `number` gives that of a row."""
    filled = literal(value)
    if NUMBER in value:
        filled = f"replace({filled}, {literal(NUMBER)}, {number}::text)"
    if RANDOM in value:
        digits = "replace(gen_random_uuid()::text, '-', '')"
        filled = f"replace({filled}, {literal(RANDOM)}, {digits})"
    return filled


def losing_sql(
    child: str, columns: Sequence[str], parent: str, target_columns: Sequence[str], table: TableRestore, gone: str
) -> str:
    """How many rows of `child` refer to a row of `t` for which the condition `gone` holds."""
    pairs = zip(columns, target_columns, strict=True)
    refers = " AND ".join(f"c.{identifier(column)} = t.{identifier(other)}" for column, other in pairs)
    return f"SELECT count(*) AS n FROM {child} AS c JOIN {parent} AS t ON {refers} WHERE {gone}"  # noqa: S608


def gone_condition(staging: str, table: TableRestore, target_columns: Sequence[str], *, removes: bool) -> str:
    """The condition on `t` under which the values of `target_columns` go away: by removal, or by change."""
    if not table.key:
        return "true"
    conditions = []
    if removes:
        conditions.append(f"NOT EXISTS (SELECT FROM {staging} AS s WHERE {same_key(table)})")
    loaded = {column.target for column in table.columns}
    changing = [column for column in target_columns if column in loaded and column not in table.key]
    if changing:
        changed = f"{same_key(table)} AND {differs(changing)}"
        conditions.append(f"EXISTS (SELECT FROM {staging} AS s WHERE {changed})")
    return " OR ".join(conditions) or "false"


def orphans_sql(child: str, columns: Sequence[str], parent: str, target_columns: Sequence[str]) -> str:
    """How many rows of `child` refer to a row of `parent` that is not there, and the values of one of them."""
    pairs = zip(columns, target_columns, strict=True)
    refers = " AND ".join(f"c.{identifier(column)} = t.{identifier(other)}" for column, other in pairs)
    filled = " AND ".join(f"c.{identifier(column)} IS NOT NULL" for column in columns)
    example = f"min(concat_ws(', ', {names(columns, 'c')}))"
    missing = f"{filled} AND NOT EXISTS (SELECT FROM {parent} AS t WHERE {refers})"
    return f"SELECT count(*) AS n, {example} AS example FROM {child} AS c WHERE {missing}"  # noqa: S608


def create_plain_sql(table: PlainTable) -> str:
    """CREATE TABLE of a table that is made from the manifest; its key comes after the rows."""
    columns = [
        f"{identifier(column.name)} {type_name(column.pg_type).sql()}"
        + (" NOT NULL" if column.not_null else "")
        + (" GENERATED BY DEFAULT AS IDENTITY" if column.identity and column.not_null else "")
        for column in table.columns
    ]
    return f"CREATE TABLE {relation_sql(table.target)} ({', '.join(columns)})"


def plain_key_sql(table: PlainTable) -> str:
    """The key of a plain table."""
    return f"ALTER TABLE {relation_sql(table.target)} ADD PRIMARY KEY ({names(table.key)})"


def trigger_sql(table: Name, trigger: str, enabled: str | None) -> str:
    """Switch a trigger off (None), or on again as it was: `O` usually, `A` always."""
    how = {None: "DISABLE TRIGGER", "O": "ENABLE TRIGGER", "A": "ENABLE ALWAYS TRIGGER"}[enabled]
    return f"ALTER TABLE ONLY {relation_sql(table)} {how} {identifier(trigger)}"


_TRY_S = 0.5
_PAUSE_S = 0.3
_AUTOVACUUM = "autovacuum worker"
_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_WRITERS = ("ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
# pg_stat_activity shows a stranger's application, but neither its state nor since when, to who is no pg_read_all_stats.
# A prepared transaction has no process: it stays until somebody ends it by name.
_BLOCKERS = """
SELECT l.relation::regclass::text AS relation, min(l.mode) AS mode, l.pid, a.usename AS role,
       a.application_name AS application, a.state, a.backend_type, p.gid, p.owner AS gid_owner,
       to_char(coalesce(a.xact_start, p.prepared) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since,
       pg_backend_pid() = ANY (pg_blocking_pids(l.pid)) AS waits_for_us
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (pg_locks own JOIN pg_prepared_xacts p ON p.transaction = own.transactionid)
    ON l.pid IS NULL AND own.pid IS NULL AND own.virtualtransaction = l.virtualtransaction
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.mode = ANY (%(modes)s)
  AND l.relation IN (SELECT coalesce(t.relid::oid, w.id::oid) FROM unnest(%(oids)s::oid[]) AS w (id)
                     LEFT JOIN LATERAL pg_partition_tree(w.id) AS t ON true)
GROUP BY 1, 3, 4, 5, 6, 7, 8, 9, 10, 11 ORDER BY 10 NULLS LAST, 3"""


class LockHold(StrEnum):
    """How much a lock keeps away. Its value is PostgreSQL's name for it."""

    WRITERS = "SHARE ROW EXCLUSIVE"
    """Nobody changes rows."""
    ALL_BUT_READERS = "EXCLUSIVE"
    """Nobody changes rows or holds some FOR UPDATE; everybody may read."""
    EVERYBODY = "ACCESS EXCLUSIVE"
    """Nobody even reads."""

    @property
    def conflicts(self) -> Sequence[str]:
        """The modes, as pg_locks writes them, that keep this one from being taken."""
        if self is LockHold.WRITERS:
            return ("RowExclusiveLock", *_WRITERS)
        others = ("RowShareLock", "RowExclusiveLock", *_WRITERS)
        return others if self is LockHold.ALL_BUT_READERS else ("AccessShareLock", *others)


@dataclass(frozen=True)
class Wanted:
    """Relations to be locked, as SQL writes them, with their ids."""

    relations: Sequence[str]
    oids: Sequence[int]
    hold: LockHold

    @property
    def sql(self) -> str:
        """The statement that locks them."""
        return f"LOCK TABLE {', '.join(self.relations)} IN {self.hold} MODE"


def take(work: TargetConnection, wanted: Sequence[Wanted]) -> None:
    """Take all the locks of `wanted`, or none; LockedError, naming table and holder, when patience ends."""
    wanted = [lock for lock in wanted if lock.relations]
    deadline = time.monotonic() + work.patience_s
    blockers: Sequence[Row] = ()
    while wanted and not _taken(work, wanted, _wait_s(work, blockers)):
        blockers = _blockers(work, wanted) or blockers
        if work.patience_s and time.monotonic() > deadline:
            raise _locked(work, blockers, wanted)
        time.sleep(_PAUSE_S)


def run_patiently(work: TargetConnection, statement: str, doing: str) -> None:
    """Run a statement that may have to lock what others use, such as the parent of a new foreign key, in tries."""
    deadline = time.monotonic() + work.patience_s
    while (busy := _tried(work, [statement], _TRY_S, doing)) is not None:
        if work.patience_s and time.monotonic() > deadline:
            raise target_error(busy, work.endpoint, doing) from busy
        time.sleep(_PAUSE_S)


def _taken(work: TargetConnection, wanted: Sequence[Wanted], wait_s: float) -> bool:
    return _tried(work, [lock.sql for lock in wanted], wait_s, "locking the tables") is None


def _tried(work: TargetConnection, statements: Sequence[str], wait_s: float, doing: str) -> psycopg.Error | None:
    """Run the statements, none of which waits for a lock longer than `wait_s`; what was busy, and then none has run."""
    before = work.rows("SELECT current_setting('lock_timeout') AS value")[0]["value"]
    try:
        with work.connection.transaction():
            work.connection.execute(f"SET LOCAL lock_timeout = '{round(wait_s * 1000)}ms'".encode())
            for statement in statements:
                work.connection.execute(statement.encode())
            work.connection.execute(f"SET LOCAL lock_timeout = '{before}'".encode())
    except _BUSY as error:
        return error
    except psycopg.Error as error:
        raise target_error(error, work.endpoint, doing) from error
    return None


def _wait_s(work: TargetConnection, blockers: Sequence[Row]) -> float:
    """How long one try waits. An autovacuum only gives way to who waits for longer than deadlock_timeout."""
    if blockers and all(row["backend_type"] == _AUTOVACUUM for row in blockers):
        deadlock_ms = work.number("SELECT setting::int8 AS n FROM pg_settings WHERE name = 'deadlock_timeout'")
        return deadlock_ms / 1000 + _TRY_S
    return _TRY_S


def _blockers(work: TargetConnection, wanted: Sequence[Wanted]) -> Sequence[Row]:
    """Who holds what is in the way now, the longest first."""
    # What pg_stat_activity shows is kept for the length of a transaction, unless it is told to look again.
    work.rows("SELECT pg_stat_clear_snapshot()")
    return [
        row
        for lock in wanted
        for row in work.rows(_BLOCKERS, {"modes": list(lock.hold.conflicts), "oids": list(lock.oids)})
    ]


def _locked(work: TargetConnection, blockers: Sequence[Row], wanted: Sequence[Wanted]) -> LockedError:
    waited = f"The restore asked for a lock again and again, for {work.patience_s:g} s, and did not get it"
    if not blockers:
        tables = ", ".join(name for lock in wanted for name in lock.relations)
        message = f"Too much goes on in {work.endpoint.database} to lock {tables}. {waited}."
        return LockedError(message, do="The target is as it was. Run it again when less is written there.")
    first, others = blockers[0], len({(row["pid"], row["gid"]) for row in blockers}) - 1
    more = f" ({others} more {'holds' if others == 1 else 'hold'} such locks)" if others else ""
    message = f"{first['relation']} is in use: {_who(first)} holds {first['mode']} on it{more}. {waited}."
    return LockedError(message, do=f"The target is as it was. {_way_out(first)}")


def _who(row: Row) -> str:
    if row["gid"] is not None:
        return f"the prepared transaction {row['gid']!r} of {row['gid_owner']}, prepared {row['since']},"
    facts = [
        f"user {row['role']}" if row["role"] else row["backend_type"] or "a background process",
        f"application {row['application']}" if row["application"] else "",
        row["state"] or "",
        f"in a transaction since {row['since']}" if row["since"] else "",
    ]
    return f"process {row['pid']} ({', '.join(fact for fact in facts if fact)})"


def _way_out(row: Row) -> str:
    if row["gid"] is not None:
        return f"End it with COMMIT PREPARED or ROLLBACK PREPARED '{row['gid']}', then run the restore again."
    if row["waits_for_us"]:
        return (
            "That transaction read the table before and now waits to write to it, so each waits for the other. Stop "
            "the application, or let it only read, for the length of the restore; then run it again."
        )
    return f"Let it end, or end it with SELECT pg_terminate_backend({row['pid']}); then run the restore again."
