"""A table's plan as the manifest has it, and what a backup does not hold although somebody may think so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from backup_pipeline.core.anomalies import TableCheck
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.manifest import (
    CheckEntry,
    ColumnEntry,
    FileEntry,
    NotHeldEntry,
    OtherSequenceEntry,
    ReferenceEntry,
    SequenceEntry,
    SheetColumnEntry,
    SnapshotEntry,
    StepEntry,
    TableEntry,
)
from backup_pipeline.core.planning import covered_by, other_sequences
from backup_pipeline.core.plans import PlannedColumn, SheetColumn, TablePlan
from backup_pipeline.core.relations import Database, DatabaseSequence, Relation, RelationKind

Rows = Mapping[tuple[str, str], int | None]
"""How many rows relations have by their schema and name; None where nobody counted them to the end."""

COUNTED = 1_000_000
"""So many rows of what is not in the backup are counted, of all of it together."""
LARGE_OBJECTS = ("pg_catalog", "pg_largeobject")
"""The relation under which a catalog excludes large objects."""
_SHOWN = 5
_POINTING = {"oid", "lo"}


@dataclass(frozen=True)
class NotHeld:
    """Something that is not in the backup: what it is about, a sentence, what to do, and whether that is to be done.

    `warns`: nobody has decided about it yet, so each backup warns of it; else it is only worth knowing.
    """

    about: str
    message: str
    do: str = ""
    warns: bool = True


def uncertain(catalog: Catalog, database: Database) -> Sequence[Relation]:
    """The relations whose rows must be counted to know what a backup lacks; readable ones, smallest first."""
    listed = _listed(catalog)
    children = (
        child for parent in _parents(catalog, database) for child in _unlisted_children(parent, listed, database)
    )
    settings = (relation for relation in database.relations.values() if _is_settings(relation, listed))
    matches = {relation.id: relation for relation in chain(children, settings)}
    return sorted(
        (relation for relation in matches.values() if _countable(relation)),
        key=lambda relation: (relation.total_bytes, relation.id),
    )


def not_held(catalog: Catalog, database: Database, rows: Rows) -> tuple[NotHeld, ...]:
    """The list; `rows` are those of the `uncertain` relations."""
    return (
        *_large_objects(catalog, database),
        *_children(catalog, database, rows),
        *_settings(catalog, database, rows),
        *_unread_sequences(catalog, database),
        *_foreign(catalog, database),
    )


def _listed(catalog: Catalog) -> set[tuple[str, str]]:
    """The relations whose rows the tables of the catalog have."""
    names = {catalog.relation_of(name) for name in catalog.tables}
    return names | {base for name in catalog.tables for base in covered_by(catalog, name)}


def _parents(catalog: Catalog, database: Database) -> Iterator[Relation]:
    """The tables of the catalog that others inherit from; a partitioned one has the rows of its partitions."""
    for name in catalog.tables:
        relation = database.get(catalog.relation_of(name))
        if relation is not None and relation.kind is RelationKind.TABLE and relation.inherited:
            yield relation


def _unlisted_children(parent: Relation, listed: set[tuple[str, str]], database: Database) -> list[Relation]:
    """What inherits from the table, at any depth, and is in no table of the catalog."""
    matches: dict[tuple[str, str], Relation] = {}
    todo = [parent.id]
    while todo:
        above = todo.pop()
        below = [
            relation
            for relation in database.relations.values()
            if above in relation.parents and relation.id not in matches
        ]
        matches |= {relation.id: relation for relation in below}
        todo += [relation.id for relation in below]
    return [relation for relation in matches.values() if relation.id not in listed and not relation.is_partition]


def _is_settings(relation: Relation, listed: set[tuple[str, str]]) -> bool:
    """Whether people's rows are in a table of an extension that no table of the catalog reads."""
    return relation.configuration and relation.holds_rows and relation.id not in listed


def _countable(relation: Relation) -> bool:
    return relation.holds_rows and relation.readable and not relation.filtered


