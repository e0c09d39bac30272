"""The columns of a restore: which are loaded, converted, kept or filled, and which values go over in binary form.

Binary are those whose form is known here, into columns of that very type.

Source: PostgreSQL's manual, "COPY", and the `_send` and `_recv` functions of each type. Everything else goes as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from backup_pipeline.core.manifest import ColumnEntry, TableEntry
from backup_pipeline.core.restore import (
    LoadedColumn,
    Name,
    PlainColumn,
    PlainTable,
    RemarkSeverity,
    RestoreRemark,
    TableRestore,
    TargetColumn,
    TargetFacts,
    TargetRelation,
)
from backup_pipeline.core.restore.dump import Dump, qualified_at, significant

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What a binary COPY begins with: its signature, no flags, no extension."""
COPY_TRAILER = b"\xff\xff"
"""What it ends with."""
JSONB = "jsonb"
_LIMITS = re.compile(r"\([\d, ]+\)")
_TYPES = {
    "bool": {"boolean"},
    "int16": {"smallint"},
    "int32": {"integer"},
    "int64": {"bigint"},
    "float": {"real"},
    "double": {"double precision"},
    "binary": {"bytea"},
    "uuid": {"uuid"},
    "date32[day]": {"date"},
    "time64[us]": {"time without time zone"},
    "timestamp[us]": {"timestamp without time zone"},
    "timestamp[us, tz=UTC]": {"timestamp with time zone"},
    "string": {"text", "character varying", "character", "json", JSONB},
}


def goes_binary(arrow_type: str, pg_type: str) -> bool:
    """Whether values of `arrow_type` go in binary form into a column of `pg_type`, as PostgreSQL prints it."""
    name = _LIMITS.sub("", pg_type)
    if arrow_type.startswith("decimal128("):
        return name == "numeric"
    return name in _TYPES.get(arrow_type, set())


_INTEGERS = {"smallint": 5, "integer": 10, "bigint": 19}
_TEXTS = {"text", "character varying", "character", "citext"}
_TIMES = {"date", "timestamp without time zone", "timestamp with time zone"}
_CLOCKS = {"time without time zone", "time with time zone", "interval"}
_FLOATS = {"real", "double precision"}
_LIMIT = re.compile(r"\((?P<limit>[-\d, ]+)\)")


class Conversion(IntEnum):
    """What becomes of values: they stay as they are; they are converted or stop the restore; some would be altered."""

    SAME = 0
    CHECKED = 1
    ALTERING = 2


def conversion(before: str, now: str) -> Conversion:
    """How values of the type `before` go, as text, into a column of the type `now` (both as PostgreSQL prints them).

    CHECKED only where PostgreSQL refuses what does not fit: a value that it would round or cut is ALTERING.
    """
    if before == now:
        return Conversion.SAME
    if before.endswith("[]") or now.endswith("[]"):
        both = before.endswith("[]") and now.endswith("[]")
        inner = conversion(before.removesuffix("[]"), now.removesuffix("[]")) if both else Conversion.ALTERING
        return Conversion.CHECKED if _is_text(now) else inner
    return Conversion.CHECKED if _checked(before, now) else Conversion.ALTERING


def _checked(before: str, now: str) -> bool:
    old, old_limit = _parts(before)
    new, new_limit = _parts(now)
    if _is_text(now):
        return True
    if new in _INTEGERS or new in _FLOATS:
        return _into_binary_number(old, new)
    if new == "numeric":
        return _into_numeric(old, old_limit, new_limit)
    if new in _TIMES or new in _CLOCKS:
        return _into_time((old, old_limit), (new, new_limit))
    return _from_text(old, new)


def _into_binary_number(old: str, new: str) -> bool:
    """Whole numbers among themselves, and into floats wide enough to hold each of them."""
    if new in _INTEGERS:
        return old in _INTEGERS or old in _TEXTS
    return (old, new) in {("smallint", new), ("integer", "double precision"), ("real", "double precision")}


def _from_text(old: str, new: str) -> bool:
    """Types that refuse a text which is not theirs: uuid, an enum that was made anew, json and jsonb, inet."""
    if new == "name":  # cuts what is too long
        return False
    own = "." in old and "." in new
    return old in _TEXTS or own or {old, new} == {"json", "jsonb"} or (old, new) == ("cidr", "inet")


def _into_numeric(old: str, old_limit: tuple[int, ...], limit: tuple[int, ...]) -> bool:
    """Whole numbers and those of no finer scale: what is too large is refused, nothing is rounded."""
    scale = limit[1] if len(limit) > 1 else 0
    if old in _INTEGERS:
        return not limit or scale >= 0
    if old == "numeric":
        return not limit or (len(old_limit) > 1 and 0 <= old_limit[1] <= scale)
    return old in _TEXTS and not limit


