"""Which tables of a backup a restore is about, and where each of them goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restore_entries import Dump
from backup_pipeline.core.restore_target import TargetFacts
from backup_pipeline.core.restore_views import PlainView, plain_view
from backup_pipeline.core.restoring import Mode, Name, RestoreRequest

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


def _new(at: Place, dump: Dump | None) -> Place:
    if at.moved or dump is None or at.source in dump.tables or at.entry.extension:
        return at
    if at.source in dump.views:
        return _behind(at, plain_view(dump.views[at.source].sql))
    kind = at.entry.relation_kind
    held = kind is None or kind in set(_TABLES)
    return at if held else Place(at.entry, at.source, at.target, at.moved, obstacle=f"{at.entry.relation} is a {kind}")


def _behind(at: Place, view: PlainView | None) -> Place:
    """Into the table that the view shows."""
    if view is None:
        shown = f"{'.'.join(at.target)} is a view that does more than show columns of one table"
        return Place(at.entry, at.source, at.target, at.moved, obstacle=shown)
    return Place(at.entry, at.source, view.base, at.moved, columns=view.columns)


def shared(places: tuple[Place, ...]) -> Iterator[tuple[Name, list[str]]]:
    """Tables of the target that several tables of the backup would go into, with their names."""
    by_target: dict[Name, list[str]] = {}
    for one in places:
        by_target.setdefault(one.target, []).append(one.entry.name)
    return ((target, names) for target, names in by_target.items() if len(names) > 1)
