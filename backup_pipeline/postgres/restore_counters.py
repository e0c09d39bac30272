"""Sequences after a restore: set last of all, because no rollback takes a sequence back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backup_pipeline.core.errors import PreflightRefusedError
from backup_pipeline.core.restore_sequences import SequenceLimits, SequenceState, state_after
from backup_pipeline.core.restoring import Name, SequenceRestore, TableRestore
from backup_pipeline.postgres import target_queries as ask
from backup_pipeline.postgres.restore_work import Row, Work
from backup_pipeline.postgres.session import identifier, literal, relation_sql
from backup_pipeline.postgres.target_facts import oids_of, sequences_of


class Counters:
    """The sequences that feed the columns of the tables, and the plan's `others`.

    All that feed columns can be set, else PreflightRefusedError.
    """

    def __init__(self, work: Work, tables: Sequence[TableRestore], others: Sequence[SequenceRestore] = ()) -> None:
        self._work = work
        self._others = others
        self._rows: list[tuple[TableRestore, Row]] = []
        for table in tables:
            oids = oids_of(work.ask, [table.target])
            self._rows += [(table, row) for row in work.ask(ask.SEQUENCES, {"oids": oids})]
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
        there = sequences_of(self._work.ask, [one.sequence for one in self._others])
        for one in (one for one in self._others if one.sequence in there):
            recorded = SequenceState(one.last_value, one.is_called)
            present = states.get(one.sequence) or self._present(one.sequence)
            fresh = one.made and one.sequence not in states
            candidates = [recorded] if fresh else [recorded, present]
            self._move(one.sequence, present, state_after(candidates, None, _limits(there[one.sequence])))

    def _move(self, name: Name, present: SequenceState, after: SequenceState | None) -> None:
        if after is not None and after != present:
            called = "true" if after.is_called else "false"
            setting = f"SELECT setval({literal(relation_sql(name))}, {after.last_value}, {called})"
            self._work.run(setting, f"setting sequence {'.'.join(name)}")

    def _after(self, table: TableRestore, row: Row, present: SequenceState | None) -> SequenceState | None:
        return state_after([_recorded(table, row), present], self._furthest(table, row), _limits(row))

    def _present(self, name: Name) -> SequenceState:
        (row,) = self._work.ask(f"SELECT last_value, is_called FROM {relation_sql(name)}")  # noqa: S608
        return SequenceState(row["last_value"], row["is_called"])

    def _furthest(self, table: TableRestore, row: Row) -> int | None:
        """The column's value that is furthest in the sequence's direction, when it holds whole numbers."""
        if not row["counted"]:
            return None
        which = "max" if row["increment"] > 0 else "min"
        value = f"{which}({identifier(row['column'])})"
        within = f"trunc({value}::numeric)" if row["increment"] > 0 else f"floor({value}::numeric)"
        (found,) = self._work.ask(f"SELECT {within} AS n FROM {relation_sql(table.target)}")  # noqa: S608
        return None if found["n"] is None or not found["n"].is_finite() else int(found["n"])


def _recorded(table: TableRestore, row: Row) -> SequenceState | None:
    """The state in the backup: of the sequence of that name, else of the one that fed the column."""
    of_column = [found for found in table.sequences if found.column == row["column"]]
    found = next((one for one in of_column if one.sequence == _name(row)), of_column[0] if of_column else None)
    if found is None or found.last_value is None:
        return None
    return SequenceState(found.last_value, found.is_called)


def _limits(row: Row) -> SequenceLimits:
    return SequenceLimits(row["increment"], row["smallest"], row["largest"], row["cycles"])


def _name(row: Row) -> Name:
    return row["schema"], row["name"]


def _not_settable(table: TableRestore, name: Name) -> PreflightRefusedError:
    full = ".".join(name)
    message = f"Sequence {full} of {table.target_name} can not be set: the role lacks SELECT or UPDATE on it."
    return PreflightRefusedError(message, do=f"GRANT SELECT, UPDATE ON SEQUENCE {full} to the role, or be its owner.")
