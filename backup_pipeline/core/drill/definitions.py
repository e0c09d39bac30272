"""Columns that no row can be without and that a backup does not hold: a value for them, or none needed any more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backup_pipeline.core.drill import Amendment, DrillRemark
from backup_pipeline.core.errors import TargetError
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.plans import type_name
from backup_pipeline.core.restore import Mode, Name, RestoreRequest, TargetColumn, TargetFacts
from backup_pipeline.core.restore.ddl import roles_of
from backup_pipeline.core.restore.dump import (
    POST_DATA,
    Dump,
    DumpEntry,
    PlainView,
    Token,
    columns_of,
    items,
    plain_view,
    qualified_at,
    significant,
)
from backup_pipeline.core.restore.plan import with_broken_keys
from backup_pipeline.core.restore.tables import place, source_of

_ENFORCING = {"CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "INDEX"}
_CONSTANTS = {
    "text": "-", "character varying": "-", "character": "-", "bpchar": "-", "name": "-",
    "smallint": "0", "integer": "0", "bigint": "0", "numeric": "0", "real": "0", "double precision": "0",
    "boolean": "false", "date": "2000-01-01", "interval": "0", "bytea": "\\x",
    "timestamp without time zone": "2000-01-01 00:00:00", "timestamp with time zone": "2000-01-01 00:00:00+00",
    "time without time zone": "00:00:00", "time with time zone": "00:00:00+00",
    "uuid": "00000000-0000-0000-0000-000000000000", "json": "null", "jsonb": "null",
    "inet": "127.0.0.1", "cidr": "127.0.0.0/8", "macaddr": "00:00:00:00:00:00",
}  # fmt: skip
_LIMIT = re.compile(r"\([-\d, ]+\)")


def constant(pg_type: str) -> str | None:
    """A value of the type that is good enough for a scratch database; None when none is known."""
    if pg_type.endswith("[]"):
        return "{}"
    return _CONSTANTS.get(" ".join(_LIMIT.sub("", pg_type).split()))


def alone(column: str, table: Name, dump: Dump) -> bool:
    """Whether nothing but its own type and NOT NULL says what `column` may hold: then every row may have one value."""
    of_table = [entry for entry in dump.entries if entry.belongs_to == table and entry.kind in _ENFORCING]
    if any(_names(column, entry.tokens) for entry in of_table):
        return False
    definition = dump.tables.get(table)
    others = [item for item in items(definition.tokens) if item[0].text != column] if definition else []
    column_item = next((item for item in items(definition.tokens) if item[0].text == column), []) if definition else []
    checked = any(token.is_word("CHECK", "REFERENCES", "UNIQUE", "PRIMARY") for token in column_item)
    return not checked and not any(_names(column, item) for item in others)


def nullable(sql: str, column: str) -> str:
    """The CREATE TABLE `sql` in which `column` may be NULL."""
    for start, end in _not_null(sql, column):
        sql = sql[:start] + " " * (end - start) + sql[end:]
    return sql


def _not_null(sql: str, column: str) -> Iterator[tuple[int, int]]:
    """Where the column's NOT NULL stands, with the name of that constraint where it has one."""
    item = next((item for item in items(significant(sql)) if item[0].text == column), [])
    for index in range(1, len(item) - 1):
        if item[index].is_word("NOT") and item[index + 1].is_word("NULL"):
            named = index > 2 and item[index - 2].is_word("CONSTRAINT")
            yield item[index - 2 if named else index].start, item[index + 1].end


def _names(column: str, tokens: list[Token]) -> bool:
    return any(token.is_name and token.text == column for token in tokens)


