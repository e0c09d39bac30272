"""The catalog of a drill's export: what the backup says it holds, read again from the scratch database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from backup_pipeline.core.catalog import Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.comparable import shown_columns
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.relation_names import write_relation
from backup_pipeline.core.restore_selection import source_of
from backup_pipeline.core.secrets import looks_secret
from backup_pipeline.core.sheet_source import quote_name

_HELD = "the backup holds it"


def drill_catalog(manifest: Manifest, catalog: Catalog | None) -> Catalog:
    """The catalog that reads the tables of `manifest` as they were read, whatever became of `catalog` since.

    Sheets show what can be compared: where look-ups lead out of the backup, or through what it masks, there is nothing
    to look up. How a look-up goes only `catalog` says; without it there are none.
    """
    return Catalog(
        catalog=manifest.catalog,
        title=f"{manifest.catalog}, restored in a drill",
        timezone=manifest.timezone,
        schedule=None,
        shrinkage=Shrinkage(ratio=0),
        tables={entry.name: _spec(manifest, entry, catalog) for entry in manifest.tables},
        excluded=(Excluded(table="*", reason="not in the backup"),),
    )


def comparable_titles(manifest: Manifest, entry: TableEntry) -> tuple[str, ...]:
    """The sheet columns whose values the scratch database can give again."""
    masked = {column.name for column in entry.columns if column.masked}
    return tuple(
        shown.title
        for shown in shown_columns(manifest, entry)
        if shown.why_not is None and (shown.hops or shown.column not in masked)
    )


def _spec(manifest: Manifest, entry: TableEntry, catalog: Catalog | None) -> TableSpec:
    said = catalog.tables.get(entry.name) if catalog else None
    masked = tuple(column.name for column in entry.columns if column.masked)
    there = {column.name for column in entry.columns}
    open_secrets = [name for name in there if looks_secret(name) and name not in masked]
    return TableSpec(
        relation=write_relation(*source_of(entry)),
        kind=_kind(entry),
        key=entry.key if there.issuperset(entry.key) else (),
        sheet=entry.sheet,
        columns=dict(_columns(manifest, entry, said)),
        references={column: to for column, to in said.references.items() if column in there} if said else {},
        exclude=dict(entry.excluded_columns),
        mask=masked,
        allow=dict.fromkeys(open_secrets, _HELD),
    )


def _kind(entry: TableEntry) -> Literal["view", "materialized view", "foreign table"] | None:
    """What it may be besides a table; format 1.0 does not say what a relation was."""
    kinds: Mapping[str | None, Literal["view", "materialized view", "foreign table"]] = {
        "view": "view", "materialized view": "materialized view", "foreign table": "foreign table", None: "view",
    }  # fmt: skip
    return kinds.get(entry.relation_kind)


def _columns(manifest: Manifest, entry: TableEntry, said: TableSpec | None) -> Iterator[tuple[str, str]]:
    """The sheet's columns, in their order; none when the sheet shows the columns of the table, all of them."""
    written: Mapping[str, str] = said.columns if said else {}
    titles = comparable_titles(manifest, entry)
    if not written and titles == tuple(column.name for column in entry.columns):
        return
    own = {shown.title: shown.column for shown in shown_columns(manifest, entry) if not shown.hops}
    for title in titles:
        if title in written:
            yield title, written[title]
        elif title in own:
            yield title, quote_name(own[title])
