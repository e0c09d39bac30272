"""A business restored in one transaction: then against now, row by row; nothing of any other business may change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from backup_pipeline.core.businesses.restores import BusinessDiff, RowChange, TableDiff, check_confirmed_diff
from backup_pipeline.core.errors import TargetError
from backup_pipeline.core.ports.ticks import BusinessRestore, BusinessTable
from backup_pipeline.core.relations import Relation
from backup_pipeline.postgres.businesses import rows_of_businesses
from backup_pipeline.postgres.connection import first_connection, parse_endpoint
from backup_pipeline.postgres.errors import connect_error
from backup_pipeline.postgres.page_sql import source_sql
from backup_pipeline.postgres.session import WRITING, apply_sql, identifier, relation_sql

_CONNECT_S = 10
_LOCKS = "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '10min'"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"


@dataclass(frozen=True)
class _Step:
    """A table at work: `then` and `now` are temporary tables with its rows of the business, `where` finds them."""

    name: str
    table: BusinessTable
    columns: Sequence[str]
    then: str
    now: str
    where: str

    @property
    def target(self) -> str:
        return relation_sql(self.table.plan.relation.id)

    @property
    def listed(self) -> str:
        return ", ".join(identifier(name) for name in self.columns)

    def same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{identifier(n)} = {right}.{identifier(n)}" for n in self.table.plan.key)

    def key(self, alias: str) -> str:
        return ", ".join(f"{alias}.{identifier(name)}::text" for name in self.table.plan.key)


class PostgresBusinessTarget:
    """The port `BusinessTarget` over a database's URL."""

    def __init__(self, url: str) -> None:
        self._endpoint = parse_endpoint(url, name="The target URL")

    def restore(self, wish: BusinessRestore, confirmed: str | None) -> BusinessDiff:
        """Find what differs under locks of the rows of now; do it; look whether all is as it was then; commit."""
        try:
            session, _ = first_connection(self._endpoint, "business restore", _CONNECT_S)
        except psycopg.Error as error:
            raise connect_error(error, self._endpoint) from None
        with session:
            try:
                session.execute(_BEGIN)
                session.execute(apply_sql(WRITING).encode())
                session.execute(_LOCKS)
                diff = _Restoring(session, wish).run(confirmed)
                session.execute("ROLLBACK" if confirmed is None else "COMMIT")
            except psycopg.Error as error:
                words = self._endpoint.redact(" ".join(str(error).split()))
                message = f"Business {wish.business} could not be restored: {words}"
                raise TargetError(message, do="Nothing was changed. Look at the plan again.") from None
        return diff


