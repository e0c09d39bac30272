"""Recovering a backup without this program: which lines of schema.sql, which rows, and what is lacking then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.restore import (
    LoadedColumn,
    Name,
    PlainTable,
    RecordedSequence,
    RestorePlan,
    RestoreRequest,
    TableRestore,
    TargetFacts,
)
from backup_pipeline.core.restore.columns import plain_table
from backup_pipeline.core.restore.ddl import create_roles_sql, roles_of
from backup_pipeline.core.restore.dump import Dump, DumpEntry, columns_of, refuse_commands, split_dump
from backup_pipeline.core.restore.plan import plan
from backup_pipeline.core.restore.tables import TablesBasis, source_of

Lines = tuple[int, int]
"""The first and the last of some lines of schema.sql, counted from 1."""
_WHOLE_NUMBERS = {"smallint", "integer", "bigint"}


@dataclass(frozen=True)
class RecoveredTable:
    """The rows of the backup's table `entry` go into `columns` of `target`.

    `plain` is how the target is made when schema.sql does not make it. `relaxed` are its columns that must lose their
    NOT NULL first, because the backup has no values for them. `lacking` are sentences: what is not as it was.
    """

    entry: TableEntry
    target: Name
    columns: tuple[LoadedColumn, ...]
    plain: PlainTable | None = None
    relaxed: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecoveredSequence:
    """Where a sequence has to stand; without a recorded value, at the largest one in `column` of `table`.

    One that numbers no column has a recorded value, and neither table nor column.
    """

    sequence: Name
    table: Name | None
    column: str
    last_value: int | None
    is_called: bool


@dataclass(frozen=True)
class Recovery:
    """What to run in an empty database: the lines `before` the rows, tables and rows, the lines `after`, sequences.

    `refreshed` are materialized views to fill. `lacking` says, as sentences, what will not be as it was. `search_path`
    are the schemas in which functions look that the rows call; empty where none do.
    """

    before: tuple[Lines, ...]
    after: tuple[Lines, ...]
    tables: tuple[RecoveredTable, ...]
    sequences: tuple[RecoveredSequence, ...]
    refreshed: tuple[Name, ...]
    lacking: tuple[str, ...]
    search_path: tuple[str, ...] = ()


def recovery(manifest: Manifest, schema: str) -> Recovery:
    """How to recover everything of `manifest`, whose DDL is `schema`; ValueError when that is cut off or no SQL."""
    refuse_commands(schema)
    dump = split_dump(schema)
    planned = plan(TablesBasis(manifest, dump, _nothing(manifest), RestoreRequest(manifest.backup_id)), "")
    before, after = _kept(dump, planned.steps.before), _kept(dump, planned.steps.after)
    tables = {table.entry.name: table for table in _tables(manifest, planned, dump, before)}
    left = [entry for entry in manifest.tables if entry.name not in tables]
    notes = [note for table in tables.values() for note in table.lacking]
    notes += [
        f"{'.'.join(key.child)} comes without its foreign key to {'.'.join(key.parent)}: {key.rows:,} rows break it, "
        "as in the source."
        for key in planned.broken
    ]
    if roles := roles_of((*before, *after)):
        notes.append(f"Policies name roles, which must be there first: {create_roles_sql(roles)}")
    return Recovery(
        before=tuple(_joined(entry.lines for entry in before)),
        after=tuple(_joined(entry.lines for entry in after)),
        tables=tuple(tables.values()),
        sequences=tuple(_sequences(planned, {name for entry in before for name in entry.mentions})),
        refreshed=planned.steps.refreshed,
        search_path=_path(planned),
        lacking=(*notes, *(_not_loaded(entry) for entry in left), *(f"{line}." for line in planned.steps.left_out)),
    )


def _path(planned: RestorePlan) -> tuple[str, ...]:
    """The schemas of the rows, where functions that they call look by the search path."""
    schemas = ("public", *(table.target[0] for table in planned.tables))
    return tuple(dict.fromkeys(schemas)) if planned.search_path else ()


def _nothing(manifest: Manifest) -> TargetFacts:
    """An empty database of whoever recovers, on a server like the one that was backed up."""
    return TargetFacts(
        database=manifest.snapshot.database,
        role="",
        server_version=manifest.snapshot.server_version,
        schemas=frozenset({"public"}),
        creatable=frozenset({"public"}),
    )


def _kept(dump: Dump, statements: Iterable[str]) -> list[DumpEntry]:
    wanted = set(statements)
    return [entry for entry in dump.entries if entry.sql in wanted]


def _joined(lines: Iterable[Lines]) -> Iterator[Lines]:
    """The same lines in as few ranges as can be."""
    start = end = 0
    for first, last in lines:
        if start and first == end + 1:
            end = last
            continue
        if start:
            yield start, end
        start, end = first, last
    if start:
        yield start, end


def _tables(manifest: Manifest, planned: RestorePlan, dump: Dump, before: list[DumpEntry]) -> Iterator[RecoveredTable]:
    """Each table that can be loaded: what others refer to first; of those with one target the one with most columns."""
    entries = {entry.name: entry for entry in manifest.tables}
    fullest = {table.target: table for table in sorted(planned.tables, key=lambda table: len(table.columns))}
    for table in planned.tables:
        if table.target in dump.tables and fullest[table.target] is table and table.columns:
            yield _defined(table, entries[table.name], dump)
    taken = {entry.defines for entry in before}
    defined = {table.name for table in planned.tables if table.target in dump.tables}
    extensions = {definition.tag for definition in before if definition.kind == "EXTENSION"}
    for entry in manifest.tables:
        if entry.extension in extensions and entry.columns:
            yield _of_extension(entry)
        elif entry.name not in defined and source_of(entry) not in taken and entry.columns:
            yield _from_manifest(entry, before)


def _defined(table: TableRestore, entry: TableEntry, dump: Dump) -> RecoveredTable:
    """A table that schema.sql makes."""
    loaded = {column.target for column in table.columns}
    needed = [column.name for column in columns_of(table.target, dump) if not column.makes_itself]
    relaxed = tuple(name for name in needed if name not in loaded)
    lacking = tuple(_of_columns(table, entry, relaxed))
    return RecoveredTable(entry, table.target, table.columns, relaxed=relaxed, lacking=lacking)


def _of_extension(entry: TableEntry) -> RecoveredTable:
    """A table that an extension makes, empty as a rule."""
    loaded = [column for column in entry.columns if not (column.masked or column.generated)]
    columns = tuple(LoadedColumn(column.name, column.name, column.pg_type) for column in loaded)
    why = f"{entry.relation} is made by extension {entry.extension}: what that puts into it must not be in the way."
    return RecoveredTable(entry, source_of(entry), columns, lacking=(why,))


def _from_manifest(entry: TableEntry, before: Iterable[DumpEntry]) -> RecoveredTable:
    """A table that schema.sql does not make; its types are there when schema.sql makes them."""
    types = frozenset(
        definition.defines for definition in before if definition.kind in {"TYPE", "DOMAIN"} and definition.defines
    )
    plain = plain_table(entry, source_of(entry), TargetFacts("", "", entry.snapshot.server_version, types=types))
    columns = tuple(LoadedColumn(column.name, column.name, column.pg_type) for column in plain.columns)
    why = f"{entry.relation} is made as a plain table: schema.sql lacks what it was, or what it showed."
    return RecoveredTable(entry, plain.target, columns, plain=plain, lacking=(why,))


def _sequences(planned: RestorePlan, there: set[Name]) -> Iterator[RecoveredSequence]:
    """Each sequence once, at the furthest of what the tables say about it."""
    furthest: dict[Name, RecoveredSequence] = {}
    for table in planned.tables:
        for recorded in (
            recorded for recorded in table.sequences if recorded.sequence in there and _known(recorded, table)
        ):
            state = RecoveredSequence(
                recorded.sequence, table.target, recorded.column, recorded.last_value, recorded.is_called
            )
            earlier = furthest.setdefault(recorded.sequence, state)
            if (state.last_value or 0) > (earlier.last_value or 0):
                furthest[recorded.sequence] = state
    yield from furthest.values()
    for other in planned.sequences:
        if other.sequence not in furthest:
            yield RecoveredSequence(other.sequence, None, "", other.last_value, other.is_called)


def _known(recorded: RecordedSequence, table: TableRestore) -> bool:
    """Whether it is known where the sequence stood, or can be seen from the rows."""
    types = {column.target: column.pg_type for column in table.columns}
    return recorded.last_value is not None or types.get(recorded.column) in _WHOLE_NUMBERS


def _not_loaded(entry: TableEntry) -> str:
    return f"{entry.relation} is a {entry.relation_kind}: parquet/{entry.name}/ has what it showed, and is not loaded."


def _of_columns(table: TableRestore, entry: TableEntry, relaxed: tuple[str, ...]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for column in table.kept:
        by_reason.setdefault(_why(column, entry), []).append(column)
    for reason, columns in by_reason.items():
        yield f"{table.target_name} comes without {', '.join(columns)}: {reason}."
    if relaxed:
        yield f"{table.target_name}: NOT NULL is dropped from {', '.join(relaxed)}, so that the rows can come in."
    for column, reason in table.ignored.items():
        if reason.startswith("the target has no such"):
            where = f"its values are in parquet/{entry.name}/ only"
            yield f"{table.target_name} of schema.sql has no column {column}: {where}."


def _why(column: str, entry: TableEntry) -> str:
    if column in entry.excluded_columns:
        return entry.excluded_columns[column]
    masked: Mapping[str, bool] = {known.name: known.masked for known in entry.columns}
    return "masked in this backup" if masked.get(column) else "not in this backup"
