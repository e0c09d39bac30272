"""The tables of a restore: which they are, where each goes, and what is decided about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.layout import member_paths
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restore import (
    Action,
    Mode,
    Name,
    PackedFile,
    RecordedSequence,
    RemarkSeverity,
    RestoreRemark,
    RestoreRequest,
    TableRestore,
    TargetColumn,
    TargetFacts,
    TargetRelation,
)
from backup_pipeline.core.restore.columns import ColumnsPlan, fill_remarks, plain_columns, plan_columns
from backup_pipeline.core.restore.dump import Dump, PlainView, columns_of, plain_view

_TABLES = {RelationKind.TABLE, RelationKind.PARTITIONED}


@dataclass(frozen=True)
class Place:
    """Where one table goes. `columns` maps its columns to the target's where the backup read it through a view.

    `moved` says that it does not go where it came from. `obstacle` is why its rows can not be written there.
    """

    entry: TableEntry
    source: Name
    target: Name
    moved: bool
    columns: Mapping[str, str] = field(default_factory=dict)
    obstacle: str | None = None


def chosen(manifest: Manifest, request: RestoreRequest) -> tuple[TableEntry, ...]:
    """The tables that the request is about; UsageError when it names one, or a column, that the backup has not."""
    there = {entry.name: entry for entry in manifest.tables}
    filled = [name.partition(".")[0] for name in request.fill]
    for name in (*request.tables, *request.rename, *filled):
        if name not in there:
            message = f"Backup {manifest.backup_id} has no table {name}."
            raise NotFoundError(message, do=f"It has: {', '.join(sorted(there))}.")
    wanted = request.tables or tuple(there)
    for name in (*request.rename, *filled):
        if name not in wanted:
            message = f"{name} is to be renamed or filled, but it is not among the tables to restore."
            raise UsageError(message, do=f"Add --table {name}, or leave it out.")
    return tuple(entry for entry in manifest.tables if entry.name in wanted)


def source_of(entry: TableEntry) -> Name:
    """The relation that a table was read from."""
    schema, _, name = entry.relation.partition(".")
    return entry.relation_id or (schema, name)


def first_target(entry: TableEntry, request: RestoreRequest) -> Name:
    """Where the request sends a table, as far as names say."""
    schema, name = source_of(entry)
    return request.into_schema or schema, request.rename.get(entry.name, name)


def wanted_names(entries: tuple[TableEntry, ...], request: RestoreRequest, dump: Dump | None) -> set[Name]:
    """The relations of the target that have to be looked at, as far as the dump knows which view shows what."""
    names = {first_target(entry, request) for entry in entries}
    views = dump.views if dump else {}
    return names | {view.base for name in names if name in views and (view := plain_view(views[name].sql))}


def bases(facts: TargetFacts) -> set[Name]:
    """The tables behind those views that were looked at."""
    views = (plain_view(relation.view_sql) for relation in facts.relations.values() if relation.view_sql)
    return {view.base for view in views if view}


def place(entry: TableEntry, request: RestoreRequest, facts: TargetFacts, dump: Dump | None) -> Place:
    """Where one table goes, through a view into the table it shows where there is one."""
    source, target = source_of(entry), first_target(entry, request)
    moved = target != source
    if request.mode is Mode.NEW:
        return _new(Place(entry, source, target, moved), dump)
    there = facts.relations.get(target)
    if there is None or there.kind in _TABLES:
        return Place(entry, source, target, moved)
    if there.kind is RelationKind.VIEW:
        return _behind(Place(entry, source, target, moved), plain_view(there.view_sql))
    return Place(entry, source, target, moved, obstacle=f"{'.'.join(target)} is a {there.kind}")


def _new(place: Place, dump: Dump | None) -> Place:
    if place.moved or dump is None or place.source in dump.tables or place.entry.extension:
        return place
    if place.source in dump.views:
        return _behind(place, plain_view(dump.views[place.source].sql))
    kind = place.entry.relation_kind
    if kind is None or kind in set(_TABLES):
        return place
    return replace(place, obstacle=f"{place.entry.relation} is a {kind}")


def _behind(place: Place, view: PlainView | None) -> Place:
    """Into the table that the view shows."""
    if view is None:
        shown = ".".join(place.target)
        return replace(place, obstacle=f"{shown} is a view that does more than show columns of one table")
    return replace(place, target=view.base, columns=view.columns)


def shared(places: tuple[Place, ...]) -> Iterator[tuple[Name, list[str]]]:
    """Tables of the target that several tables of the backup would go into, with their names."""
    by_target: dict[Name, list[str]] = {}
    for place in places:
        by_target.setdefault(place.target, []).append(place.entry.name)
    return ((target, names) for target, names in by_target.items() if len(names) > 1)


@dataclass(frozen=True)
class SequenceState:
    """What `setval` takes: the last value, and whether it was given out already."""

    last_value: int
    is_called: bool

    def next(self, increment: int) -> int:
        """The value that comes next."""
        return self.last_value + increment if self.is_called else self.last_value


@dataclass(frozen=True)
class SequenceLimits:
    """How a sequence counts, and between which values; `cycles`: it begins again when it comes to its end."""

    increment: int
    smallest: int
    largest: int
    cycles: bool = False


def state_after(
    candidates: Iterable[SequenceState | None], furthest: int | None, limits: SequenceLimits
) -> SequenceState | None:
    """The state that goes furthest: of the `candidates`, earlier ones first where they agree, and past `furthest`.

    `furthest` is the largest value in the column (the smallest, when the sequence counts down). A value outside the
    limits does not count: nobody could have drawn it. None when there is nothing to go by. Of a sequence that cycles no
    number is further than another: it is the last of the `candidates`, what the target has now where it has it.
    """
    known = [state for state in candidates if state is not None]
    if limits.cycles and known:
        return known[-1]
    if furthest is not None and limits.smallest <= furthest <= limits.largest:
        known.append(SequenceState(furthest, is_called=True))
    sign = 1 if limits.increment > 0 else -1
    return max(known, key=lambda state: sign * state.next(limits.increment), default=None)


_ELSEWHERE = "Restore it as a table of its own: --mode new with --rename or --into-schema."
_ACTIONS = {
    Mode.NEW: Action.CREATE,
    Mode.INSERT_MISSING: Action.INSERT_MISSING,
    Mode.UPSERT: Action.UPSERT,
    Mode.REPLACE: Action.REPLACE,
}
_PRIVILEGES = {
    Action.INSERT_MISSING: ("SELECT", "INSERT"),
    Action.UPSERT: ("SELECT", "INSERT", "UPDATE"),
    Action.REPLACE: ("SELECT", "INSERT", "UPDATE", "DELETE"),
}


@dataclass(frozen=True)
class TablesBasis:
    """What a plan is made from: the backup's manifest and its DDL (None when it has none), and the target."""

    manifest: Manifest
    dump: Dump | None
    facts: TargetFacts
    request: RestoreRequest

    def refusal(self, table: str | None, message: str, do: str) -> RestoreRemark:
        """A reason why it can not run."""
        return RestoreRemark(RemarkSeverity.REFUSAL, message, table, do)


