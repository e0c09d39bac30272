"""What must be the same of a table that was restored and exported again, and what it means when it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from backup_pipeline.core.drill import Finding, How, Remark
from backup_pipeline.core.manifest import FileEntry, SheetColumnEntry, TableEntry

PARQUET, CSV = "parquet", "csv"
_TEXTS = ("text", "character", "name", "bpchar", "citext")
_KIND = {PARQUET: "Parquet", CSV: "CSV"}


@dataclass(frozen=True)
class Pair:
    """A table of the backup, and the same table exported again from the scratch database.

    `titles` are the sheet columns that can be compared. `made` says why its definition is another than the source's,
    empty when it is the same. `restored` is false for a view that was computed anew. `other_program` says that files
    were written by another version of this program, which may write other bytes for the same rows.
    """

    before: TableEntry
    again: TableEntry
    titles: tuple[str, ...]
    made: str = ""
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
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()


def same_bytes(pair: Pair, kind: str) -> bool:
    """Whether the files of a format are the very same, by their SHA-256."""
    return _sums(pair.before, kind) == _sums(pair.again, kind)


def judged(pair: Pair, parquet: How, sheet: How) -> Compared:
    """What a comparison comes to, when files were found to be the same in these ways, or not.

    A view that was computed anew is never a finding: what it shows, the tables behind it are compared for.
    """
    shape = tuple(_shape(pair))
    told = (*shape, *_of_files(pair, PARQUET, parquet), *_of_files(pair, CSV, sheet))
    remarks = (*(one for one in told if isinstance(one, Remark)), *_left_out(pair))
    findings = tuple(one for one in told if isinstance(one, Finding))
    if pair.restored:
        return Compared(parquet, sheet, findings, remarks)
    computed = tuple(Remark(one.about, f"{one.message} It is a view: its rows are computed anew.") for one in findings)
    return Compared(parquet, sheet, (), (*computed, *remarks))


def why_other_bytes(pair: Pair, kind: str) -> str | None:
    """Why the same rows may lie in other bytes; None when nothing explains it."""
    masked = [column.name for column in pair.before.columns if column.masked]
    if masked:
        return f"{', '.join(masked)} {'is' if len(masked) == 1 else 'are'} masked in the backup"
    if kind == CSV and pair.shown != pair.before.sheet_columns:
        return "not every column of the sheet can be made again"
    if pair.made:
        return pair.made
    if (order := next((e.order for e in (pair.before, pair.again) if e.order != "key"), None)) is not None:
        return {"ctid": "its rows are read by their place on disk"}.get(order, "its rows are read in one pass")
    types = {column.name: column.pg_type for column in pair.before.columns}
    if texts := [name for name in pair.before.key if types.get(name, "").startswith(_TEXTS)]:
        return f"{', '.join(texts)} sorts by the rules of each database"
    return pair.other_program or None


def _shape(pair: Pair) -> Iterator[Finding]:
    """Rows and columns: what is not even as many, or of another kind."""
    name, rows, back = pair.before.name, pair.before.row_count, pair.again.row_count
    if rows != back:
        yield Finding(name, f"{rows:,} rows are in the backup, {back:,} came back.", _next_step(name))
    again = {column.name: column for column in pair.again.columns}
    for column in pair.before.columns:
        found = again.get(column.name)
        if found is None:
            yield Finding(name, f"column {column.name} did not come back.", _next_step(name))
        elif found.arrow_type != column.arrow_type and not column.masked:
            what = f"column {column.name} was {column.arrow_type} and came back as {found.arrow_type}."
            yield Finding(name, what, _next_step(name))


def _of_files(pair: Pair, kind: str, how: How) -> tuple[Finding | Remark, ...]:
    """What there is to say of the files of a format. Where rows are missing, that was said."""
    name, reason = pair.before.name, why_other_bytes(pair, kind)
    if how is How.DIFFERENT and pair.before.row_count == pair.again.row_count:
        what = f"the rows of its {_KIND[kind]} files are not those of the backup."
        return (Finding(name, what, _next_step(name)),)
    if how is How.FINGERPRINT and reason is None:
        what = f"its {_KIND[kind]} files hold the same rows in other bytes, though they are read by key."
        return (Finding(name, what, "Report this: equal rows in order must give equal files."),)
    if how is How.FINGERPRINT:
        return (Remark(name, f"its {_KIND[kind]} files were compared in any order: {reason}."),)
    return ()


def _left_out(pair: Pair) -> Iterator[Remark]:
    name = pair.before.name
    if masked := [column.name for column in pair.before.columns if column.masked]:
        yield Remark(name, f"not compared, because the backup does not have their values: {', '.join(masked)}.")
    if excluded := [*pair.before.excluded_columns]:
        yield Remark(name, f"not compared, because they are kept out of the backup: {', '.join(excluded)}.")
    if lacking := [title for title in pair.before.sheet_columns if title not in pair.shown]:
        yield Remark(name, f"columns of the sheet that could not be made again: {', '.join(lacking)}.")


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
