"""Foreign keys that rows of the source itself break: the backup says which, a restore makes them NOT VALID."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backup_pipeline.core.comparable import pointings
from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.restore_entries import Dump, Entry
from backup_pipeline.core.restore_selection import source_of
from backup_pipeline.core.restoring import BrokenKey, Name, Remark, Severity, TableRestore

_NOT_VALID = " NOT VALID"


@dataclass(frozen=True)
class _Amended:
    """The definitions in which broken keys are NOT VALID; `lost` can not be so: of partitioned tables."""

    dump: Dump
    lost: tuple[str, ...] = ()


def broken_warnings(broken: Mapping[str, int]) -> Iterator[str]:
    """What a backup says of keys that its source breaks."""
    for reference, rows in broken.items():
        yield (
            f"The source itself breaks a foreign key: {rows:,} rows of {reference} refer to no row. The backup has "
            "them as they are; a restore makes the key NOT VALID."
        )


def broken_keys(manifest: Manifest, tables: Sequence[TableRestore]) -> tuple[BrokenKey, ...]:
    """Those between `tables` that rows of the backup break, in the names of the target."""
    names = {table.name: table.target for table in tables}
    found = (one for one in pointings(manifest, list(names)) if str(one) in manifest.broken and one.target in names)
    return tuple(
        BrokenKey(names[one.table], one.columns, names[one.target], manifest.broken[str(one)]) for one in found
    )


def with_broken_keys(dump: Dump, manifest: Manifest) -> _Amended:
    """The definitions with every broken key as NOT VALID; doing it twice does no more."""
    if not manifest.broken:
        return _Amended(dump)
    sources = {entry.name: source_of(entry) for entry in manifest.tables}
    found = [one for one in pointings(manifest, list(sources)) if str(one) in manifest.broken]
    broken = {(sources[one.table], one.columns, sources[one.target]) for one in found if one.target in sources}
    partitioned = set(dump.parts.values())
    entries, lost = [], []
    for entry in dump.entries:
        if not _is_broken(entry, broken, dump):
            entries.append(entry)
        elif entry.belongs_to in partitioned:
            lost.append(
                f"fk constraint {entry.tag}: rows of the source break it, and in a partitioned table none is NOT VALID"
            )
        else:
            entries.append(replace(entry, sql=_not_valid(entry.sql)))
    return _Amended(Dump(tuple(entries), dump.left_out), tuple(lost))


def broken_remarks(broken: Sequence[BrokenKey]) -> Iterator[Remark]:
    """What a plan and a report say of them."""
    for key in broken:
        child, parent = ".".join(key.child), ".".join(key.parent)
        what = (
            f"The foreign key of {child} ({', '.join(key.columns)}) to {parent} is NOT VALID afterwards, or left out "
            f"of a partitioned table: {key.rows:,} rows of the backup break it, as they did in the source."
        )
        do = f"Settle those rows, then: ALTER TABLE {child} VALIDATE CONSTRAINT …"
        yield Remark(Severity.WARNING, what, do=do)


def _is_broken(entry: Entry, broken: set[tuple[Name, tuple[str, ...], Name]], dump: Dump) -> bool:
    if entry.kind != "FK CONSTRAINT" or entry.belongs_to is None or entry.parent is None:
        return False
    family = {entry.belongs_to, *_wholes(entry.belongs_to, dump)}
    return any((child, _columns(entry), entry.parent) in broken for child in family)


def _wholes(part: Name, dump: Dump) -> Iterator[Name]:
    """The partitioned tables that a table is a part of."""
    while part in dump.parts:
        part = dump.parts[part]
        yield part


def _columns(entry: Entry) -> tuple[str, ...]:
    """The columns of the key: what stands in the first parentheses behind FOREIGN KEY."""
    found = entry.tokens
    at = next((at for at, token in enumerate(found) if token.is_word("FOREIGN")), len(found))
    texts = [token.text for token in found[at + 2 :]]
    inside = texts[1 : texts.index(")")] if ")" in texts else []
    return tuple(text for text in inside if text != ",")


def _not_valid(sql: str) -> str:
    """The statement with NOT VALID at its end."""
    bare = sql.rstrip().removesuffix(";").rstrip()
    return sql if bare.upper().endswith("NOT VALID") else f"{bare}{_NOT_VALID};"