EXTENSIONS_BY_LIST = frozenset(
    {
        *("address_standardizer", "address_standardizer_data_us", "anon", "bloom", "earthdistance", "first_last_agg"),
        *(
            "h3",
            "h3_postgis",
            "hll",
            "intagg",
            "ip4r",
            "numeral",
            "orafce",
            "periods",
            "pg_bigm",
            "pg_hashids",
            "pg_ivm",
        ),
        *("pg_partman", "pg_uuidv7", "pgmq", "pgrouting", "pgtap", "postgis", "postgis_raster", "postgis_sfcgal"),
        *("postgis_tiger_geocoder", "postgis_topology", "prefix", "q3c", "roaringbitmap", "rum", "semver"),
        *("temporal_tables", "tdigest", "topn", "unit", "vector", "xml2"),
    }
)
"""Extensions of types and functions that PostgreSQL lets only a superuser make, and that open neither files nor a way
out: a drill makes them. Those that PostgreSQL calls trusted need no list."""
EXTENSIONS_BESIDE = frozenset(
    {
        *(
            "adminpack",
            "amcheck",
            "auto_explain",
            "dblink",
            "file_fdw",
            "hypopg",
            "mysql_fdw",
            "ogr_fdw",
            "old_snapshot",
        ),
        *(
            "oracle_fdw",
            "pageinspect",
            "pg_buffercache",
            "pg_cron",
            "pg_freespacemap",
            "pg_hint_plan",
            "pg_logicalinspect",
        ),
        *(
            "pg_net",
            "pg_prewarm",
            "pg_qualstats",
            "pg_repack",
            "pg_stat_kcache",
            "pg_stat_monitor",
            "pg_stat_statements",
        ),
        *("pg_surgery", "pg_visibility", "pg_wait_sampling", "pg_walinspect", "pgaudit", "pglogical", "pgrowlocks"),
        *(
            "pgstattuple",
            "plpython3u",
            "plperlu",
            "pltclu",
            "plsh",
            "postgres_fdw",
            "sslinfo",
            "supabase_vault",
            "tds_fdw",
        ),
        *("http", "powa", "set_user", "wal2json"),
    }
)
"""Extensions that look after a server or reach out of it. No table is made of them: a drill does without."""
_PACKAGES = {
    "pg_partman": "postgresql-{v}-partman",
    "pgrouting": "postgresql-{v}-pgrouting",
    "vector": "postgresql-{v}-pgvector",
    "h3": "postgresql-{v}-h3",
    "hll": "postgresql-{v}-hll",
    "ip4r": "postgresql-{v}-ip4r",
    "orafce": "postgresql-{v}-orafce",
    "periods": "postgresql-{v}-periods",
    "pgtap": "postgresql-{v}-pgtap",
    "prefix": "postgresql-{v}-prefix",
    "q3c": "postgresql-{v}-q3c",
    "rum": "postgresql-{v}-rum",
    "semver": "postgresql-{v}-semver",
    "tdigest": "postgresql-{v}-tdigest",
    "unit": "postgresql-{v}-unit",
    "postgis": "postgresql-{v}-postgis-3",
    "postgis_raster": "postgresql-{v}-postgis-3",
    "postgis_topology": "postgresql-{v}-postgis-3",
    "postgis_tiger_geocoder": "postgresql-{v}-postgis-3",
    "postgis_sfcgal": "postgresql-{v}-postgis-3",
    "plperl": "postgresql-plperl-{v}",
    "pltcl": "postgresql-pltcl-{v}",
}
_CONTRIB = frozenset(
    {
        *(
            "bloom",
            "btree_gin",
            "btree_gist",
            "citext",
            "cube",
            "dict_int",
            "dict_xsyn",
            "earthdistance",
            "fuzzystrmatch",
        ),
        *(
            "hstore",
            "insert_username",
            "intagg",
            "intarray",
            "isn",
            "lo",
            "ltree",
            "moddatetime",
            "pg_trgm",
            "pgcrypto",
        ),
        *("refint", "seg", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp", "xml2"),
    }
)


@dataclass(frozen=True)
class Extension:
    """An extension that definitions want, and the schema they want it in; None: the server's choice."""

    name: str
    schema: str | None = None


@dataclass(frozen=True)
class ServerNeeds:
    """What a backup wants of a server: the major version it comes from, extensions in order, roles of policies."""

    version: int
    extensions: tuple[Extension, ...] = ()
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Installation:
    """A PostgreSQL on this machine: where its programs are, its major version, the extensions that it could make."""

    bindir: str
    version: int
    extensions: frozenset[str]

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} in {self.bindir}"


def needs_of(dump: Dump, server_version: str) -> ServerNeeds:
    """What `dump` wants, that comes from a server which called itself `server_version` (`15.20 (Debian …)`)."""
    major = server_version.split(".")[0].split(" ")[0]
    return ServerNeeds(int(major) if major.isdigit() else 0, tuple(_extensions(dump)), roles(dump))


def beside(dump: Dump) -> Iterator[str]:
    """What is to be said of extensions that a drill does without."""
    for entry in dump.entries:
        if entry.kind == "EXTENSION" and entry.tag in EXTENSIONS_BESIDE:
            yield f"extension {entry.tag} is not made: no table is made of it, and it reaches out of the database."