class _Restoring:
    """One restore in its transaction, which whoever called ends."""

    def __init__(self, session: psycopg.Connection[Any], wish: BusinessRestore) -> None:
        self._session, self._wish = session, wish
        self._steps = [
            _Step(
                name,
                table,
                wish.columns[name],
                f"then_{number}",
                f"now_{number}",
                rows_of_businesses(table, [wish.business]),
            )
            for number, (name, table) in enumerate(wish.tables.items())
        ]

    def run(self, confirmed: str | None) -> BusinessDiff:
        before = self._others()
        for step in self._steps:
            self._load(step)
        tables = [self._compared(step) for step in self._steps]
        diff = self._diff(tables, [])
        if confirmed is not None:
            check_confirmed_diff(diff, confirmed)
        self._session.execute("SAVEPOINT doing")
        try:
            self._do()
            self._verify()
            if changed := [name for name, sums in self._others().items() if sums != before[name]]:
                message = f"rows that are not of the business would change in {', '.join(changed)}"
                raise psycopg.errors.TriggeredActionException(message)
        except psycopg.errors.Error as error:
            if confirmed is not None:
                raise
            self._session.execute("ROLLBACK TO doing")
            return self._diff(tables, [str(error.diag.message_primary or error)])
        return diff

    def _diff(self, tables: Sequence[TableDiff], conflicts: list[str]) -> BusinessDiff:
        wish = self._wish
        taken = [f"{each.taken} rows of {each.name} are another business's by now" for each in tables if each.taken]
        choices = tuple(sorted(wish.choices))
        return BusinessDiff(wish.catalog, wish.business, wish.backup_id, choices, tuple(tables), (*taken, *conflicts))

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return self._session.execute(sql.encode()).fetchall()

    def _others(self) -> Mapping[str, tuple[int, str]]:
        """Of every table the rows that are not of the business: how many, and the sum of their hashes."""
        sums_of: dict[str, tuple[int, str]] = {}
        for relation, where in self._elsewhere():
            sums = "count(*) AS n, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS h"
            (row,) = self._rows(f"SELECT {sums} FROM {source_sql(relation)} WHERE {where}")
            sums_of[relation.full_name] = (row["n"], row["h"])
        return sums_of

    def _elsewhere(self) -> Iterator[tuple[Relation, str]]:
        for step in self._steps:
            yield step.table.plan.relation, f"({step.where}) IS NOT TRUE"
        for relation in self._wish.others:
            yield relation, "true"

    def _load(self, step: _Step) -> None:
        """The rows of then, and those of now, which nobody else changes from here on."""
        empty = f"ON COMMIT DROP AS SELECT {step.listed} FROM {step.target} WITH NO DATA"
        for name in (step.then, step.now):
            self._session.execute(f"CREATE TEMP TABLE {name} {empty}".encode())
        with self._session.cursor() as cursor, cursor.copy(f"COPY {step.then} FROM STDIN".encode()) as copy:
            for row in self._wish.rows[step.name]:
                copy.write_row(row)
        source = source_sql(step.table.plan.relation)
        self._session.execute(f"SELECT FROM {source} WHERE {step.where} FOR UPDATE OF t".encode())
        self._read_now(step)

    def _read_now(self, step: _Step) -> None:
        columns = ", ".join(f"t.{identifier(name)}" for name in step.columns)
        source = source_sql(step.table.plan.relation)
        self._session.execute(f"TRUNCATE {step.now}".encode())
        self._session.execute(f"INSERT INTO {step.now} SELECT {columns} FROM {source} WHERE {step.where}".encode())

    def _compared(self, step: _Step) -> TableDiff:
        choices, key = self._wish.choices, bool(step.table.plan.key) and step.table.tracked
        if not key:
            return self._counted(step)
        both = f"{step.then} h JOIN {step.now} n ON {step.same_key('h', 'n')}"
        differs = "h::text IS DISTINCT FROM n::text"
        missing = f"{step.then} h WHERE NOT EXISTS (SELECT FROM {step.now} n WHERE {step.same_key('h', 'n')})"
        later = f"{step.now} n WHERE NOT EXISTS (SELECT FROM {step.then} h WHERE {step.same_key('h', 'n')})"
        of_change = {
            RowChange.CREATE: (missing, "md5(h::text)", step.key("h")),
            RowChange.UPDATE: (f"{both} WHERE {differs}", "md5(h::text) || md5(n::text)", step.key("n")),
            RowChange.DELETE: (later, "md5(n::text)", step.key("n")),
        }
        counts, content = dict.fromkeys(RowChange, 0), hashlib.sha256()
        for choice in RowChange:
            if choice in choices:
                source, hashed, order = of_change[choice]
                [row] = self._rows(
                    f"SELECT count(*) AS n, coalesce(string_agg({hashed}, ',' ORDER BY {order}), '') AS h FROM {source}"
                )
                counts[choice] = row["n"]
                content.update(f"{choice} {row['n']} {row['h']}\n".encode())
        columns = self._by_column(step, f"{both} WHERE {differs}") if counts[RowChange.UPDATE] else {}
        taken = 0
        if counts[RowChange.CREATE]:
            elsewhere = f"EXISTS (SELECT FROM {step.target} t WHERE {step.same_key('h', 't')})"
            [row] = self._rows(f"SELECT count(*) AS n FROM {missing} AND {elsewhere}")
            taken = row["n"]
        return TableDiff(
            step.name,
            counts[RowChange.CREATE],
            counts[RowChange.UPDATE],
            counts[RowChange.DELETE],
            columns,
            taken,
            content.hexdigest(),
        )

    def _counted(self, step: _Step) -> TableDiff:
        """Of a table without a key rows are all the same that look the same: as many as were there."""
        missing = f"SELECT h::text AS r FROM {step.then} h EXCEPT ALL SELECT n::text FROM {step.now} n"
        later = f"SELECT n::text AS r FROM {step.now} n EXCEPT ALL SELECT h::text FROM {step.then} h"
        sums = "count(*) AS n, md5(coalesce(string_agg(r, ',' ORDER BY r), '')) AS h"
        [create], [delete] = (self._rows(f"SELECT {sums} FROM ({sql}) AS rows") for sql in (missing, later))
        wanted = self._wish.choices >= {RowChange.CREATE, RowChange.DELETE}
        return TableDiff(step.name, create["n"] * wanted, 0, delete["n"] * wanted, {}, 0, f"{create['h']}{delete['h']}")

    def _by_column(self, step: _Step, source: str) -> dict[str, int]:
        names = [identifier(name) for name in step.columns]
        differs = [f"h.{name}::text IS DISTINCT FROM n.{name}::text" for name in names]
        counts = ", ".join(f"count(*) FILTER (WHERE {each}) AS c{number}" for number, each in enumerate(differs))
        [row] = self._rows(f"SELECT {counts} FROM {source}")
        return {name: row[f"c{number}"] for number, name in enumerate(step.columns) if row[f"c{number}"]}

    def _do(self) -> None:
        """Children go first, parents come first."""
        for step in reversed(self._steps):
            if RowChange.DELETE in self._wish.choices:
                self._delete(step)
        for step in self._steps:
            self._update(step)
            self._create(step)

    def _verify(self) -> None:
        """What was wanted is so: unless something of the database itself, such as a trigger, wanted otherwise."""
        for step in self._steps:
            self._read_now(step)
            left = self._compared(step)
            if left.create or left.update or left.delete:
                message = f"a trigger, or another rule of the database, keeps table {step.name} from being as it was"
                raise psycopg.errors.TriggeredActionException(message)

    def _delete(self, step: _Step) -> None:
        if not step.table.tracked:
            if RowChange.CREATE in self._wish.choices:
                self._session.execute(f"DELETE FROM {source_sql(step.table.plan.relation)} WHERE {step.where}".encode())
            return
        gone = f"NOT EXISTS (SELECT FROM {step.then} h WHERE {step.same_key('h', 'n')})"
        self._session.execute(
            f"DELETE FROM {step.target} t USING {step.now} n WHERE {step.same_key('t', 'n')} AND {gone}".encode()
        )

    def _update(self, step: _Step) -> None:
        if RowChange.UPDATE not in self._wish.choices or not step.table.tracked:
            return
        values = [name for name in step.columns if name not in step.table.plan.key]
        if values:
            changes = ", ".join(f"{identifier(name)} = h.{identifier(name)}" for name in values)
            source = f"{step.then} h JOIN {step.now} n ON {step.same_key('h', 'n')}"
            where = f"{step.same_key('t', 'h')} AND h::text IS DISTINCT FROM n::text"
            self._session.execute(f"UPDATE {step.target} t SET {changes} FROM {source} WHERE {where}".encode())

    def _create(self, step: _Step) -> None:
        if RowChange.CREATE not in self._wish.choices:
            return
        if not step.table.tracked and RowChange.DELETE not in self._wish.choices:
            return
        where = ""
        if step.table.tracked:
            where = f"WHERE NOT EXISTS (SELECT FROM {step.now} n WHERE {step.same_key('h', 'n')})"
        self._session.execute(
            f"INSERT INTO {step.target} ({step.listed}) OVERRIDING SYSTEM VALUE "
            f"SELECT {step.listed} FROM {step.then} h {where}".encode()
        )