def _into_time(old: tuple[str, tuple[int, ...]], new: tuple[str, tuple[int, ...]]) -> bool:
    """The same kind of time with no fewer digits; a date as the midnight it begins with, where there is no zone."""
    finer = not new[1] or (bool(old[1]) and old[1][0] <= new[1][0])
    return (old[0] == new[0] and finer) or (old[0], new[0]) == ("date", "timestamp without time zone")


def _parts(pg_type: str) -> tuple[str, tuple[int, ...]]:
    """The type's name without its limits, and the limits."""
    match = _LIMIT.search(pg_type)
    limits = tuple(int(part) for part in match["limit"].split(",")) if match else ()
    name = (pg_type[: match.start()] + pg_type[match.end() :]) if match else pg_type
    return name.rpartition(".")[2] if name.endswith(".citext") else name, limits


def _is_text(pg_type: str) -> bool:
    return _parts(pg_type)[0] in _TEXTS


_PLAIN_INTEGERS = {"smallint", "integer", "bigint"}


def plain_table(entry: TableEntry, target: Name, facts: TargetFacts) -> PlainTable:
    """The table `target` with the columns of `entry` that the backup has values of, and its key."""
    columns = plain_columns(entry, facts)
    names = {column.name for column in columns}
    return PlainTable(target, columns, entry.key if names.issuperset(entry.key) else ())


def plain_columns(entry: TableEntry, facts: TargetFacts) -> tuple[PlainColumn, ...]:
    """The columns; one of a type that the target has not is text. A serial is an identity of the new table's own."""
    fed = {sequence.column for sequence in entry.sequences}
    return tuple(
        PlainColumn(
            name=column.name,
            pg_type="text" if _lacks(column, facts) else column.pg_type,
            not_null=not column.nullable,
            identity=(column.identity or column.name in fed) and column.pg_type in _PLAIN_INTEGERS,
        )
        for column in entry.columns
        if not column.masked
    )


def plain_remarks(entry: TableEntry, target: Name, facts: TargetFacts) -> Iterator[RestoreRemark]:
    """What a plain table lacks."""
    what = f"{'.'.join(target)} is made with columns, NOT NULL, key and identity; without the rest of its definition."
    yield RestoreRemark(RemarkSeverity.INFO, what, entry.name)
    if texts := [f"{column.name} ({column.pg_type})" for column in entry.columns if _lacks(column, facts)]:
        what = f"Columns become text, because the target lacks their types: {', '.join(texts)}."
        yield RestoreRemark(RemarkSeverity.WARNING, what, entry.name)
    if masked := [column.name for column in entry.columns if column.masked]:
        what = f"Masked columns are left out: {', '.join(masked)}."
        yield RestoreRemark(RemarkSeverity.INFO, what, entry.name)


def _lacks(column: ColumnEntry, facts: TargetFacts) -> bool:
    """Whether the target lacks the column's type: one with a schema is not PostgreSQL's own."""
    name = qualified_at(significant(column.pg_type), 0)
    return name is not None and name not in facts.types


NUMBER, RANDOM = "{n}", "{random}"
"""Placeholders in a value: the number of the row, counted on from the rows that are there; 32 random hex digits."""


def differs(value: str) -> bool:
    """Whether each row gets a value of its own."""
    return NUMBER in value or RANDOM in value


def unique_in_dump(table: Name, dump: Dump | None) -> tuple[frozenset[str], ...]:
    """The sets of names of which an index or constraint of the definitions wants no two rows alike."""
    entries = dump.entries if dump else ()
    keys = []
    for entry in entries:
        unique = any(token.is_word("UNIQUE", "PRIMARY", "EXCLUDE") for token in entry.tokens)
        if entry.belongs_to == table and entry.kind in {"CONSTRAINT", "INDEX"} and unique:
            texts = [token.text for token in entry.tokens]
            start = texts.index("(") if "(" in texts else len(texts)
            keys.append(frozenset(token.text for token in entry.tokens[start:] if token.is_name))
    return tuple(keys)


def fill_remarks(table: TableRestore, there: TargetRelation | None, dump: Dump | None) -> Iterator[RestoreRemark]:
    """What there is to say when one value would be given to several rows of which no two may have it."""
    if not table.filled or table.rows_in_backup < 2:
        return
    uniques = [frozenset(names) for names in there.uniques] if there else list(unique_in_dump(table.target, dump))
    alike = {name for name, value in table.filled.items() if not differs(value)}
    loaded = {column.target for column in table.columns}
    for column in sorted(alike):
        if any(column in names and not names & (loaded | (table.filled.keys() - alike)) for names in uniques):
            yield _repeated(table, column, table.filled)


def _repeated(table: TableRestore, column: str, filled: Mapping[str, str]) -> RestoreRemark:
    what = f"{table.target_name}.{column} must be unique, and --fill gives {filled[column]!r} to every new row"
    do = f"Give each its own: --fill {table.name}.{column}='{RANDOM}' (32 random digits), or '…{NUMBER}' (numbered)."
    if table.rows_now:
        return RestoreRemark(
            RemarkSeverity.WARNING, f"{what}: of two, the restore stops and changes nothing.", table.name, do
        )
    return RestoreRemark(RemarkSeverity.REFUSAL, f"{what}.", table.name, do)


