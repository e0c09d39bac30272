"""The sheet of a drafted table: its columns, with foreign keys shown as the name of what they point to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backup_pipeline.core.draft_names import distinct
from backup_pipeline.core.relations import Column, Database, ForeignKey, Relation
from backup_pipeline.core.secrets import looks_secret
from backup_pipeline.core.sheet_source import quote_name

_NAMES = ("name", "title", "label", "full_name", "display_name")
_CODES = ("code", "number", "email", "username", "login")
_OWN = ("{}", "{}_name", "{}_title", "{}_number", "{}_code")
_TEXT = {"text", "varchar", "bpchar", "name", "citext"}
_COUNTED = {"int2", "int4", "int8", "numeric"}
_ID_ENDINGS = ("_id", "_uuid", "_fk", "id", "Id", "ID")


def sheet_columns(relation: Relation, database: Database, excluded: Collection[str]) -> Mapping[str, str]:
    """The sheet's columns, title: source; empty (the catalog's default: all columns) when nothing is looked up."""
    shown = [column.name for column in relation.columns if column.name not in excluded]
    look_ups = {name: found for name in shown if (found := _look_up(relation, name, database))}
    if not look_ups:
        return {}
    columns: dict[str, str] = {}
    taken = {name.strip().casefold() for name in shown}
    for name in shown:
        source = look_ups.get(name)
        title = _title_of_key(name, taken) if source else name.strip()
        title = distinct(title or "column", {t.casefold() for t in columns}, separator=" ")
        columns[title] = source or quote_name(name)
    return columns


def human_column(relation: Relation) -> Column | None:
    """The column by which people know a row: its name, title or number, else its one unique text; None without."""
    candidates = {_folded(c.name): c for c in relation.columns if _fit(c)}
    own = [pattern.format(word) for word in _singular(relation.name) for pattern in _OWN]
    for wanted in (*_NAMES, *own, *_CODES):
        if found := candidates.get(_folded(wanted)):
            return found
    alone = [relation.column(key[0]) for key in (relation.primary_key, *relation.unique_keys) if len(key) == 1]
    return next((c for c in alone if c and _is_text(c) and not looks_secret(c.name)), None)


def _look_up(relation: Relation, name: str, database: Database) -> str | None:
    foreign = _foreign_key(relation, name)
    target = database.get(foreign.target) if foreign else None
    if foreign is None or target is None or not target.readable:
        return None
    column = human_column(target)
    if column is None or column.name == foreign.target_columns[0]:
        return None
    return f"{quote_name(name)}.{quote_name(column.name)}"


def _foreign_key(relation: Relation, column: str) -> ForeignKey | None:
    """The same one that planning will follow."""
    return next((foreign for foreign in relation.foreign_keys if foreign.columns == (column,)), None)


def _title_of_key(name: str, taken: Collection[str]) -> str:
    """`customer_id` as `customer`, unless a column of that name is there."""
    for ending in _ID_ENDINGS:
        short = name.removesuffix(ending).strip(" _")
        if short and name.endswith(ending) and short.casefold() not in taken:
            return short
    return name.strip()


def _fit(column: Column) -> bool:
    counted = column.builtin and column.base_type in _COUNTED and _folded(column.name).endswith(("number", "code"))
    return (_is_text(column) or counted) and not looks_secret(column.name)


def _is_text(column: Column) -> bool:
    return column.base_type in _TEXT and (column.builtin or column.base_type == "citext")


def _folded(name: str) -> str:
    return name.replace("_", "").replace(" ", "").casefold()


def _singular(table: str) -> list[str]:
    """`cities` as `cities`, `city` and other guesses; harmless where wrong, because no column is named so."""
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    return [table, *(table.removesuffix(end) + new for end, new in endings if table.endswith(end))]