def _large_objects(catalog: Catalog, database: Database) -> Iterator[NotHeld]:
    matches = database.large_objects
    columns = [
        f"{name}.{column.name}"
        for name in catalog.tables
        if (relation := database.get(catalog.relation_of(name)))
        for column in relation.columns
        if column.base_type in _POINTING or column.pg_type.rpartition(".")[2] == "lo"
    ]
    pointing = f" Columns that may point to them: {', '.join(columns)}." if columns else ""
    do = (
        "Save them by `pg_dump --large-objects`, then exclude pg_catalog.pg_largeobject in the catalog with the reason."
    )
    reason = catalog.excluded_by_name(*LARGE_OBJECTS)
    decided = f" The catalog says: {reason}." if reason else ""
    if matches.count is None and columns:
        what = (
            f"Whether there are large objects the backup role may not see; they are not backed up.{pointing}{decided}"
        )
        yield NotHeld("large objects", what, do, warns=not reason)
    elif matches.count:
        many = f"{matches.count:,} large objects ({matches.bytes:,} bytes)"
        yield NotHeld("large objects", f"{many} are not in the backup.{pointing}{decided}", do, warns=not reason)


def _children(catalog: Catalog, database: Database, rows: Rows) -> Iterator[NotHeld]:
    """Rows that a plain SELECT of a listed table shows, and that are those of other tables."""
    listed = _listed(catalog)
    for parent in dict.fromkeys(_parents(catalog, database)):
        lost = _unlisted_children(parent, listed, database)
        left = [relation for relation in lost if catalog.excluded_by_name(*relation.id) is None]
        if not left:
            continue
        what = (
            f"{parent.full_name} is backed up with its own rows alone; tables that inherit from it are not in the "
            f"catalog, and {_rows_of(left, rows)} are not in the backup: {_some(left)}."
        )
        do = (
            "List each of them, or read a view of all their rows (`kind: view`, with `covers`), or exclude each by its "
            "full name with the reason."
        )
        yield NotHeld(parent.full_name, what, do)


def _settings(catalog: Catalog, database: Database, rows: Rows) -> Iterator[NotHeld]:
    """Rows of extensions' tables that CREATE EXTENSION does not make again."""
    listed = _listed(catalog)
    matches = [
        relation
        for relation in database.relations.values()
        if _is_settings(relation, listed) and rows.get(relation.id, None) != 0
    ]
    for relation in sorted(matches, key=lambda relation: relation.id):
        reason = catalog.excluded_reason(*relation.id)
        what = (
            f"{relation.full_name} belongs to extension {relation.extension}, and {_rows_of([relation], rows)} of it "
            "may be settings of yours: they are not in the backup, and CREATE EXTENSION does not make them again."
        )
        do = "List it in the catalog, or exclude it by its name with the reason."
        yield NotHeld(relation.full_name, what, do, warns=reason is None)