_COMPUTED = "the server computes it"


@dataclass(frozen=True)
class ColumnsPlan:
    """What `TableRestore` says of columns; `needed` are kept columns without which no new row can be made."""

    loaded: tuple[LoadedColumn, ...]
    kept: Mapping[str, str]
    ignored: Mapping[str, str]
    filled: Mapping[str, str]
    needed: tuple[str, ...]
    remarks: tuple[RestoreRemark, ...] = field(default=())


def plan_columns(
    entry: TableEntry, target: tuple[TargetColumn, ...], names: Mapping[str, str], fill: Mapping[str, str]
) -> ColumnsPlan:
    """Decide about each column. `names` maps the backup's to the target's where they differ; `fill` is by target."""
    there = {column.name: column for column in target}
    loaded, ignored = _loaded(entry, there, names)
    taken = {column.target for column in loaded}
    left = [column for column in target if column.name not in taken and not column.generated]
    filled = {column.name: fill[column.name] for column in left if column.name in fill}
    return ColumnsPlan(
        loaded=tuple(loaded),
        kept={column.name: _fate(column, entry, filled) for column in left},
        ignored=ignored,
        filled=filled,
        needed=tuple(column.name for column in left if not column.makes_itself and column.name not in filled),
        remarks=tuple(_remarks(entry, loaded, there, ignored)),
    )


def _loaded(
    entry: TableEntry, there: Mapping[str, TargetColumn], names: Mapping[str, str]
) -> tuple[list[LoadedColumn], dict[str, str]]:
    """The backup's columns that go into the target, and why each of the others does not."""
    loaded: list[LoadedColumn] = []
    ignored: dict[str, str] = {}
    for column in entry.columns:
        own = there.get(names.get(column.name, column.name))
        reason = _reason_to_ignore(column, own)
        if own is not None and reason is None:
            binary = goes_binary(column.arrow_type, own.pg_type)
            loaded.append(LoadedColumn(column.name, own.name, own.pg_type, binary))
        else:
            ignored[column.name] = reason or ""
    return loaded, ignored


def _reason_to_ignore(column: ColumnEntry, target: TargetColumn | None) -> str | None:
    if column.masked:
        return "masked in the backup: its values are not there"
    if target is None:
        return "the target has no such column: its values are not restored"
    return _COMPUTED if target.generated else None


def _fate(column: TargetColumn, entry: TableEntry, filled: Mapping[str, str]) -> str:
    """What becomes of a column that the backup has no values for."""
    why = _absence(column.name, entry)
    new = f"new rows get {filled[column.name]!r}" if column.name in filled else _new_row(column)
    return f"{why}; rows that are there keep their value, {new}"


def _absence(name: str, entry: TableEntry) -> str:
    if name in entry.excluded_columns:
        return f"excluded from the backup ({entry.excluded_columns[name]})"
    if any(column.name == name and column.masked for column in entry.columns):
        return "masked in the backup"
    return "not in the backup"


def _new_row(column: TargetColumn) -> str:
    if column.has_default or column.identity:
        return "new rows get its default"
    return "new rows get NULL" if column.nullable else "new rows can not be made without a value"


def _remarks(
    entry: TableEntry, loaded: list[LoadedColumn], there: Mapping[str, TargetColumn], ignored: Mapping[str, str]
) -> Iterator[RestoreRemark]:
    types = {column.name: column.pg_type for column in entry.columns}
    gone = [name for name, reason in ignored.items() if reason and reason is not _COMPUTED and name not in there]
    gone = [name for name in gone if not any(column.name == name and column.masked for column in entry.columns)]
    if gone:
        what = f"The target has no column {', '.join(gone)}: the backup's values of it are not restored."
        do = "Restore it under another name with --rename to have every column."
        yield RestoreRemark(RemarkSeverity.WARNING, what, entry.name, do)
    for column in loaded:
        yield from _converted(entry.name, column, types[column.name])
    if not loaded:
        what = "No column of the backup has a place in the target."
        yield RestoreRemark(
            RemarkSeverity.REFUSAL, what, entry.name, "Check that the target is what you mean, or use --rename."
        )


def _converted(table: str, column: LoadedColumn, before: str) -> Iterator[RestoreRemark]:
    how = conversion(before, column.pg_type)
    change = f"Column {column.target} was {before} and is {column.pg_type} now"
    if how is Conversion.CHECKED:
        what = f"{change}: values go over as text; one that does not fit stops the restore."
        yield RestoreRemark(RemarkSeverity.WARNING, what, table)
    if how is Conversion.ALTERING:
        do = "Restore the table under another name with --rename, and convert the column with SQL."
        yield RestoreRemark(RemarkSeverity.REFUSAL, f"{change}: values could be altered.", table, do)
