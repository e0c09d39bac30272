"""The definitions of a scratch database: those of the backup, and what it takes to restore the backup by itself.

A role that may not read a table behind a safe view leaves it out of schema.sql; a column that is excluded or masked may
be one that no row can be without. Applications bring both back; a drill has only the backup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backup_pipeline.core.drill import Amendment, Remark
from backup_pipeline.core.drill_fill import alone, constant, nullable
from backup_pipeline.core.drill_server import EXTENSIONS_BESIDE
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.restore_broken import with_broken_keys
from backup_pipeline.core.restore_entries import POST_DATA, Dump, Entry
from backup_pipeline.core.restore_selection import place, source_of
from backup_pipeline.core.restore_table_sql import columns_of
from backup_pipeline.core.restore_target import TargetColumn, TargetFacts
from backup_pipeline.core.restore_tokens import qualified_at, significant
from backup_pipeline.core.restore_views import PlainView, plain_view
from backup_pipeline.core.restoring import Mode, Name, RestoreRequest
from backup_pipeline.core.type_names import type_name

_RELATIONS = {"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE"}
_COMPUTED = {"VIEW", "MATERIALIZED VIEW"}


@dataclass(frozen=True)
class _StandIn:
    """A table made from the manifest: `name` for `entry`, in place of the view `entry` was read from where `view`."""

    entry: TableEntry
    name: Name
    columns: Mapping[str, str]
    why: str

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that are unique together, in its own names."""
        return tuple(self.columns.get(name, name) for name in self.entry.key)


def amended(manifest: Manifest, dump: Dump | None) -> tuple[Dump, Amendment]:
    """The definitions to restore with, and what is different about them."""
    keys = with_broken_keys(dump or Dump(()), manifest)
    before = keys.dump
    stand_ins = [found for entry in manifest.tables if (found := _stand_in(entry, before))]
    with_tables, dropped = _with_stand_ins(before, stand_ins)
    filled, fill, relaxed = _without_needs(manifest, with_tables, {one.entry.name for one in stand_ins})
    told = [Remark(one.entry.name, f"{'.'.join(one.name)} is made from the manifest: {one.why}.") for one in stand_ins]
    told += [Remark("schema.sql", text) for text in (*keys.lost, *dropped, *_unmade(manifest, with_tables))]
    told += [Remark(name.partition(".")[0], _filled(name, value)) for name, value in fill.items()]
    told += [Remark(table, why) for table, why in relaxed.items()]
    made = {one.entry.name: "its table is made from the manifest" for one in stand_ins}
    made |= dict.fromkeys(relaxed, "its definition is relaxed in the scratch database")
    return filled, Amendment(fill, made, tuple(told))


def _unmade(manifest: Manifest, dump: Dump) -> Iterator[str]:
    """Tables that the definitions leave out and the backup has no rows of."""
    reasons = {found.table: found.reason for found in manifest.excluded}
    for name in sorted(dump.left_out):
        full = ".".join(name)
        why = reasons.get(full) or reasons.get(name[1]) or "the catalog does not list it"
        yield f"{full} is not made: the backup role could not read it, and the backup has no rows of it ({why})."


def _stand_in(entry: TableEntry, dump: Dump) -> _StandIn | None:
    """What to make for a table of the backup that the definitions do not make; None when they do."""
    source = source_of(entry)
    if source in dump.tables or _of_extension(entry, dump):
        return None
    made = next((one for one in dump.entries if one.defines == source and one.kind in _COMPUTED), None)
    if made is None:
        other = "it is a foreign table" if entry.relation_kind == "foreign table" else "schema.sql does not define it"
        return _StandIn(entry, source, {}, other)
    view = plain_view(made.sql) if made.kind == "VIEW" else None
    if view is not None and view.base in dump.tables:
        return None
    unread = "the backup role could not read it, so it is not in schema.sql"
    if view is not None and view.base in dump.left_out and _shows(entry, view):
        return _StandIn(entry, view.base, view.columns, unread)
    if view is None and not made.mentions & dump.left_out:
        return None  # it is computed from what is restored
    return _StandIn(entry, source, {}, "it is a view of what the backup role could not read")


def _of_extension(entry: TableEntry, dump: Dump) -> bool:
    """Whether an extension that the definitions make brings the table."""
    return bool(entry.extension) and any(
        one.kind == "EXTENSION" and one.tag == entry.extension and one.tag not in EXTENSIONS_BESIDE
        for one in dump.entries
    )


def _shows(entry: TableEntry, view: PlainView) -> bool:
    return view.columns.keys() == {column.name for column in entry.columns} | entry.excluded_columns.keys()


def _with_stand_ins(dump: Dump, stand_ins: Sequence[_StandIn]) -> tuple[Dump, list[str]]:
    """The dump with a table and a key for each stand-in, without what does not fit them."""
    if not stand_ins:
        return dump, []
    names = {one.name: one for one in stand_ins}
    kept, dropped = [], []
    for entry in dump.entries:
        if reason := _misfit(entry, names):
            dropped.append(f"{entry.kind.lower()} {entry.tag} is left out: {reason}.")
        elif entry.defines not in names:
            kept.append(entry)
    tables = [_table(one, dump) for one in stand_ins]
    keys = [_key(one) for one in stand_ins if one.key and not any(c.masked for c in one.entry.columns)]
    first = next((at for at, entry in enumerate(kept) if entry.kind in _RELATIONS | POST_DATA), len(kept))
    behind = next((at for at, entry in enumerate(kept) if entry.kind in POST_DATA), len(kept))
    entries = (*kept[:first], *tables, *kept[first:behind], *keys, *kept[behind:])
    return Dump(entries, dump.left_out - names.keys()), dropped


