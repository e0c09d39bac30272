"""Foreign keys and triggers while rows are put in place: set aside in the transaction, and made again as they were."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from backup_pipeline.core.errors import PreflightRefusedError
from backup_pipeline.core.restoring import Action, Name, RestorePlan, TableRestore
from backup_pipeline.postgres import restore_sql as sql
from backup_pipeline.postgres import target_queries as ask
from backup_pipeline.postgres.restore_locks import Hold, Wanted, take
from backup_pipeline.postgres.restore_work import Row, Work
from backup_pipeline.postgres.session import identifier, literal, relation_sql
from backup_pipeline.postgres.target_errors import target_error
from backup_pipeline.postgres.target_facts import oids_of, own_rows

_CHANGING = {Action.UPSERT, Action.REPLACE}


class Guards:
    """The foreign keys around the tables of a plan and their triggers, as they are when this is made."""

    def __init__(self, work: Work, plan: RestorePlan) -> None:
        self._work = work
        self._tables = {table.target: table for table in plan.tables}
        self._broken = {(key.child, key.columns, key.parent) for key in plan.broken}
        oids = oids_of(work.ask, self._tables)
        found = work.ask(ask.REFERENCES, {"oids": oids})
        self._inside = [row for row in found if _child(row) in self._tables and _parent(row) in self._tables]
        self._inbound = [row for row in found if _child(row) not in self._tables]
        self._triggers = work.ask(ask.TRIGGERS, {"oids": oids})

    def lock(self, kinds: dict[Name, str]) -> None:
        """Lock the tables, and those that refer to them: nobody else writes until the end, and everybody may read."""
        children = {own_rows(_child(row), row["child_kind"]): int(row["child"]) for row in self._inbound}
        take(
            self._work,
            [self._own(kinds, Hold.ALL_BUT_READERS), Wanted(sorted(children), sorted(children.values()), Hold.WRITERS)],
        )

    def lock_alone(self, kinds: dict[Name, str]) -> None:
        """Keep readers away too, for as short as can be, where foreign keys will be set aside."""
        if self._inside:
            take(self._work, [self._own(kinds, Hold.EVERYBODY)])

    def _own(self, kinds: dict[Name, str], hold: Hold) -> Wanted:
        names = sorted(self._tables)
        return Wanted([own_rows(name, kinds[name]) for name in names], oids_of(self._work.ask, names), hold)

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
        (found,) = self._work.ask(sql.orphans_sql(child, row["columns"], parent, row["target_columns"]))
        where, key = ".".join(_child(row)), ", ".join(row["columns"])
        message = f"{found['n']:,} rows of {where} refer to rows of {'.'.join(_parent(row))} that would not be there"
        do = "The target is as it was. Restore both tables in the same mode, or use a backup of one instant."
        return PreflightRefusedError(f"{message} ({key} = {found['example']}, for one).", do=do)


def kinds_of(work: Work, tables: Sequence[TableRestore]) -> dict[Name, str]:
    """The letter that says what each table is: `r`, or `p` when it is partitioned."""
    oids = oids_of(work.ask, [table.target for table in tables])
    found = work.ask(ask.RELATIONS, {"oids": oids})
    return {(row["schema"], row["name"]): row["kind"] for row in found}


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
