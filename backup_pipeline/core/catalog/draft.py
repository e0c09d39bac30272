"""Drafting: a catalog for a database that nobody has described yet. It works as it is; people then correct it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from textwrap import wrap

import yaml

from backup_pipeline.core.businesses.paths import found_paths, found_registry
from backup_pipeline.core.catalog.businesses import Businesses
from backup_pipeline.core.catalog.model import BUNDLE, Catalog, Excluded, TableSpec
from backup_pipeline.core.catalog.rules import quote_name
from backup_pipeline.core.catalog.secret_columns import can_hold_secret, secret_of
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.names import sheet_file
from backup_pipeline.core.relations import Column, Database, ForeignKey, Relation, write_relation
from backup_pipeline.core.text import looks_secret

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN_WORDS = re.compile(r"[\x00-/:-@\[-`{-\x7f\s]+")
"""Blanks and ASCII's punctuation; marks of other scripts belong to their words."""
TABLE_LENGTH = 63
CATALOG_LENGTH = 40


def plain_name(text: str, *, fallback: str, length: int = TABLE_LENGTH) -> str:
    """`text` in ASCII letters, digits and underscores, not beginning with a digit, at most `length` long."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_]+", "_", ascii_only)
    name = name if name == text else name.strip("_")
    name = name if re.match(r"[A-Za-z_]", name) else "_".join(part for part in (fallback, name) if part)
    return name[:length]


def sheet_title(text: str) -> str:
    """`order_items`, `OrderItems` and `order-items` as `Order Items`."""
    words = _BETWEEN_WORDS.split(_HUMP.sub(" ", text))
    return " ".join(word[:1].upper() + word[1:] for word in words if word) or "Table"


def short_title(text: str, length: int) -> str:
    """The title of `text`, cut to `length` as spreadsheets count: in UTF-16, where an emoji is two."""
    return _cut(sheet_title(text), length)


def _cut(text: str, length: int) -> str:
    return text.encode("utf-16-le")[: 2 * length].decode("utf-16-le", errors="ignore").strip()


def distinct(
    name: str,
    taken: Collection[str],
    *,
    separator: str,
    length: int = TABLE_LENGTH,
    alike: Callable[[str], str] = str.casefold,
) -> str:
    """`name`, or `name` and the first number from 2 on with which it is like none of `taken`, which `alike` gave."""
    candidate, number = name, 1
    while alike(candidate) in taken:
        number += 1
        ending = f"{separator}{number}"
        candidate = _cut(name, length - len(ending)) + ending
    return candidate


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
    look_ups = {name: look_up for name in shown if (look_up := _look_up(relation, name, database))}
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


SECRET = "looks like a secret ({kind}); if it is none, name it under `allow` with the reason instead"  # noqa: S105
_NO_ROOM = "called like a secret, but the type {type} can hold none"
_OTHERWISE = "called like a secret, but so are things that are none; if it is one, move it to `exclude` with the reason"
_SHEET_LENGTH = 31
"""What Excel has room for in the name of a sheet."""
LOCKED = "the backup role may not read it: GRANT SELECT on it, then take it out of here"


@dataclass(frozen=True)
class Draft:
    """A catalog, the tables of it that have no key, and the relations beside the tables (views and the like)."""

    catalog: Catalog
    keyless: tuple[str, ...]
    beside: tuple[str, ...]


def draft_catalog(
    database: Database, *, name: str | None = None, timezone: str = "UTC", businesses: str | None = None
) -> Draft:
    """A catalog that plans without a failed table: every table of `database` is in it, or excluded with the reason.

    With `businesses`, the key of their table (`businesses.id`), each table has its path to it, or is shared.
    NotFoundError when there is no table that can be read, or no such key. pydantic's ValidationError when `name` or
    `timezone` is not one; without `name` the database's own is made fit.
    """
    schema = _main_schema(database)
    held = sorted((r for r in database.relations.values() if r.holds_rows), key=lambda r: (r.schema != schema, r.id))
    reasons = {relation.id: reason for relation in held if (reason := _reason_to_leave_out(relation))}
    listed = [relation for relation in held if relation.id not in reasons]
    if not listed:
        message = f"Database {database.name} has no table that a backup could read ({len(held)} tables in all)."
        raise NotFoundError(message, do="GRANT SELECT on its tables to the role of the URL, or correct the URL.")
    names = _names(listed, schema)
    declared, paths = _businesses(database, listed, schema, businesses)
    catalog = Catalog(
        catalog=name if name is not None else _catalog_name(database),
        title=sheet_title(database.name),
        timezone=timezone,
        schema=schema,
        businesses=declared,
        tables={
            names[r.id][0]: _spec(r, *names[r.id], schema, database).model_copy(update={"business": paths.get(r.id)})
            for r in listed
        },
        excluded=tuple(Excluded(table=_pattern(id_, schema), reason=reason) for id_, reason in reasons.items()),
    )
    keyless = tuple(names[r.id][0] for r in listed if not (r.primary_key or r.unique_keys))
    beside = sorted(r.full_name for r in database.relations.values() if not (r.holds_rows or r.is_partition))
    return Draft(catalog, keyless, tuple(beside))


def _businesses(
    database: Database, listed: Sequence[Relation], schema: str, key: str | None
) -> tuple[Businesses | None, Mapping[tuple[str, str], str]]:
    if key is None:
        return None, {}
    registry, column = found_registry(database, key, schema)
    called = human_column(registry)
    declared = Businesses(
        registry=write_relation(*_qualified(registry, schema)), key=column.name, name=called.name if called else None
    )
    return declared, found_paths(listed, registry, column.name)


def _catalog_name(database: Database) -> str:
    return plain_name(database.name.lower().lstrip("_"), fallback="db", length=CATALOG_LENGTH).lower()


def _main_schema(database: Database) -> str:
    """`public` where it has tables, else the schema with most of them."""
    counts = Counter(
        relation.schema for relation in database.relations.values() if relation.holds_rows and not relation.extension
    )
    return "public" if counts["public"] or not counts else min(counts, key=lambda name: (-counts[name], name))


def _reason_to_leave_out(relation: Relation) -> str | None:
    if relation.extension:
        rows = "; its rows are settings that people made: list it to have them" if relation.configuration else ""
        return f"belongs to extension {relation.extension}, which makes it{rows}"
    if not relation.readable:
        return f"the backup role may not read it: GRANT SELECT ON {write_relation(*relation.id)}, then list it"
    if not relation.columns:
        return "has no columns"
    kinds = {column.name: secret_of(relation, column) for column in relation.columns}
    if all(kinds.values()):
        named = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        return f"all its columns look like secrets: {named}"
    return None


def _names(relations: Sequence[Relation], schema: str) -> dict[tuple[str, str], tuple[str, str]]:
    """The catalog's name and the sheet of each, both unique whatever the case; other schemas' tables carry theirs.

    A table whose own name will do gets it before another is given it.
    """
    names: dict[tuple[str, str], tuple[str, str]] = {}
    tables, sheets = {BUNDLE}, set[str]()
    for relation in sorted(relations, key=lambda r: _full(r, schema) != plain_name(r.name, fallback="table").lower()):
        full = _full(relation, schema)
        table = distinct(plain_name(full, fallback="table"), tables, separator="_")
        title = short_title(full, _SHEET_LENGTH)
        sheet = distinct(title, sheets, separator=" ", length=_SHEET_LENGTH, alike=sheet_file)
        tables.add(table.casefold())
        sheets.add(sheet_file(sheet))
        names[relation.id] = (table, sheet)
    return names


def _full(relation: Relation, schema: str) -> str:
    return relation.name if relation.schema == schema else f"{relation.schema}_{relation.name}"


def _spec(relation: Relation, table: str, sheet: str, schema: str, database: Database) -> TableSpec:
    exact = relation.id == (schema, table)
    kinds = {column.name: kind for column in relation.columns if (kind := secret_of(relation, column))}
    excluded = {name: SECRET.format(kind=kind) for name, kind in kinds.items()}
    excluded |= {column.name: LOCKED for column in relation.columns if not column.readable}
    return TableSpec(
        relation=None if exact else write_relation(*_qualified(relation, schema)),
        description=" ".join(relation.comment.split()) or None,
        sheet=sheet,
        columns=sheet_columns(relation, database, excluded),
        exclude=excluded,
        allow={c.name: _why_none(c) for c in relation.columns if looks_secret(c.name) and c.name not in excluded},
    )


def _why_none(column: Column) -> str:
    """Why a column is not left out although a catalog must decide about its name: a judgement is never silent."""
    return _OTHERWISE if can_hold_secret(column) else _NO_ROOM.format(type=column.pg_type)


def _qualified(relation: Relation, schema: str) -> tuple[str | None, str]:
    return (None if relation.schema == schema else relation.schema), relation.name


def _pattern(relation: tuple[str, str], schema: str) -> str:
    """The text that `Catalog.excluded_reason` matches with this relation alone."""
    own, name = relation
    bare = own == schema and name == escape(name) and "." not in name and schema == escape(schema)
    return name if bare else f"{escape(own)}.{escape(name)}"


_WIDTH = 118
_NEVER_FOLD = 1 << 20
_HEAD = (
    "Drafted by `backup-pipeline catalog init`. It works as it is; read it through, then correct it: the timezone (of "
    "the sheets, of the dates, of the schedule), the sheets, and what counts as secret. docs/catalog.md explains every "
    "field."
)
_TOP = ("catalog", "title", "timezone", "schema", "schedule", "start_date")
_TABLE = ("relation", "business", "sheet", "description", "columns", "exclude", "allow")


def draft_yaml(draft: Draft) -> str:
    """The catalog as a YAML file, fields in the order of docs/catalog.md, with comments on what to look at."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    catalog = draft.catalog
    yield from _comment(_HEAD)
    declared = catalog.model_dump(by_alias=True)
    yield from _block({name: declared[name] for name in _TOP if name != "start_date" or catalog.start_date})
    yield ""
    if catalog.businesses:
        yield from _comment("Which businesses are backed up: give `active` a condition such as status = 'active'.")
        yield from _block({"businesses": catalog.businesses.model_dump(exclude_none=True)})
        yield ""
    yield "tables:"
    for name, spec in catalog.tables.items():
        if name in draft.keyless:
            yield "  # no key: give it a `key` (columns that are unique together) if it has one"
        yield from _block({"tables": {name: _fields(spec)}})[1:]
    if catalog.excluded:
        yield ""
        yield from _block({"excluded": [{"table": rule.table, "reason": rule.reason} for rule in catalog.excluded]})
    if draft.beside:
        yield ""
        yield from _comment("Not tables, so not backed up unless listed above: " + ", ".join(draft.beside))


def _fields(spec: TableSpec) -> dict[str, object]:
    declared = spec.model_dump(exclude_defaults=True)
    return {name: declared[name] for name in _TABLE if name in declared}


class _Dumper(yaml.SafeDumper):
    """YAML in which text that is not printable stands in double quotes, escaped: a line break in a name survives."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A scalar in the plainest style that gives `text` back."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def _block(value: object) -> Sequence[str]:
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_NEVER_FOLD
    )
    return text.splitlines()


def _comment(text: str) -> list[str]:
    """A comment; what YAML can not hold in one (line breaks, control characters) is left out."""
    clean = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return [f"# {line}" for line in wrap(clean, _WIDTH, break_long_words=False, break_on_hyphens=False)]
