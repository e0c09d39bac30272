"""Tables that are there already: staged rows are compared by key, and only what differs is written.

Foreign keys and triggers are set aside meanwhile; sequences are moved on behind what was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from backup_pipeline.core.errors import PreflightRefusedError, TargetError
from backup_pipeline.core.restore import Action, Name, RestorePlan, SequenceRestore, TableRestore, TargetRelation
from backup_pipeline.core.restore.tables import SequenceLimits, SequenceState, state_after
from backup_pipeline.postgres.restore import queries as target_queries
from backup_pipeline.postgres.restore import sql
from backup_pipeline.postgres.restore.queries import (
    Row,
    TargetConnection,
    oids_of,
    own_rows,
    sequences_of,
    target_error,
)
from backup_pipeline.postgres.restore.sql import LockHold, Wanted, take
from backup_pipeline.postgres.session import identifier, literal, relation_sql


@dataclass(frozen=True)
class Staged:
    """A table's rows beside it. `rows` is the table as its own rows; `others_unique` counts its other unique indexes.

    `referred` says that tables outside the restore refer to it.
    """

    table: TableRestore
    staging: str
    rows: str
    relation: TargetRelation
    others_unique: int
    referred: bool


@dataclass(frozen=True)
class Merged:
    """How many rows were written, as the server counted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def check_keys(work: TargetConnection, staged: Staged) -> None:
    """PreflightRefusedError when rows of the backup can not be told apart by the key."""
    if staged.table.key and (bad := work.number(sql.bad_keys_sql(staged.staging, staged.table))):
        key, name = ", ".join(staged.table.key), staged.table.name
        message = f"{bad:,} keys ({key}) stand more than once, or are NULL, in the backup's rows of {name}."
        do = "The target is as it was. Restore the table beside with --rename, and bring the rows over with SQL."
        raise PreflightRefusedError(message, do=do)


def merge(work: TargetConnection, staged: Staged) -> Merged:
    """Put the staged rows in place, as the table's action says."""
    table, doing = staged.table, f"writing {staged.table.target_name}"
    deleted = updated = 0
    if table.action is Action.REPLACE:
        deleted = work.run(sql.delete_absent_sql(staged.staging, staged.rows, table), doing)
    if table.action is not Action.INSERT_MISSING and table.key:
        updated = _exchange(work, staged, doing) if _exchanges(staged) else _update(work, staged, doing)
    types = {column.name: column.pg_type for column in staged.relation.columns}
    inserted = work.run(sql.insert_sql(staged.staging, staged.rows, table, types), doing)
    if table.action is Action.REPLACE:
        _check_count(work, staged)
    return Merged(inserted, updated, deleted)


def _exchanges(staged: Staged) -> bool:
    """Whether changed rows are removed and put back instead of updated.

    An UPDATE checks unique indexes row by row: two rows that swap their values would stop it. It can not write an
    identity either. But rows that others refer to must not be gone, not even for a moment.
    """
    return bool(staged.others_unique or _identities(staged)) and not staged.referred


def _exchange(work: TargetConnection, staged: Staged, doing: str) -> int:
    changed = f"{staged.staging}_changed"
    work.run(sql.changed_sql(changed, staged.staging, staged.rows, staged.table), doing)
    work.run(sql.delete_changed_sql(changed, staged.rows, staged.table), doing)
    return work.run(sql.insert_changed_sql(changed, staged.table), doing)


def _update(work: TargetConnection, staged: Staged, doing: str) -> int:
    fixed = _identities(staged)
    if fixed and work.number(sql.differing_sql(staged.staging, staged.rows, staged.table, fixed)):
        column = f"{staged.table.target_name}.{', '.join(fixed)}"
        message = f"Identity column {column} would have to change, in rows that other tables refer to."
        do = "The target is as it was. Restore the table beside with --rename, and bring the rows over with SQL."
        raise PreflightRefusedError(message, do=do)
    always = _always(staged.relation)
    columns = [column.target for column in staged.table.columns if column.target not in always]
    return work.run(sql.update_sql(staged.staging, staged.rows, staged.table, columns), doing) if columns else 0


def _identities(staged: Staged) -> list[str]:
    """Identity columns that no UPDATE can write, and that the key does not settle."""
    loaded = [column.target for column in staged.table.columns]
    always = _always(staged.relation)
    return [name for name in loaded if name in always and name not in staged.table.key]


def _always(relation: TargetRelation) -> Mapping[str, str]:
    return {column.name: column.identity for column in relation.columns if column.identity == "always"}


def _check_count(work: TargetConnection, staged: Staged) -> None:
    there = work.number(f"SELECT count(*) AS n FROM {staged.rows}")  # noqa: S608
    come = staged.table.rows_in_backup
    if there != come:
        message = f"{staged.table.target_name} would have {there:,} rows, not the backup's {come:,}."
        raise TargetError(message, do="The target is as it was. Report it: the comparison by key went wrong.")


_CHANGING = {Action.UPSERT, Action.REPLACE}


