"""Level 2: every file is there and can be decoded in full, and the sheets show the rows of the Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from backup_pipeline.core.agreement import inner_disagreement
from backup_pipeline.core.bundle import MANIFEST_PATH, README_PATH, SCHEMA_PATH
from backup_pipeline.core.comparable import pointings, shown_columns
from backup_pipeline.core.decoding import Shown
from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.limits import MOST_DOCUMENT, MOST_SCHEMA, whole
from backup_pipeline.core.manifest import StoredManifest, TableEntry, read_inner_manifest
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.core.restore_entries import dump_problem
from backup_pipeline.core.verification import Finding, Level, LevelReport, Remark
from backup_pipeline.operations.verify.asked import Subject, VerifyPorts
from backup_pipeline.operations.verify.members import member_problem
from backup_pipeline.operations.verify.parquet_files import ParquetFiles
from backup_pipeline.operations.verify.sheets import SheetCheck

_Told = Iterator[Finding | Remark]


class Contents:
    """The contents of the bundle of `at`, with the Parquet files in `folder` for as long as they are needed."""

    def __init__(self, at: Subject, bundle: OpenBundle, folder: Path, ports: VerifyPorts) -> None:
        self._at, self._bundle = at, bundle
        self.decoder = ports.decoder(folder)
        self.parquet = ParquetFiles(at, bundle, folder)
        self._names = Counter(bundle.names())
        self._looked: list[str] = []
        self._left: list[str] = [name for table in at.left_out() for name in self._members(table)]
        self._why = at.sample

    def report(self, *, keep: bool) -> LevelReport:
        """Look at everything. With `keep` the Parquet files stay that references lead from and to."""
        told = [*self._archive(), *self._single_members()]
        columns = {table.name: shown_columns(self._at.manifest, table) for table in self._at.tables}
        kept = self._for_references() if keep else set()
        for number, table in enumerate(self._at.tables):
            if self._at.deadline.over():
                self._stop(self._at.tables[number:])
                break
            told += self._table(table, columns[table.name])
            later = {name for t in self._at.tables[number + 1 :] for name in _needed(t, columns[t.name])}
            self.parquet.keep_only(later | kept)
        findings = tuple(one for one in told if isinstance(one, Finding))
        remarks = tuple(one for one in told if isinstance(one, Remark))
        left = tuple(self._at.member(name) for name in self._left)
        looked = tuple(self._at.member(name) for name in dict.fromkeys(self._looked))
        return LevelReport(Level.CONTENTS, looked, left, self._why, findings, remarks)

    def _archive(self) -> _Told:
        """Nothing is missing, extra, or there twice."""
        wanted = {*self._at.manifest.entries, MANIFEST_PATH, README_PATH}
        yield from (self._finding(name, "is missing.") for name in sorted(wanted - self._names.keys()))
        for name, count in self._names.items():
            if name not in wanted:
                yield self._finding(name, "is not in the manifest.")
            if count > 1:
                yield self._finding(name, f"stands {count} times.")

    def _single_members(self) -> _Told:
        """The members that belong to no table: manifest, README, schema."""
        of_tables = {name for table in self._at.manifest.tables for name in self._members(table)}
        entries = {**self._at.manifest.entries, MANIFEST_PATH: None, README_PATH: None}
        for name in (name for name in entries if name not in of_tables and name in self._names):
            self._looked.append(name)
            problem = member_problem(self._bundle, name, entries[name], MOST_DOCUMENT)
            if name == MANIFEST_PATH and not problem:
                problem = _inner_problem(whole(self._bundle.stream(name), MOST_DOCUMENT, name), self._at.manifest)
            if name == SCHEMA_PATH and not problem:
                problem = _schema_problem(whole(self._bundle.stream(name), MOST_SCHEMA, name))
            if problem:
                yield self._finding(name, problem)

    def _table(self, table: TableEntry, columns: tuple[Shown, ...]) -> _Told:
        found = [*self._parquet(table)]
        yield from found
        if found:
            self.parquet.distrust(table.name)
        sheet = SheetCheck(self._at, self._bundle, self.parquet, self.decoder)
        yield from sheet.told(table, columns, self._names.keys())
        self._looked += [name for name in self._members(table) if name in self._names]

    def _parquet(self, table: TableEntry) -> _Told:
        rows = 0
        for fetched in self.parquet.fetch(table.name):
            rows += fetched.file.rows
            if fetched.problem and fetched.name in self._names:
                yield self._finding(fetched.name, fetched.problem)
            if fetched.problem:
                continue
            for problem in self.decoder.parquet_problems(fetched.path, fetched.file, table):
                yield self._finding(fetched.name, problem)
        if rows != table.row_count:
            message = f"has files of {rows:,} rows; the manifest says that table {table.name} has {table.row_count:,}."
            yield self._finding(f"parquet/{table.name}", message)

    def _for_references(self) -> set[str]:
        followed = pointings(self._at.manifest, [table.name for table in self._at.tables])
        return {name for one in followed if one.why_not is None for name in (one.table, one.target)}

    def _members(self, table: TableEntry) -> list[str]:
        return [name for kind in ("parquet", "csv") for _, name in self._at.files(table, kind) if name]

    def _stop(self, tables: tuple[TableEntry, ...]) -> None:
        self._left += [name for table in tables for name in self._members(table)]
        self._why = ", ".join(why for why in (self._why, str(self._at.deadline)) if why)

    def _finding(self, name: str, message: str) -> Finding:
        return Finding(Level.CONTENTS, self._at.member(name), message)


def _needed(table: TableEntry, columns: tuple[Shown, ...]) -> set[str]:
    """The tables whose Parquet files the sheet of `table` is made of."""
    return {table.name, *(hop.table for column in columns for hop in column.hops)}


def _schema_problem(data: bytes) -> str | None:
    try:
        problem = dump_problem(data.decode())
    except UnicodeDecodeError as error:
        problem = str(error)
    return f"can not be used by a restore: {problem}." if problem else None


def _inner_problem(data: bytes, manifest: StoredManifest) -> str | None:
    try:
        inner = read_inner_manifest(data, MANIFEST_PATH)
    except (NotFoundError, VerificationError) as error:
        return error.what
    return inner_disagreement(inner, manifest)
