"""The catalog of a drill's export: what the backup says it holds, read again from the scratch database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from backup_pipeline.core.catalog.model import Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.catalog.rules import quote_name
from backup_pipeline.core.comparison import shown_columns
from backup_pipeline.core.drill import DrillFinding, DrillRemark, How
from backup_pipeline.core.manifest import FileEntry, Manifest, SheetColumnEntry, TableEntry
from backup_pipeline.core.relations import write_relation
from backup_pipeline.core.restore.tables import source_of
from backup_pipeline.core.text import looks_secret

_HELD = "the backup holds it"


def drill_catalog(manifest: Manifest, catalog: Catalog | None) -> Catalog:
    """The catalog that reads the tables of `manifest` as they were read, whatever became of `catalog` since.

    Sheets show what can be compared: where look-ups lead out of the backup, or through what it masks, there is nothing
    to look up. How a look-up goes only `catalog` says; without it there are none.
    """
    return Catalog(
        catalog=manifest.scope.catalog,
        title=f"{manifest.scope}, restored in a drill",
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
    spec = catalog.tables.get(entry.name) if catalog else None
    masked = tuple(column.name for column in entry.columns if column.masked)
    there = {column.name for column in entry.columns}
    open_secrets = [name for name in there if looks_secret(name) and name not in masked]
    return TableSpec(
        relation=write_relation(*source_of(entry)),
        kind=_kind(entry),
        key=entry.key if there.issuperset(entry.key) else (),
        sheet=entry.sheet,
        columns=dict(_columns(manifest, entry, spec)),
        references={column: to for column, to in spec.references.items() if column in there} if spec else {},
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


def _columns(manifest: Manifest, entry: TableEntry, spec: TableSpec | None) -> Iterator[tuple[str, str]]:
    """The sheet's columns, in their order; none when the sheet shows the columns of the table, all of them."""
    written: Mapping[str, str] = spec.columns if spec else {}
    titles = comparable_titles(manifest, entry)
    if not written and titles == tuple(column.name for column in entry.columns):
        return
    own = {shown.title: shown.column for shown in shown_columns(manifest, entry) if not shown.hops}
    for title in titles:
        if title in written:
            yield title, written[title]
        elif title in own:
            yield title, quote_name(own[title])


PARQUET, CSV = "parquet", "csv"
_TEXTS = ("text", "character", "name", "bpchar", "citext")
_KIND = {PARQUET: "Parquet", CSV: "CSV"}