class Guards:
    """The foreign keys around the tables of a plan and their triggers, as they are when this is made."""

    def __init__(self, work: TargetConnection, plan: RestorePlan) -> None:
        self._work = work
        self._tables = {table.target: table for table in plan.tables}
        self._broken = {(key.child, key.columns, key.parent) for key in plan.broken}
        oids = oids_of(work.rows, self._tables)
        references = work.rows(target_queries.REFERENCES, {"oids": oids})
        self._inside = [row for row in references if _child(row) in self._tables and _parent(row) in self._tables]
        self._inbound = [row for row in references if _child(row) not in self._tables]
        self._triggers = work.rows(target_queries.TRIGGERS, {"oids": oids})

    def lock(self, kinds: dict[Name, str]) -> None:
        """Lock the tables, and those that refer to them: nobody else writes until the end, and everybody may read."""
        children = {own_rows(_child(row), row["child_kind"]): int(row["child"]) for row in self._inbound}
        take(
            self._work,
            [
                self._own(kinds, LockHold.ALL_BUT_READERS),
                Wanted(sorted(children), sorted(children.values()), LockHold.WRITERS),
            ],
        )

    def lock_alone(self, kinds: dict[Name, str]) -> None:
        """Keep readers away too, for as short as can be, where foreign keys will be set aside."""
        if self._inside:
            take(self._work, [self._own(kinds, LockHold.EVERYBODY)])

    def _own(self, kinds: dict[Name, str], hold: LockHold) -> Wanted:
        names = sorted(self._tables)
        return Wanted([own_rows(name, kinds[name]) for name in names], oids_of(self._work.rows, names), hold)

    def refuse_losses(self, table: TableRestore, staging: str, rows: str) -> None:
        """PreflightRefusedError when rows of a table outside the restore would lose what they refer to."""
        if table.action not in _CHANGING:
            return
        for row in self._inbound:
            if _parent(row) != table.target:
                continue
            removes = table.action is Action.REPLACE
            gone = sql.gone_condition(staging, table, row["target_columns"], removes=removes)
            child = own_rows((row["on_schema"], row["on_name"]), row["child_kind"])
            lost = self._work.number(sql.losing_sql(child, row["columns"], rows, row["target_columns"], table, gone))
            if lost:
                raise _losing(row, table, lost)

    @property
    def referred_from_outside(self) -> set[Name]:
        """The tables that others refer to."""
        return {_parent(row) for row in self._inbound}

    def take_away(self) -> None:
        """Drop the foreign keys among the tables, and keep their triggers still."""
        for row in self._inside:
            drop = f"ALTER TABLE {_on(row)} DROP CONSTRAINT {identifier(row['name'])}"
            self._work.run(drop, f"setting foreign key {row['name']} aside")
        for row in self._triggers:
            off = sql.trigger_sql((row["schema"], row["name"]), row["trigger"], None)
            self._work.run(off, f"keeping trigger {row['trigger']} still")

    def put_back(self) -> None:
        """Make the foreign keys again, which checks every row, and switch the triggers on as they were."""
        for row in self._triggers:
            on = sql.trigger_sql((row["schema"], row["name"]), row["trigger"], row["enabled"])
            self._work.run(on, f"switching trigger {row['trigger']} on")
        for row in self._inside:
            self._put_back(row)

    def _put_back(self, row: Row) -> None:
        add = f"ALTER TABLE {_on(row)} ADD CONSTRAINT {identifier(row['name'])} {row['definition']}"
        try:
            with self._work.connection.transaction():
                self._work.connection.execute(add.encode())
        except psycopg.errors.ForeignKeyViolation as error:
            if (_child(row), tuple(row["columns"]), _parent(row)) not in self._broken:
                raise self._orphaned(row) from error
            self._work.run(f"{add} NOT VALID", f"making foreign key {row['name']}, which the source breaks, NOT VALID")
        except psycopg.Error as error:
            raise target_error(error, self._work.endpoint, f"making foreign key {row['name']}") from error
        if row["comment"]:
            comment = f"COMMENT ON CONSTRAINT {identifier(row['name'])} ON {_on(row)} IS {literal(row['comment'])}"
            self._work.run(comment, f"commenting on {row['name']}")

    def _orphaned(self, row: Row) -> PreflightRefusedError:
        child = own_rows((row["on_schema"], row["on_name"]), row["child_kind"])
        parent = relation_sql(_parent(row))
        (orphans,) = self._work.rows(sql.orphans_sql(child, row["columns"], parent, row["target_columns"]))
        where, key = ".".join(_child(row)), ", ".join(row["columns"])
        message = f"{orphans['n']:,} rows of {where} refer to rows of {'.'.join(_parent(row))} that would not be there"
        do = "The target is as it was. Restore both tables in the same mode, or use a backup of one instant."
        return PreflightRefusedError(f"{message} ({key} = {orphans['example']}, for one).", do=do)


def kinds_of(work: TargetConnection, tables: Sequence[TableRestore]) -> dict[Name, str]:
    """The letter that says what each table is: `r`, or `p` when it is partitioned."""
    oids = oids_of(work.rows, [table.target for table in tables])
    rows = work.rows(target_queries.RELATIONS, {"oids": oids})
    return {(row["schema"], row["name"]): row["kind"] for row in rows}