def _unread_sequences(catalog: Catalog, database: Database) -> Iterator[NotHeld]:
    """Sequences of which nothing but themselves tells where they stood."""
    matches = [
        relation
        for relation in other_sequences(catalog, database)
        if relation.last_value is None and not relation.feeds
    ]
    for relation in matches[:_SHOWN]:
        name = ".".join(relation.sequence)
        what = f"Where sequence {name} stands can not be read: after a restore it could give numbers a second time."
        yield NotHeld(name, what, f"GRANT SELECT ON SEQUENCE {name} TO the backup role.")
    if len(matches) > _SHOWN:
        what = f"{len(matches) - _SHOWN} more sequences can not be read."
        yield NotHeld("sequences", what, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO the backup role.")


def _foreign(catalog: Catalog, database: Database) -> Iterator[NotHeld]:
    """What lies on other servers: read from there, at another instant, or not at all."""
    listed = _listed(catalog)
    foreign = [relation for relation in database.relations.values() if relation.kind is RelationKind.FOREIGN]
    tops = {relation.id: _top(relation, database) for relation in foreign}
    there = [
        relation
        for relation in foreign
        if relation.id in listed or (relation.is_partition and tops[relation.id] in listed)
    ]
    if there:
        what = f"Their rows come from other servers, not from the snapshot of this one: {_some(there)}."
        yield NotHeld("foreign tables", what, "Back up those servers themselves.", warns=False)
    if beside := [
        relation for relation in foreign if relation not in there and catalog.excluded_reason(*relation.id) is None
    ]:
        what = f"Foreign tables are not in the backup, their rows lie on other servers: {_some(beside)}."
        yield NotHeld("foreign tables", what, "Back up those servers themselves.", warns=False)


def _top(relation: Relation, database: Database) -> tuple[str, str]:
    """The partitioned table that a partition is a part of in the end."""
    above = relation
    while above.is_partition and above.parents and (parent := database.get(above.parents[0])) is not None:
        above = parent
    return above.id


def _rows_of(relations: Sequence[Relation], rows: Rows) -> str:
    """How many rows they hold together, as far as it is known."""
    known = [count for relation in relations if (count := rows.get(relation.id)) is not None]
    if len(known) == len(relations):
        return f"{sum(known):,} rows"
    return f"at least {sum(known):,} rows" if sum(known) else "their rows"


def _some(relations: Sequence[Relation]) -> str:
    more = f" and {len(relations) - _SHOWN} more" if len(relations) > _SHOWN else ""
    return ", ".join(sorted(relation.full_name for relation in relations)[:_SHOWN]) + more


def table_entry(
    plan: TablePlan,
    files: tuple[FileEntry, ...],
    checks: Sequence[TableCheck],
    snapshot: SnapshotEntry,
    *,
    exported_by: str,
    seconds: float,
) -> TableEntry:
    """The manifest's entry of the table that was exported by `plan` into `files`."""
    return TableEntry(
        name=plan.name,
        relation=plan.relation.full_name,
        sheet=plan.sheet.name,
        key=plan.key,
        order=plan.order,
        row_count=rows_of(files, "parquet"),
        snapshot=snapshot,
        exported_by=exported_by,
        columns=tuple(_column(planned) for planned in plan.columns),
        sheet_columns=tuple(column.title for column in plan.sheet.columns),
        relation_id=plan.relation.id,
        relation_kind=plan.relation.kind,
        inherited=plan.relation.inherited,
        extension=plan.relation.extension,
        covers=plan.covers,
        references=_references(plan),
        sequences=_sequences(plan),
        sheet_sources=tuple(_sheet_column(column) for column in plan.sheet.columns),
        excluded_columns=plan.excluded,
        notes=plan.notes,
        checks=tuple(CheckEntry(name=c.name, passed=c.passed, message=c.message) for c in checks),
        files=files,
        seconds=round(seconds, 3),
    )


def other_sequence(sequence: DatabaseSequence) -> OtherSequenceEntry:
    """The manifest's entry of a sequence that numbers no column of the catalog's tables."""
    return OtherSequenceEntry(
        sequence=sequence.sequence,
        last_value=sequence.last_value,
        is_called=sequence.is_called,
        cycles=sequence.cycles,
    )


def not_held_entry(missing: NotHeld) -> NotHeldEntry:
    """The manifest's entry of something that is not in the backup."""
    severity: Literal["warning", "info"] = "warning" if missing.warns else "info"
    return NotHeldEntry(about=missing.about, message=missing.message, do=missing.do, severity=severity)


def rows_of(files: Sequence[FileEntry], kind: str) -> int:
    """The rows of the files of one format."""
    return sum(file.rows for file in files if file.format == kind)


def _column(planned: PlannedColumn) -> ColumnEntry:
    return ColumnEntry(
        name=planned.name,
        pg_type=planned.column.pg_type,
        arrow_type=planned.arrow_type,
        nullable=planned.column.nullable,
        masked=planned.masked,
        generated=planned.column.generated,
        identity=planned.column.identity,
        nondeterministic=planned.column.nondeterministic,
    )


def _references(plan: TablePlan) -> tuple[ReferenceEntry, ...]:
    return tuple(
        ReferenceEntry(columns=key.columns, target=key.target, target_columns=key.target_columns, enforced=key.enforced)
        for key in plan.references
    )


def _sequences(plan: TablePlan) -> tuple[SequenceEntry, ...]:
    return tuple(
        SequenceEntry(sequence=each.sequence, column=each.column, last_value=each.last_value, is_called=each.is_called)
        for each in plan.sequences
    )


def _sheet_column(shown: SheetColumn) -> SheetColumnEntry:
    look_up = shown.look_up
    if look_up is None:
        return SheetColumnEntry(title=shown.title, column=shown.field)
    steps = tuple(
        StepEntry(relation=step.relation, columns=step.columns, from_columns=step.from_columns)
        for step in look_up.steps
    )
    return SheetColumnEntry(
        title=shown.title, column=look_up.column.name, arrow_type=look_up.arrow_type, steps=steps, joined=look_up.joined
    )
