"""A business restored in one transaction: then against now, row by row; nothing of any other business may change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from backup_pipeline.core.errors import LockedError, NotFoundError, TargetError
from backup_pipeline.core.ports.ticks import BusinessRestore, BusinessTable, RowChoice
from backup_pipeline.core.relations import Relation
from backup_pipeline.core.restore import RowChange
from backup_pipeline.core.restore.businesses import (
    EXAMPLES,
    BusinessDiff,
    BusinessPlan,
    RestoreConflict,
    RowExample,
    TableDiff,
    check_no_conflict,
    key_text,
)
from backup_pipeline.postgres.businesses import rows_of_businesses
from backup_pipeline.postgres.connection import first_connection, parse_endpoint
from backup_pipeline.postgres.errors import connect_error
from backup_pipeline.postgres.page_sql import source_sql
from backup_pipeline.postgres.session import WRITING, apply_sql, identifier, relation_sql

_CONNECT_S = 10
_LOCKS = "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '10min'"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
_LONGEST = 200
"""Letters of a value that an example shows."""
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended('backup_pipeline restores ' || %s, 0)) AS held"


@dataclass(frozen=True)
class _Step:
    """A table at work: `then`, `now` and `chosen` are temporary tables: its rows of the business, and chosen keys.

    `where` finds the rows of the business.
    """

    number: int
    name: str
    table: BusinessTable
    columns: Sequence[str]
    where: str
    choice: RowChoice | None

    @property
    def then(self) -> str:
        return f"then_{self.number}"

    @property
    def now(self) -> str:
        return f"now_{self.number}"

    @property
    def chosen(self) -> str:
        return f"chosen_{self.number}"

    @property
    def target(self) -> str:
        return relation_sql(self.table.plan.relation.id)

    @property
    def listed(self) -> str:
        return ", ".join(identifier(name) for name in self.columns)

    def same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{identifier(n)} = {right}.{identifier(n)}" for n in self.table.plan.key)

    def key(self, alias: str) -> Sequence[str]:
        return [f"{alias}.{identifier(name)}::text" for name in self.table.plan.key]

    def is_meant(self, alias: str) -> str:
        """SQL that says whether a row of `alias` is one of those that are to be brought back."""
        if self.choice is None:
            return "true"
        listed = f"EXISTS (SELECT FROM {self.chosen} c WHERE {self.has_chosen_key(alias)})"
        return listed if self.choice.alone else f"NOT {listed}"

    def has_chosen_key(self, alias: str) -> str:
        return " AND ".join(f"c.k{place} = {text}" for place, text in enumerate(self.key(alias)))


@dataclass(frozen=True)
class _Compared:
    """What differs in a table, whether it is wanted or not: of each change how many rows, and a digest of them."""

    counts: Mapping[RowChange, tuple[int, str]]
    columns: Mapping[str, int] = field(default_factory=dict)
    taken: int = 0


class PostgresBusinessTarget:
    """The port `BusinessTarget` over a database's URL, as `role` where that is another one than the URL's."""

    def __init__(self, url: str, role: str | None = None) -> None:
        self._endpoint = parse_endpoint(url, name="The target URL")
        self._role = role

    def restore(self, wish: BusinessRestore, confirmed: BusinessPlan | None) -> BusinessDiff:
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
                if self._role is not None:
                    session.execute(f"SET LOCAL ROLE {identifier(self._role)}".encode())
                if confirmed is not None:
                    _keep_others_out(session, wish)
                diff = _Restoring(session, wish).run(confirmed)
                session.execute("ROLLBACK" if confirmed is None else "COMMIT")
            except psycopg.Error as error:
                words = self._endpoint.redact(" ".join(str(error).split()))
                message = f"Business {wish.business} could not be restored: {words}"
                raise TargetError(message, do="Nothing was changed. Look at the plan again.") from None
        return diff


def _keep_others_out(session: psycopg.Connection[Any], wish: BusinessRestore) -> None:
    row = session.execute(_ALONE, [f"{wish.catalog}/{wish.business}"]).fetchone()
    if row is None or not row["held"]:
        message = f"Another restore of business {wish.business} is under way."
        raise LockedError(message, do="Wait until it ends. Nothing was changed.")


class _Restoring:
    """One restore in its transaction, which whoever called ends."""

    def __init__(self, session: psycopg.Connection[Any], wish: BusinessRestore) -> None:
        self._session, self._wish = session, wish
        self._steps = [
            _Step(
                number,
                name,
                table,
                wish.columns[name],
                rows_of_businesses(table, [wish.business]),
                wish.chosen.get(name),
            )
            for number, (name, table) in enumerate(wish.tables.items())
        ]

    def run(self, confirmed: BusinessPlan | None) -> BusinessDiff:
        for step in self._steps:
            self._load(step)
        before = self._others()
        compared = {step.name: self._compared(step) for step in self._steps}
        diff = self._diff(compared, before)
        if confirmed is not None:
            check_no_conflict(diff)
            confirmed.check_unchanged(diff)
        else:
            diff = self._diff(compared, before, examples=True)
        self._session.execute("SAVEPOINT doing")
        try:
            self._do()
            self._verify(compared)
            if changed := [name for name, sums in self._others().items() if sums != before[name]]:
                message = f"rows that are not of the business, or not chosen, would change in {', '.join(changed)}"
                raise psycopg.errors.TriggeredActionException(message)
        except psycopg.errors.Error as error:
            if confirmed is not None:
                raise
            self._session.execute("ROLLBACK TO doing")
            return self._diff(compared, before, [_conflict(error, self._steps)], examples=True)
        return diff

    def _diff(
        self,
        compared: Mapping[str, _Compared],
        others: Mapping[str, tuple[int, str]],
        conflicts: Sequence[RestoreConflict] = (),
        *,
        examples: bool = False,
    ) -> BusinessDiff:
        wish = self._wish
        tables = [self._table_diff(step, compared[step.name], examples=examples) for step in self._steps]
        taken = (
            RestoreConflict(f"{each.taken} rows of {each.name} are another business's by now.", each.name)
            for each in tables
            if each.taken
        )
        counts = {name: count for name, (count, _) in others.items()}
        return BusinessDiff(wish.catalog, wish.business, wish.backup_id, tuple(tables), (*taken, *conflicts), counts)

    def _table_diff(self, step: _Step, compared: _Compared, *, examples: bool) -> TableDiff:
        wanted = self._wanted(step)
        counts = {change: compared.counts[change][0] if change in wanted else 0 for change in RowChange}
        content = "\n".join(f"{change} {compared.counts[change][1]}" for change in RowChange if change in wanted)
        updated, created = counts[RowChange.UPDATE], counts[RowChange.CREATE]
        rows = (
            [row for change in RowChange if counts[change] for row in self._examples(step, change)] if examples else ()
        )
        return TableDiff(
            step.name,
            created,
            updated,
            counts[RowChange.DELETE],
            compared.columns if updated else {},
            compared.taken if created else 0,
            hashlib.sha256(content.encode()).hexdigest(),
            tuple(rows),
        )

    def _wanted(self, step: _Step) -> frozenset[RowChange]:
        """Of a table without a key rows are added and removed together, or not at all."""
        both = frozenset({RowChange.CREATE, RowChange.DELETE})
        changes = self._wish.changes
        return changes if step.table.tracked else both if changes >= both else frozenset()

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return self._session.execute(sql.encode()).fetchall()

    def _others(self) -> Mapping[str, tuple[int, str]]:
        """Of every table the rows that are not to be restored: how many, and the sum of their hashes."""
        sums_of: dict[str, tuple[int, str]] = {}
        for relation, where in self._elsewhere():
            sums = "count(*) AS n, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS h"
            (row,) = self._rows(f"SELECT {sums} FROM {source_sql(relation)} WHERE {where}")
            sums_of[relation.full_name] = (row["n"], row["h"])
        return sums_of

    def _elsewhere(self) -> Iterator[tuple[Relation, str]]:
        for step in self._steps:
            yield step.table.plan.relation, f"(({step.where}) AND {step.is_meant('t')}) IS NOT TRUE"
        for relation in self._wish.others:
            yield relation, "true"

    def _load(self, step: _Step) -> None:
        """The rows of then, and those of now, which nobody else changes from here on."""
        empty = f"ON COMMIT DROP AS SELECT {step.listed} FROM {step.target} WITH NO DATA"
        for name in (step.then, step.now):
            self._session.execute(f"CREATE TEMP TABLE {name} {empty}".encode())
        self._copy(step.then, self._wish.rows[step.name])
        source = source_sql(step.table.plan.relation)
        self._session.execute(f"SELECT FROM {source} WHERE {step.where} FOR UPDATE OF t".encode())
        if step.choice is not None:
            columns = ", ".join(f"k{place} text" for place in range(len(step.table.plan.key)))
            self._session.execute(f"CREATE TEMP TABLE {step.chosen} ({columns}) ON COMMIT DROP".encode())
            self._copy(step.chosen, step.choice.keys)
            self._session.execute(f"DELETE FROM {step.then} h WHERE NOT {step.is_meant('h')}".encode())
        self._read_now(step)
        if step.choice is not None and step.choice.alone:
            self._check_chosen(step)

    def _copy(self, table: str, rows: Any) -> None:
        with self._session.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def _check_chosen(self, step: _Step) -> None:
        """NotFoundError for a key that neither a row of then nor one of now has: somebody has mistyped it."""
        there = (f"EXISTS (SELECT FROM {name} r WHERE {step.has_chosen_key('r')})" for name in (step.then, step.now))
        missing = self._rows(f"SELECT * FROM {step.chosen} c WHERE NOT ({' OR '.join(there)}) LIMIT 1")
        if missing:
            key = key_text(list(missing[0].values()))
            message = f"Business {self._wish.business} has no row {key[:100]} of {step.name}, and had none then."
            raise NotFoundError(message, do="The plan without chosen rows has examples with their keys.")

    def _read_now(self, step: _Step) -> None:
        columns = ", ".join(f"t.{identifier(name)}" for name in step.columns)
        source = source_sql(step.table.plan.relation)
        where = f"({step.where}) AND {step.is_meant('t')}"
        self._session.execute(f"TRUNCATE {step.now}".encode())
        self._session.execute(f"INSERT INTO {step.now} SELECT {columns} FROM {source} WHERE {where}".encode())

    def _compared(self, step: _Step) -> _Compared:
        if not step.table.tracked:
            return self._counted(step)
        sources = _sources(step)
        hashes = {
            RowChange.CREATE: ("md5(h::text)", step.key("h")),
            RowChange.UPDATE: ("md5(h::text) || md5(n::text)", step.key("n")),
            RowChange.DELETE: ("md5(n::text)", step.key("n")),
        }
        counts: dict[RowChange, tuple[int, str]] = {}
        for change, (hashed, order) in hashes.items():
            order_by = ", ".join(order)
            sums = f"count(*) AS n, md5(coalesce(string_agg({hashed}, ',' ORDER BY {order_by}), '')) AS h"
            [row] = self._rows(f"SELECT {sums} FROM {sources[change]}")
            counts[change] = (row["n"], row["h"])
        taken = 0
        if counts[RowChange.CREATE][0]:
            elsewhere = f"EXISTS (SELECT FROM {step.target} t WHERE {step.same_key('h', 't')})"
            [row] = self._rows(f"SELECT count(*) AS n FROM {sources[RowChange.CREATE]} AND {elsewhere}")
            taken = row["n"]
        updated = counts[RowChange.UPDATE][0]
        return _Compared(counts, self._by_column(step, sources[RowChange.UPDATE]) if updated else {}, taken)

    def _counted(self, step: _Step) -> _Compared:
        """Of a table without a key rows are all the same that look the same: as many as were there."""
        missing = f"SELECT h::text AS r FROM {step.then} h EXCEPT ALL SELECT n::text FROM {step.now} n"
        later = f"SELECT n::text AS r FROM {step.now} n EXCEPT ALL SELECT h::text FROM {step.then} h"
        sums = "count(*) AS n, md5(coalesce(string_agg(r, ',' ORDER BY r), '')) AS h"
        [create], [delete] = (self._rows(f"SELECT {sums} FROM ({sql}) AS rows") for sql in (missing, later))
        counts = {RowChange.CREATE: create, RowChange.UPDATE: {"n": 0, "h": ""}, RowChange.DELETE: delete}
        return _Compared({change: (row["n"], row["h"]) for change, row in counts.items()})

    def _by_column(self, step: _Step, source: str) -> dict[str, int]:
        differs = (f"count(*) FILTER (WHERE {each}) AS c{number}" for number, each in enumerate(_differing(step)))
        [row] = self._rows(f"SELECT {', '.join(differs)} FROM {source}")
        return {name: row[f"c{number}"] for number, name in enumerate(step.columns) if row[f"c{number}"]}

    def _examples(self, step: _Step, change: RowChange) -> Iterator[RowExample]:
        """The first rows of a change by key, each value cut off where it is long."""
        if not step.table.tracked:
            return
        of_now, of_then = change is not RowChange.CREATE, change is not RowChange.DELETE
        keys = step.key("n" if of_now else "h")
        wanted = [f"{text} AS k{number}" for number, text in enumerate(keys)]
        for number, name in enumerate(map(identifier, step.columns)):
            wanted.append(f"{f'left(n.{name}::text, {_LONGEST})' if of_now else 'NULL'} AS n{number}")
            wanted.append(f"{f'left(h.{name}::text, {_LONGEST})' if of_then else 'NULL'} AS h{number}")
        if change is RowChange.UPDATE:
            wanted += [f"{each} AS d{number}" for number, each in enumerate(_differing(step))]
        query = f"SELECT {', '.join(wanted)} FROM {_sources(step)[change]}"
        for row in self._rows(f"{query} ORDER BY {', '.join(keys)} LIMIT {EXAMPLES}"):
            values = {
                name: (row[f"n{number}"], row[f"h{number}"])
                for number, name in enumerate(step.columns)
                if row.get(f"d{number}", True)
            }
            yield RowExample(change, key_text([row[f"k{number}"] for number in range(len(keys))]), values)

    def _do(self) -> None:
        """Children go first, parents come first."""
        for step in reversed(self._steps):
            if RowChange.DELETE in self._wanted(step):
                self._delete(step)
        for step in self._steps:
            if RowChange.UPDATE in self._wanted(step):
                self._update(step)
            if RowChange.CREATE in self._wanted(step):
                self._create(step)

    def _verify(self, before: Mapping[str, _Compared]) -> None:
        """What was wanted is so, and what was not is as it was: unless a trigger or a cascade wanted otherwise."""
        for step in self._steps:
            self._read_now(step)
            left = self._compared(step).counts
            wanted = self._wanted(step)
            if any(left[change][0] for change in wanted):
                message = f"a trigger, or another rule of the database, keeps table {step.name} from being as it was"
                raise psycopg.errors.TriggeredActionException(message)
            if any(left[change] != before[step.name].counts[change] for change in RowChange if change not in wanted):
                message = f"rows of {step.name} would change in ways that are not wanted, such as by a cascade"
                raise psycopg.errors.TriggeredActionException(message)

    def _delete(self, step: _Step) -> None:
        if not step.table.tracked:
            self._session.execute(f"DELETE FROM {source_sql(step.table.plan.relation)} WHERE {step.where}".encode())
            return
        gone = f"NOT EXISTS (SELECT FROM {step.then} h WHERE {step.same_key('h', 'n')})"
        self._session.execute(
            f"DELETE FROM {step.target} t USING {step.now} n WHERE {step.same_key('t', 'n')} AND {gone}".encode()
        )

    def _update(self, step: _Step) -> None:
        values = [name for name in step.columns if name not in step.table.plan.key]
        if values:
            changes = ", ".join(f"{identifier(name)} = h.{identifier(name)}" for name in values)
            source = f"{step.then} h JOIN {step.now} n ON {step.same_key('h', 'n')}"
            where = f"{step.same_key('t', 'h')} AND h::text IS DISTINCT FROM n::text"
            self._session.execute(f"UPDATE {step.target} t SET {changes} FROM {source} WHERE {where}".encode())

    def _create(self, step: _Step) -> None:
        where = ""
        if step.table.tracked:
            where = f"WHERE NOT EXISTS (SELECT FROM {step.now} n WHERE {step.same_key('h', 'n')})"
        self._session.execute(
            f"INSERT INTO {step.target} ({step.listed}) OVERRIDING SYSTEM VALUE "
            f"SELECT {step.listed} FROM {step.then} h {where}".encode()
        )


def _sources(step: _Step) -> Mapping[RowChange, str]:
    """What stands after FROM for the rows of each change: `h` are rows of then, `n` rows of now."""
    same = step.same_key("h", "n")
    return {
        RowChange.CREATE: f"{step.then} h WHERE NOT EXISTS (SELECT FROM {step.now} n WHERE {same})",
        RowChange.UPDATE: f"{step.then} h JOIN {step.now} n ON {same} WHERE h::text IS DISTINCT FROM n::text",
        RowChange.DELETE: f"{step.now} n WHERE NOT EXISTS (SELECT FROM {step.then} h WHERE {same})",
    }


def _differing(step: _Step) -> Sequence[str]:
    names = map(identifier, step.columns)
    return [f"h.{name}::text IS DISTINCT FROM n.{name}::text" for name in names]


def _conflict(error: psycopg.Error, steps: Sequence[_Step]) -> RestoreConflict:
    """What the database says, under the name that the catalog has for the table."""
    relation = (error.diag.schema_name, error.diag.table_name)
    table = next((step.name for step in steps if step.table.plan.relation.id == relation), error.diag.table_name)
    return RestoreConflict(str(error.diag.message_primary or error), table, error.diag.message_detail or "")