@dataclass(frozen=True)
class Pair:
    """A table of the backup, and the same table exported again from the scratch database.

    `titles` are the sheet columns that can be compared. `redefined` says why its definition is not the source's, empty
    when it is. `restored` is false for a view that was computed anew. `other_program` says that files
    were written by another version of this program, which may write other bytes for the same rows.
    """

    before: TableEntry
    again: TableEntry
    titles: tuple[str, ...]
    redefined: str = ""
    restored: bool = True
    other_program: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values the backup holds."""
        there = {column.name for column in self.again.columns}
        return tuple(column.name for column in self.before.columns if not column.masked and column.name in there)

    @property
    def shown(self) -> tuple[str, ...]:
        """The sheet columns that are shown by both in the same way."""
        before, again = (_sources(entry) for entry in (self.before, self.again))
        return tuple(title for title in self.titles if title in again and before[title] in {None, again[title]})


@dataclass(frozen=True)
class Compared:
    """How the files of a pair were the same, and what there is to say."""

    parquet: How
    sheet: How
    findings: tuple[DrillFinding, ...] = ()
    remarks: tuple[DrillRemark, ...] = ()


def same_bytes(pair: Pair, kind: str) -> bool:
    """Whether the files of a format are the very same, by their SHA-256."""
    return _sums(pair.before, kind) == _sums(pair.again, kind)


def judged(pair: Pair, parquet: How, sheet: How) -> Compared:
    """What a comparison comes to, when files were found to be the same in these ways, or not.

    A view that was computed anew is never a finding: what it shows, the tables behind it are compared for.
    """
    shape = tuple(_shape(pair))
    notes = (*shape, *_of_files(pair, PARQUET, parquet), *_of_files(pair, CSV, sheet))
    remarks = (*(note for note in notes if isinstance(note, DrillRemark)), *_left_out(pair))
    findings = tuple(note for note in notes if isinstance(note, DrillFinding))
    if pair.restored:
        return Compared(parquet, sheet, findings, remarks)
    computed = tuple(
        DrillRemark(note.about, f"{note.message} It is a view: its rows are computed anew.") for note in findings
    )
    return Compared(parquet, sheet, (), (*computed, *remarks))


def why_other_bytes(pair: Pair, kind: str) -> str | None:
    """Why the same rows may lie in other bytes; None when nothing explains it."""
    masked = [column.name for column in pair.before.columns if column.masked]
    if masked:
        return f"{', '.join(masked)} {'is' if len(masked) == 1 else 'are'} masked in the backup"
    if kind == CSV and pair.shown != pair.before.sheet_columns:
        return "not every column of the sheet can be made again"
    if pair.redefined:
        return pair.redefined
    if (order := next((e.order for e in (pair.before, pair.again) if e.order != "key"), None)) is not None:
        return {"ctid": "its rows are read by their place on disk"}.get(order, "its rows are read in one pass")
    types = {column.name: column.pg_type for column in pair.before.columns}
    if texts := [name for name in pair.before.key if types.get(name, "").startswith(_TEXTS)]:
        return f"{', '.join(texts)} sorts by the rules of each database"
    return pair.other_program or None


def _shape(pair: Pair) -> Iterator[DrillFinding]:
    """Rows and columns: what is not even as many, or of another kind."""
    name, rows, back = pair.before.name, pair.before.row_count, pair.again.row_count
    if rows != back:
        yield DrillFinding(name, f"{rows:,} rows are in the backup, {back:,} came back.", _next_step(name))
    again = {column.name: column for column in pair.again.columns}
    for column in pair.before.columns:
        match = again.get(column.name)
        if match is None:
            yield DrillFinding(name, f"column {column.name} did not come back.", _next_step(name))
        elif match.arrow_type != column.arrow_type and not column.masked:
            what = f"column {column.name} was {column.arrow_type} and came back as {match.arrow_type}."
            yield DrillFinding(name, what, _next_step(name))


def _of_files(pair: Pair, kind: str, how: How) -> tuple[DrillFinding | DrillRemark, ...]:
    """What there is to say of the files of a format. Where rows are missing, that was said."""
    name, reason = pair.before.name, why_other_bytes(pair, kind)
    if how is How.DIFFERENT and pair.before.row_count == pair.again.row_count:
        what = f"the rows of its {_KIND[kind]} files are not those of the backup."
        return (DrillFinding(name, what, _next_step(name)),)
    if how is How.FINGERPRINT and reason is None:
        what = f"its {_KIND[kind]} files hold the same rows in other bytes, though they are read by key."
        return (DrillFinding(name, what, "Report this: equal rows in order must give equal files."),)
    if how is How.FINGERPRINT:
        return (DrillRemark(name, f"its {_KIND[kind]} files were compared in any order: {reason}."),)
    return ()


def _left_out(pair: Pair) -> Iterator[DrillRemark]:
    name = pair.before.name
    if masked := [column.name for column in pair.before.columns if column.masked]:
        yield DrillRemark(name, f"not compared, because the backup does not have their values: {', '.join(masked)}.")
    if excluded := [*pair.before.excluded_columns]:
        yield DrillRemark(name, f"not compared, because they are kept out of the backup: {', '.join(excluded)}.")
    if lacking := [title for title in pair.before.sheet_columns if title not in pair.shown]:
        yield DrillRemark(name, f"columns of the sheet that could not be made again: {', '.join(lacking)}.")


def _sources(entry: TableEntry) -> Mapping[str, SheetColumnEntry | None]:
    """What each column of the sheet shows; None in format 1.0, which does not say."""
    if not entry.sheet_sources:
        return dict.fromkeys(entry.sheet_columns)
    return {source.title: source for source in entry.sheet_sources}


def _sums(entry: TableEntry, kind: str) -> list[tuple[int, int, str]]:
    return [(file.rows, file.bytes, file.sha256) for file in files_of(entry, kind)]


def files_of(entry: TableEntry, kind: str) -> list[FileEntry]:
    """The files of one format."""
    return [file for file in entry.files if file.format == kind]


def with_other_program(pair: Pair, before: tuple[str, str], now: tuple[str, str]) -> Pair:
    """The pair, with a word about the program when `before`, its version and format, is not the one of `now`."""
    if before == now:
        return pair
    return replace(pair, other_program=f"the files were written by version {before[0]}, in format {before[1]}")


def _next_step(table: str) -> str:
    return (
        f"Look at table {table} first: `backup-pipeline restore ID -T {table} --target-url …` into an empty database. "
        "Make a new backup, drill that one, and keep this one until it is understood."
    )