def decide(place: Place, basis: TablesBasis) -> tuple[TableRestore, tuple[RestoreRemark, ...]]:
    """The decision about one table and what there is to say about it."""
    there = basis.facts.relations.get(place.target)
    columns = _columns(place, basis, there)
    key = _key(place, there, columns)
    table = TableRestore(
        name=place.entry.name,
        source=place.source,
        target=place.target,
        action=_ACTIONS[basis.request.mode],
        columns=columns.loaded,
        key=key,
        rows_in_backup=place.entry.row_count,
        rows_now=there.rows if there else None,
        kept=columns.kept,
        ignored=columns.ignored,
        filled=columns.filled,
        sequences=_sequences(place),
        files=packed_files(place.entry, basis.manifest),
        triggers=there.triggers if there else (),
        extension=not place.moved and by_extension(place.entry, basis.dump, basis.facts),
    )
    remarks = _of_new(table, place, basis) if table.action is Action.CREATE else _of_existing(table, there, basis)
    obstacle = [basis.refusal(table.name, f"{place.obstacle}.", _ELSEWHERE)] if place.obstacle else []
    return table, (
        *obstacle,
        *remarks,
        *columns.remarks,
        *_of_columns(table, columns, basis),
        *_of_fill(table, there, basis),
    )


def _columns(place: Place, basis: TablesBasis, there: TargetRelation | None) -> ColumnsPlan:
    target = there.columns if there else ()
    if basis.request.mode is Mode.NEW:
        target = _created(place, basis)
    if not target:  # said elsewhere, once
        return ColumnsPlan((), {}, {}, {}, ())
    return plan_columns(place.entry, target, place.columns, _fill(place, basis.request))


def _fill(place: Place, request: RestoreRequest) -> dict[str, str]:
    prefix = f"{place.entry.name}."
    return {name.removeprefix(prefix): v for name, v in request.fill.items() if name.startswith(prefix)}


