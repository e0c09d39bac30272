"""The sheet of a drafted table: its columns, with foreign keys shown as the name of what they point to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from backup_pipeline.core.draft_names import distinct
from backup_pipeline.core.relations import Column, Database, ForeignKey, Relation
from backup_pipeline.core.secret_columns import secret_of
from backup_pipeline.core.secrets import looks_secret
from backup_pipeline.core.sheet_source import quote_name

_NAMES = (
    *("name", "full_name", "display_name", "company_name", "legal_name", "business_name", "trade_name"),
    *("organization_name", "organisation_name", "official_name", "product_name", "common_name", "{}_name"),
)
_TITLES = ("title", "label", "subject", "headline", "{}_title", "{}")
_OTHER_NAMES = (
    *("first", "last", "middle", "given", "family", "sur", "maiden", "nick", "user", "file", "host", "domain", "class"),
    *(
        "schema",
        "table",
        "column",
        "type",
        "login",
        "screen",
        "image",
        "icon",
        "event",
        "queue",
        "job",
        "path",
        "field",
    ),
)
"""`first_name` and the like: no row is known by it alone, or it is not the row's."""
_CODES = ("{}_number", "{}_code", "code", "number", "email", "username", "login")
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
    """The column by which people know a row: a name, else its title, its number, its one unique text; None without."""
    candidates = {_folded(c.name): c for c in relation.columns if _fit(c, relation)}
    called = (
        *_patterns(_NAMES, relation),
        *(name for name in candidates if name.endswith("name") and not name.startswith(_OTHER_NAMES)),
        *_patterns((*_TITLES, *_CODES), relation),
    )
    for wanted in called:
        if column := candidates.get(wanted):
            return column
    alone = [relation.column(key[0]) for key in (relation.primary_key, *relation.unique_keys) if len(key) == 1]
    return next((c for c in alone if c and _is_text(c) and not _secret(c, relation)), None)


def _patterns(patterns: Iterable[str], relation: Relation) -> Iterator[str]:
    """The names to look for, in their order; `{}` stands for the table's own, in the plural and the singular."""
    for pattern in patterns:
        words = _singular(relation.name) if "{}" in pattern else [""]
        yield from (_folded(pattern.format(word)) for word in words)


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


def _fit(column: Column, relation: Relation) -> bool:
    counted = column.builtin and column.base_type in _COUNTED and _folded(column.name).endswith(("number", "code"))
    return (_is_text(column) or counted) and not _secret(column, relation)


def _secret(column: Column, relation: Relation) -> bool:
    """By its name alone too: that is all a catalog goes by when a sheet shows a column of another table."""
    return looks_secret(column.name) or secret_of(relation, column) is not None


def _is_text(column: Column) -> bool:
    return column.base_type in _TEXT and (column.builtin or column.base_type == "citext")


def _folded(name: str) -> str:
    return name.replace("_", "").replace(" ", "").casefold()


def _singular(table: str) -> list[str]:
    """`cities` as `cities`, `city` and other guesses; harmless where wrong, because no column is named so."""
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    return [table, *(table.removesuffix(end) + new for end, new in endings if table.endswith(end))]