def _losing(row: Row, table: TableRestore, lost: int) -> PreflightRefusedError:
    child = ".".join(_child(row))
    message = f"{lost:,} rows of {child} refer to rows of {table.target_name} that the restore would remove or change."
    do = f"The target is as it was. Restore {child} too, use --mode insert-missing, or settle those rows first."
    return PreflightRefusedError(message, do=do)


def _child(row: Row) -> Name:
    return row["child_schema"], row["child_name"]


def _parent(row: Row) -> Name:
    return row["parent_schema"], row["parent_name"]


def _on(row: Row) -> str:
    """The table that the constraint itself stands on: of a partition's own not the partitioned one."""
    return relation_sql((row["on_schema"], row["on_name"]))


class Counters:
    """The sequences that feed the columns of the tables, and the plan's `others`.

    All that feed columns can be set, else PreflightRefusedError.
    """

    def __init__(
        self, work: TargetConnection, tables: Sequence[TableRestore], others: Sequence[SequenceRestore] = ()
    ) -> None:
        self._work = work
        self._others = others
        self._rows: list[tuple[TableRestore, Row]] = []
        for table in tables:
            oids = oids_of(work.rows, [table.target])
            self._rows += [(table, row) for row in work.rows(target_queries.SEQUENCES, {"oids": oids})]
        for table, row in self._rows:
            if not row["settable"]:
                raise _not_settable(table, _name(row))

    def set(self) -> None:
        """Set each where it has to stand."""
        states: dict[Name, SequenceState] = {}
        for table, row in self._rows:
            name = _name(row)
            fresh = row["made_now"] and name not in states
            present = states.get(name) or self._present(name)
            after = self._after(table, row, None if fresh else present)
            self._move(name, present, after)
            states[name] = after or present
        self._set_others(states)

    def _set_others(self, states: Mapping[Name, SequenceState]) -> None:
        """Those that were just made stand where the backup has them; the others never go back."""
        there = sequences_of(self._work.rows, [sequence.sequence for sequence in self._others])
        for sequence in (sequence for sequence in self._others if sequence.sequence in there):
            recorded = SequenceState(sequence.last_value, sequence.is_called)
            present = states.get(sequence.sequence) or self._present(sequence.sequence)
            fresh = sequence.made and sequence.sequence not in states
            candidates = [recorded] if fresh else [recorded, present]
            self._move(sequence.sequence, present, state_after(candidates, None, _limits(there[sequence.sequence])))

    def _move(self, name: Name, present: SequenceState, after: SequenceState | None) -> None:
        if after is not None and after != present:
            called = "true" if after.is_called else "false"
            setting = f"SELECT setval({literal(relation_sql(name))}, {after.last_value}, {called})"
            self._work.run(setting, f"setting sequence {'.'.join(name)}")

    def _after(self, table: TableRestore, row: Row, present: SequenceState | None) -> SequenceState | None:
        return state_after([_recorded(table, row), present], self._furthest(table, row), _limits(row))

    def _present(self, name: Name) -> SequenceState:
        (row,) = self._work.rows(f"SELECT last_value, is_called FROM {relation_sql(name)}")  # noqa: S608
        return SequenceState(row["last_value"], row["is_called"])

    def _furthest(self, table: TableRestore, row: Row) -> int | None:
        """The column's value that is furthest in the sequence's direction, when it holds whole numbers."""
        if not row["counted"]:
            return None
        which = "max" if row["increment"] > 0 else "min"
        value = f"{which}({identifier(row['column'])})"
        within = f"trunc({value}::numeric)" if row["increment"] > 0 else f"floor({value}::numeric)"
        (row,) = self._work.rows(f"SELECT {within} AS n FROM {relation_sql(table.target)}")  # noqa: S608
        return None if row["n"] is None or not row["n"].is_finite() else int(row["n"])


def _recorded(table: TableRestore, row: Row) -> SequenceState | None:
    """The state in the backup: of the sequence of that name, else of the one that fed the column."""
    of_column = [recorded for recorded in table.sequences if recorded.column == row["column"]]
    recorded = next(
        (sequence for sequence in of_column if sequence.sequence == _name(row)), of_column[0] if of_column else None
    )
    if recorded is None or recorded.last_value is None:
        return None
    return SequenceState(recorded.last_value, recorded.is_called)


def _limits(row: Row) -> SequenceLimits:
    return SequenceLimits(row["increment"], row["smallest"], row["largest"], row["cycles"])


def _name(row: Row) -> Name:
    return row["schema"], row["name"]


def _not_settable(table: TableRestore, name: Name) -> PreflightRefusedError:
    full = ".".join(name)
    message = f"Sequence {full} of {table.target_name} can not be set: the role lacks SELECT or UPDATE on it."
    return PreflightRefusedError(message, do=f"GRANT SELECT, UPDATE ON SEQUENCE {full} to the role, or be its owner.")