def fitting(installed: Sequence[Installation], needs: ServerNeeds) -> Installation:
    """The installation to drill on: with every extension, and of the source's version or the next after it.

    An older one comes last. Of equal ones the first is taken. TargetError, naming what is missing in each, when none
    has all extensions.
    """
    wanted = {extension.name for extension in needs.extensions}
    able = [server for server in installed if wanted <= server.extensions]
    if able:
        return min(able, key=lambda server: (server.version < needs.version, abs(server.version - needs.version)))
    missing = "; ".join(f"{server} lacks {', '.join(sorted(wanted - server.extensions))}" for server in installed)
    message = f"No PostgreSQL on this machine can drill this backup: {missing or 'there is none'}."
    nearest = min(installed, key=lambda server: len(wanted - server.extensions), default=None)
    lacking = sorted(wanted - nearest.extensions) if nearest else sorted(wanted)
    do = (
        f"Install a PostgreSQL with {', '.join(lacking)} here (Debian: {_packages(lacking, needs.version)}), or set "
        "BACKUP_DRILL_PG_BIN to the folder of its programs."
    )
    raise TargetError(message, do=do)


def _packages(names: Sequence[str], version: int) -> str:
    """Debian's packages (as postgresql.org's own archive names them too) that bring these extensions."""
    return " and ".join(sorted({_package(name, version) for name in names})) or f"postgresql-{version}"


def _package(name: str, version: int) -> str:
    """The package of one extension. A name from a dump is text, never a template."""
    if name in _CONTRIB:
        return f"postgresql-{version}"
    return _PACKAGES[name].format(v=version) if name in _PACKAGES else f"the package that has {name}"


def _extensions(dump: Dump) -> Iterator[Extension]:
    """The extensions that tables may be made of, in the dump's order: it has those before that others need."""
    for entry in dump.entries:
        if entry.kind == "EXTENSION" and entry.tag not in EXTENSIONS_BESIDE:
            yield Extension(entry.tag, _schema(entry))


def _schema(entry: DumpEntry) -> str | None:
    tokens = entry.tokens
    index = next((index for index, token in enumerate(tokens) if token.is_word("SCHEMA")), None)
    return (
        tokens[index + 1].text if index is not None and index + 1 < len(tokens) and tokens[index + 1].is_name else None
    )


def roles(dump: Dump) -> frozenset[str]:
    """The roles that policies and user mappings name: a dump does not make roles."""
    return roles_of(dump.entries)


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
    stand_ins = [stand_in for entry in manifest.tables if (stand_in := _stand_in(entry, before))]
    with_tables, dropped = _with_stand_ins(before, stand_ins)
    filled, fill, relaxed = _without_needs(manifest, with_tables, {table.entry.name for table in stand_ins})
    remarks = [
        DrillRemark(table.entry.name, f"{'.'.join(table.name)} is made from the manifest: {table.why}.")
        for table in stand_ins
    ]
    remarks += [DrillRemark("schema.sql", text) for text in (*keys.lost, *dropped, *_unmade(manifest, with_tables))]
    remarks += [DrillRemark(name.partition(".")[0], _filled(name, value)) for name, value in fill.items()]
    remarks += [DrillRemark(name, why) for name, why in relaxed.items()]
    redefined = {table.entry.name: "its table is made from the manifest" for table in stand_ins}
    redefined |= dict.fromkeys(relaxed, "its definition is relaxed in the scratch database")
    return filled, Amendment(fill, redefined, tuple(remarks))


def _unmade(manifest: Manifest, dump: Dump) -> Iterator[str]:
    """Tables that the definitions leave out and the backup has no rows of."""
    reasons = {excluded.table: excluded.reason for excluded in manifest.excluded}
    for name in sorted(dump.left_out):
        full = ".".join(name)
        why = reasons.get(full) or reasons.get(name[1]) or "the catalog does not list it"
        yield f"{full} is not made: the backup role could not read it, and the backup has no rows of it ({why})."


def _stand_in(entry: TableEntry, dump: Dump) -> _StandIn | None:
    """What to make for a table of the backup that the definitions do not make; None when they do."""
    source = source_of(entry)
    if source in dump.tables or _of_extension(entry, dump):
        return None
    definition = next((item for item in dump.entries if item.defines == source and item.kind in _COMPUTED), None)
    if definition is None:
        other = "it is a foreign table" if entry.relation_kind == "foreign table" else "schema.sql does not define it"
        return _StandIn(entry, source, {}, other)
    view = plain_view(definition.sql) if definition.kind == "VIEW" else None
    if view is not None and view.base in dump.tables:
        return None
    unread = "the backup role could not read it, so it is not in schema.sql"
    if view is not None and view.base in dump.left_out and _shows(entry, view):
        return _StandIn(entry, view.base, view.columns, unread)
    if view is None and not definition.mentions & dump.left_out:
        return None  # it is computed from what is restored
    return _StandIn(entry, source, {}, "it is a view of what the backup role could not read")