def _misfit(entry: Entry, stand_ins: Mapping[Name, _StandIn]) -> str | None:
    """Why an entry can not be made beside stand-ins; None when it can, or is what a stand-in replaces."""
    touched = [stand_ins[name] for name in entry.mentions if name in stand_ins]
    if not touched or entry.defines in stand_ins:
        return None
    if entry.kind == "VIEW" and (view := plain_view(entry.sql)) and view.base in stand_ins:
        return None if view.columns == stand_ins[view.base].columns else "the manifest does not have all its columns"
    parent = stand_ins.get(entry.parent) if entry.parent else None
    if entry.kind == "FK CONSTRAINT" and parent is not None and entry.belongs_to not in stand_ins:
        return None if _refers_to_key(entry, parent) else "the manifest does not know that key"
    return f"it needs more of {'.'.join(touched[0].name)} than the manifest has"


def _refers_to_key(entry: Entry, parent: _StandIn) -> bool:
    at = next(at for at, token in enumerate(entry.tokens) if token.is_word("REFERENCES"))
    inside = [token.text for token in entry.tokens[at:]]
    columns = inside[inside.index("(") + 1 : inside.index(")")] if "(" in inside else []
    return [name for name in columns if name != ","] == list(parent.key)


def _table(one: _StandIn, dump: Dump) -> Entry:
    columns = [f"    {_quoted(one.columns.get(c.name, c.name))} {_type(c.pg_type, dump)}" for c in one.entry.columns]
    columns += [f"    {_quoted(one.columns[name])} text" for name in one.entry.excluded_columns if name in one.columns]
    body = ",\n".join(columns)
    return Entry(one.name[1], "TABLE", one.name[0], f"CREATE TABLE {_full(one.name)} (\n{body}\n);")


def _key(one: _StandIn) -> Entry:
    """Unique, not primary: nobody promised that the key is never NULL."""
    columns = ", ".join(_quoted(name) for name in one.key)
    name = _quoted(f"{one.name[1][:50]}_drill_key")
    sql = f"ALTER TABLE ONLY {_full(one.name)}\n    ADD CONSTRAINT {name} UNIQUE ({columns});"
    return Entry(f"{one.name[1]} {one.name[1][:50]}_drill_key", "CONSTRAINT", one.name[0], sql)


def _type(pg_type: str, dump: Dump) -> str:
    """The type, or text where nothing in the definitions makes it."""
    name = qualified_at(significant(pg_type), 0)
    makes = {entry.defines for entry in dump.entries if entry.kind in {"TYPE", "DOMAIN", "TABLE"}}
    known = name is None or name in makes or any(entry.kind == "EXTENSION" for entry in dump.entries)
    return type_name(pg_type).sql() if known else "text"


def _without_needs(manifest: Manifest, dump: Dump, stand_ins: set[str]) -> tuple[Dump, dict[str, str], dict[str, str]]:
    """The dump in which every row of the backup can be made: with the values that fill columns, else without needs."""
    fill: dict[str, str] = {}
    relaxed: dict[str, str] = {}
    for entry in manifest.tables:
        if entry.name in stand_ins or not entry.row_count:
            continue
        target, needed = _needed(entry, dump)
        for column in needed:
            value = constant(column.pg_type) if alone(column.name, target, dump) else None
            if value is not None:
                fill[f"{entry.name}.{column.name}"] = value
                continue
            dump = _relaxed(dump, target, column.name)
            told = f"{'.'.join(target)}.{column.name} is not in the backup and has to be something of its own: "
            relaxed[entry.name] = f"{relaxed.get(entry.name, '')}{told}the scratch table takes NULL there. "
    return dump, fill, {name: text.strip() for name, text in relaxed.items()}


def _needed(entry: TableEntry, dump: Dump) -> tuple[Name, list[TargetColumn]]:
    """Where a table's rows go, and the columns there without which no row can be made and which the backup lacks."""
    at = place(entry, RestoreRequest("", mode=Mode.NEW), TargetFacts("", "", ""), dump)
    held = {at.columns.get(column.name, column.name) for column in entry.columns if not column.masked}
    columns = columns_of(at.target, dump) if not at.obstacle else ()
    return at.target, [column for column in columns if column.name not in held and not column.makes_itself]


def _relaxed(dump: Dump, table: Name, column: str) -> Dump:
    """The dump in which `column` of `table`, and of its partitions, may be NULL."""
    family = {table, *_parts(table, dump)}
    entries = tuple(
        replace(entry, sql=nullable(entry.sql, column)) if entry.kind == "TABLE" and entry.defines in family else entry
        for entry in dump.entries
    )
    return Dump(entries, dump.left_out)


def _parts(table: Name, dump: Dump) -> Iterator[Name]:
    for part, whole in dump.parts.items():
        if whole == table:
            yield part
            yield from _parts(part, dump)


def _filled(name: str, value: str) -> str:
    return f"{name} is not in the backup and may not be NULL: rows get {value!r} in the scratch database."


def _full(name: Name) -> str:
    return ".".join(_quoted(part) for part in name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