def _created(place: Place, basis: TablesBasis) -> tuple[TargetColumn, ...]:
    if place.moved:
        columns = plain_columns(place.entry, basis.facts)
        return tuple(TargetColumn(column.name, column.pg_type, not column.not_null) for column in columns)
    if by_extension(place.entry, basis.dump, basis.facts):
        return tuple(
            TargetColumn(column.name, column.pg_type, generated=column.generated) for column in place.entry.columns
        )
    return columns_of(place.target, basis.dump) if basis.dump else ()


def _key(place: Place, there: TargetRelation | None, columns: ColumnsPlan) -> tuple[str, ...]:
    """How rows are told apart: as the backup did where the target enforces it, else by a key that the target has."""
    loaded = {column.target for column in columns.loaded}
    own = tuple(place.columns.get(name, name) for name in place.entry.key)
    if there is None:
        return own if loaded.issuperset(own) else ()
    usable = [key for key in there.unique_keys if loaded.issuperset(key)]
    return next((key for key in usable if set(key) == set(own)), usable[0] if usable else ())


def _sequences(place: Place) -> tuple[RecordedSequence, ...]:
    names = {column.name: place.columns.get(column.name, column.name) for column in place.entry.columns}
    return tuple(
        RecordedSequence(
            recorded.sequence, names.get(recorded.column, recorded.column), recorded.last_value, recorded.is_called
        )
        for recorded in place.entry.sequences
    )


def packed_files(entry: TableEntry, manifest: Manifest) -> tuple[PackedFile, ...]:
    """The Parquet files of a table as members of its bundle."""
    packed = ((file, path) for file, path in member_paths(entry, None) if file.format == "parquet")
    return tuple(
        PackedFile(path, file.rows, file.bytes, manifest.entries.get(path, file.sha256)) for file, path in packed
    )


def by_extension(entry: TableEntry, dump: Dump | None, facts: TargetFacts) -> bool:
    """Whether an extension makes the table, in the target or by the definitions."""
    entries = dump.entries if dump else ()
    return bool(entry.extension) and (
        entry.extension in facts.extensions
        or any(definition.kind == "EXTENSION" and definition.tag == entry.extension for definition in entries)
    )


def _of_new(table: TableRestore, place: Place, basis: TablesBasis) -> Iterator[RestoreRemark]:
    if not place.moved and by_extension(place.entry, basis.dump, basis.facts):
        yield from _of_extension(table, place.entry.extension, basis)
        return
    if table.target in basis.facts.taken:
        what = f"{table.target_name} is there already."
        do = "Use --mode replace, upsert or insert-missing, or make a new one with --rename or --into-schema."
        yield basis.refusal(table.name, what, do)
    if place.moved or place.obstacle:
        return
    if foreign := _foreign_parts(place, basis):
        yield _elsewhere(table, foreign, basis)
    if basis.dump is None or place.target not in basis.dump.tables:
        why = "which the backup role could not read" if _left_out(place, basis) else "so it can not be made"
        what = f"The backup's schema.sql has no definition of {table.target_name}, {why}."
        do = "Make the tables as your application does, then use --mode replace; or use --rename or --into-schema."
        yield basis.refusal(table.name, what, do)


def _of_extension(table: TableRestore, extension: str, basis: TablesBasis) -> Iterator[RestoreRemark]:
    """The extension makes it; what it put in gives way to the backup's rows, what somebody else put in does not."""
    if table.target in basis.facts.taken and table.rows_now != 0:
        what = f"{table.target_name} belongs to extension {extension}, which is there, and has rows already."
        do = "Restore it by itself with --mode replace or insert-missing, and the other tables with --table."
        yield basis.refusal(table.name, what, do)
    else:
        what = f"{table.target_name} is made by extension {extension}, and then holds the backup's rows."
        yield RestoreRemark(RemarkSeverity.INFO, what, table.name)


def _elsewhere(table: TableRestore, partitions: Sequence[str], basis: TablesBasis) -> RestoreRemark:
    """Rows of such a partition would go through it to another server."""
    shown = ", ".join(partitions)
    what = (
        f"{table.target_name} has partitions that are foreign tables ({shown}): rows would be written to other servers."
    )
    return basis.refusal(table.name, what, _ELSEWHERE)


def _foreign_parts(place: Place, basis: TablesBasis) -> list[str]:
    """The partitions, at any depth, that the definitions make as foreign tables."""
    dump = basis.dump
    if dump is None:
        return []
    foreign = {entry.tag: entry.schema for entry in dump.entries if entry.kind == "FOREIGN TABLE"}
    foreign_parts, todo = list[str](), [place.target]
    while todo:
        whole = todo.pop()
        parts = [part for part, of in dump.parts.items() if of == whole]
        foreign_parts += [".".join(part) for part in parts if foreign.get(part[1]) == part[0]]
        todo += parts
    return sorted(foreign_parts)