def _of_extension(entry: TableEntry, dump: Dump) -> bool:
    """Whether an extension that the definitions make brings the table."""
    return bool(entry.extension) and any(
        item.kind == "EXTENSION" and item.tag == entry.extension and item.tag not in EXTENSIONS_BESIDE
        for item in dump.entries
    )


def _shows(entry: TableEntry, view: PlainView) -> bool:
    return view.columns.keys() == {column.name for column in entry.columns} | entry.excluded_columns.keys()


def _with_stand_ins(dump: Dump, stand_ins: Sequence[_StandIn]) -> tuple[Dump, list[str]]:
    """The dump with a table and a key for each stand-in, without what does not fit them."""
    if not stand_ins:
        return dump, []
    names = {stand_in.name: stand_in for stand_in in stand_ins}
    kept, dropped = [], []
    for entry in dump.entries:
        if reason := _misfit(entry, names):
            dropped.append(f"{entry.kind.lower()} {entry.tag} is left out: {reason}.")
        elif entry.defines not in names:
            kept.append(entry)
    tables = [_table(stand_in, dump) for stand_in in stand_ins]
    keys = [_key(table) for table in stand_ins if table.key and not any(c.masked for c in table.entry.columns)]
    first = next((index for index, entry in enumerate(kept) if entry.kind in _RELATIONS | POST_DATA), len(kept))
    behind = next((index for index, entry in enumerate(kept) if entry.kind in POST_DATA), len(kept))
    entries = (*kept[:first], *tables, *kept[first:behind], *keys, *kept[behind:])
    return Dump(entries, dump.left_out - names.keys()), dropped


def _misfit(entry: DumpEntry, stand_ins: Mapping[Name, _StandIn]) -> str | None:
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


def _refers_to_key(entry: DumpEntry, parent: _StandIn) -> bool:
    index = next(index for index, token in enumerate(entry.tokens) if token.is_word("REFERENCES"))
    inside = [token.text for token in entry.tokens[index:]]
    columns = inside[inside.index("(") + 1 : inside.index(")")] if "(" in inside else []
    return [name for name in columns if name != ","] == list(parent.key)


def _table(table: _StandIn, dump: Dump) -> DumpEntry:
    named, entry = table.columns, table.entry
    columns = [f"    {_quoted(named.get(c.name, c.name))} {_type(c.pg_type, dump)}" for c in entry.columns]
    columns += [f"    {_quoted(named[name])} text" for name in entry.excluded_columns if name in named]
    body = ",\n".join(columns)
    return DumpEntry(table.name[1], "TABLE", table.name[0], f"CREATE TABLE {_full(table.name)} (\n{body}\n);")


def _key(table: _StandIn) -> DumpEntry:
    """Unique, not primary: nobody promised that the key is never NULL."""
    columns = ", ".join(_quoted(name) for name in table.key)
    name = _quoted(f"{table.name[1][:50]}_drill_key")
    sql = f"ALTER TABLE ONLY {_full(table.name)}\n    ADD CONSTRAINT {name} UNIQUE ({columns});"
    return DumpEntry(f"{table.name[1]} {table.name[1][:50]}_drill_key", "CONSTRAINT", table.name[0], sql)


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
            reason = f"{'.'.join(target)}.{column.name} is not in the backup and has to be something of its own: "
            relaxed[entry.name] = f"{relaxed.get(entry.name, '')}{reason}the scratch table takes NULL there. "
    return dump, fill, {name: text.strip() for name, text in relaxed.items()}


def _needed(entry: TableEntry, dump: Dump) -> tuple[Name, list[TargetColumn]]:
    """Where a table's rows go, and the columns there without which no row can be made and which the backup lacks."""
    placement = place(entry, RestoreRequest("", mode=Mode.NEW), TargetFacts("", "", ""), dump)
    backed_up = {placement.columns.get(column.name, column.name) for column in entry.columns if not column.masked}
    columns = columns_of(placement.target, dump) if not placement.obstacle else ()
    return placement.target, [column for column in columns if column.name not in backed_up and not column.makes_itself]


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