def _left_out(place: Place, basis: TablesBasis) -> bool:
    return basis.dump is not None and place.target in basis.dump.left_out


def _of_existing(table: TableRestore, there: TargetRelation | None, basis: TablesBasis) -> Iterator[RestoreRemark]:
    if there is None:
        what = f"{table.target_name} is not in the target."
        yield basis.refusal(table.name, what, "Create it with --mode new.")
        return
    yield from _of_access(table, there, basis)
    if there.triggers and there.owned:
        what = f"The triggers of {table.target_name} ({', '.join(there.triggers)}) do not fire for restored rows."
        yield RestoreRemark(RemarkSeverity.INFO, what, table.name)
    if not table.key:
        yield from _without_key(table, basis)
    yield from _of_counts(table)


def _of_access(table: TableRestore, there: TargetRelation, basis: TablesBasis) -> Iterator[RestoreRemark]:
    role = basis.facts.role
    lacking = [name for name in _PRIVILEGES[table.action] if name not in there.privileges]
    if lacking:
        grant = f"GRANT {', '.join(lacking)} ON {table.target_name} TO {role}, or connect as its owner."
        yield basis.refusal(table.name, f"Role {role} lacks {', '.join(lacking)} on {table.target_name}.", grant)
    if there.filtered:
        what = f"Row-level security hides rows of {table.target_name} from role {role}."
        yield basis.refusal(table.name, what, "Connect as the owner of the table, or as a role with BYPASSRLS.")
    if there.triggers and not there.owned:
        what = f"{table.target_name} has triggers ({', '.join(there.triggers)}); only its owner may keep them still."
        yield basis.refusal(table.name, what, "Connect as the owner of the table.")
    if there.elsewhere:
        yield _elsewhere(table, there.elsewhere, basis)
    if there.rules:
        what = f"{table.target_name} has rules ({', '.join(there.rules)}) that would rewrite what is written."
        yield basis.refusal(
            table.name, what, "Disable them (ALTER TABLE … DISABLE RULE …), restore, enable them again."
        )


def _without_key(table: TableRestore, basis: TablesBasis) -> Iterator[RestoreRemark]:
    if not table.rows_now:
        return
    if table.action is not Action.REPLACE:
        what = f"{table.target_name} has no key, so {table.action} can not tell which rows are there already."
        yield basis.refusal(table.name, what, "Use --mode replace, or restore it beside with --rename.")
    elif table.kept:
        what = f"{table.target_name} has no key: the present values of {', '.join(table.kept)} would be lost."
        yield basis.refusal(table.name, what, "Restore it beside with --rename, and bring the rows over with SQL.")


def _of_counts(table: TableRestore) -> Iterator[RestoreRemark]:
    now, come = table.rows_now or 0, table.rows_in_backup
    if table.action is Action.REPLACE and come < now:
        what = f"{table.target_name} has {now:,} rows now and {come:,} afterwards: at least {now - come:,} are removed."
        yield RestoreRemark(RemarkSeverity.WARNING, what, table.name)


def _of_columns(table: TableRestore, columns: ColumnsPlan, basis: TablesBasis) -> Iterator[RestoreRemark]:
    """What there is to say when new rows can not be made: for certain when none is there yet."""
    for name in sorted(_fill_names(table, basis.request) - table.filled.keys()):
        what = f"{table.target_name}.{name} can not be filled: there is no such column, or the backup has its values."
        yield basis.refusal(table.name, what, f"Leave out --fill {table.name}.{name}.")
    if not columns.needed or not table.rows_in_backup:
        return
    names = ", ".join(columns.needed)
    what = f"{table.target_name} needs a value for {names} in new rows, which the backup does not hold"
    fills = " ".join(f"--fill {table.name}.{name}=VALUE" for name in columns.needed)
    if table.rows_now:
        what += ": if a row is missing from the target, the restore stops and changes nothing."
        yield RestoreRemark(RemarkSeverity.WARNING, what, table.name, f"Give one with {fills}.")
    else:
        do = f"Give one with {fills}, or restore the table elsewhere with --rename."
        yield basis.refusal(table.name, f"{what}.", do)


def _of_fill(table: TableRestore, there: TargetRelation | None, basis: TablesBasis) -> Iterator[RestoreRemark]:
    new = table.action is Action.CREATE
    return fill_remarks(table, None if new else there, basis.dump)


def _fill_names(table: TableRestore, request: RestoreRequest) -> set[str]:
    prefix = f"{table.name}."
    return {name.removeprefix(prefix) for name in request.fill if name.startswith(prefix)}
