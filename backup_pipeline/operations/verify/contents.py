"""Level 2: every file is there and can be decoded in full, and the sheets show the rows of the Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.core.comparison import (
    Decoder,
    NotComparableError,
    Orphans,
    Pointing,
    SheetComparison,
    SheetTask,
    Shown,
    pointings,
    shown_columns,
)
from backup_pipeline.core.errors import NO_ROOM, BackupError, DiskFullError, NotFoundError, VerificationError
from backup_pipeline.core.layout import MANIFEST_PATH, README_PATH, SCHEMA_PATH
from backup_pipeline.core.manifest import FileEntry, StoredManifest, TableEntry, read_inner_manifest
from backup_pipeline.core.manifest.outline import inner_disagreement
from backup_pipeline.core.names import MOST_DOCUMENT, MOST_SCHEMA, whole
from backup_pipeline.core.ports import OpenBundle, Ports, StageStarted
from backup_pipeline.core.restore.dump import dump_problem
from backup_pipeline.core.verification import Finding, Level, LevelReport, Remark
from backup_pipeline.operations.anomalies import CHEAP_ROWS
from backup_pipeline.operations.verify.bytes import Hashed, VerifySubject, member_problem


@dataclass(frozen=True)
class Fetched:
    """One Parquet file of a table: its entry, its path in the bundle, where it is here, what was wrong on the way."""

    file: FileEntry
    name: str
    path: Path
    problem: str | None


class ParquetFiles:
    """The Parquet files of `at` under `folder`. For one thread."""

    def __init__(self, subject: VerifySubject, bundle: OpenBundle, folder: Path) -> None:
        self._subject, self._bundle, self._folder = subject, bundle, folder
        self._entries = {entry.name: entry for entry in subject.manifest.tables}
        self._here: dict[str, tuple[Fetched, ...]] = {}
        self._bad: set[str] = set()

    def fetch(self, table: str) -> tuple[Fetched, ...]:
        """The table's files."""
        if table not in self._here:
            files = self._subject.files(self._entries[table], "parquet")
            self._here[table] = tuple(self._fetch(table, number, *file) for number, file in enumerate(files))
            if any(fetched.problem for fetched in self._here[table]):
                self.distrust(table)
        return self._here[table]

    def distrust(self, table: str) -> None:
        """Something is wrong with the table: nothing is to be compared with it."""
        self._bad.add(table)

    def damaged(self, tables: Iterable[str]) -> str | None:
        """The first of these tables that something is wrong with, as far as is known; they are fetched."""
        for table in tables:
            self.fetch(table)
        return next((table for table in tables if table in self._bad), None)

    def paths(self, table: str) -> Sequence[Path]:
        """Where the table's files are."""
        return [fetched.path for fetched in self.fetch(table)]

    def drop(self, tables: Iterable[str]) -> None:
        """Remove the files of these tables; they are fetched again if they are asked for."""
        for table in tables:
            for fetched in self._here.pop(table, ()):
                fetched.path.unlink(missing_ok=True)

    def _fetch(self, table: str, number: int, file: FileEntry, name: str) -> Fetched:
        path = self._folder / f"{table}-{number:05d}.parquet"
        if not name:
            return Fetched(file, file.name, path, "is not among the manifest's entries.")
        content = Hashed(self._bundle, name, file.sha256, file.bytes)
        try:
            with path.open("wb") as spooled:
                spooled.writelines(content.chunks())
        except OSError as error:
            raise _no_room(self._folder, error) from error
        return Fetched(file, name, path, content.problem())


def _no_room(folder: Path, error: OSError) -> BackupError:
    message = f"A file of the bundle can not be kept in {folder}: {error.strerror or error}."
    do = "Make room there, or set BACKUP_WORK_DIR to a larger disk."
    return (DiskFullError if error.errno in NO_ROOM else BackupError)(message, do=do)


_Told = Iterator[Finding | Remark]


@dataclass(frozen=True)
class SheetCheck:
    """The sheets of the bundle of `at`."""

    at: VerifySubject
    bundle: OpenBundle
    parquet: ParquetFiles
    decoder: Decoder

    def told(self, table: TableEntry, columns: tuple[Shown, ...], names: Set[str]) -> _Told:
        """What is wrong with the table's CSV files, and what could not be compared; missing ones are known already."""
        files = self.at.files(table, "csv")
        there = [(file, name) for file, name in files if name in names]
        nameless = [file.name for file, name in files if not name]
        yield from (self._finding(f"sheets/{name}", "is not among the manifest's entries.") for name in nameless)
        why = self._why_not(table, columns, whole=len(there) == len(files))
        if why is not None:
            yield self._remark(f"sheets of {table.name}", f"not compared with the Parquet files: {why}.")
            yield from self._hashed(there)
            return
        yield from self._unknown(table, columns)
        needed = {table.name, *(hop.table for column in columns for hop in column.hops)}
        task = SheetTask(table, columns, {name: self.parquet.paths(name) for name in needed}, self.at.manifest.timezone)
        with self.decoder.compare_sheet(task) as comparison:
            for file, name in there:
                yield from self._compared(comparison, file, name, surely=bool(table.sheet_sources))

    def _why_not(self, table: TableEntry, columns: tuple[Shown, ...], *, whole: bool) -> str | None:
        needed = dict.fromkeys([table.name, *(hop.table for column in columns for hop in column.hops)])
        if (damaged := self.parquet.damaged(needed)) is not None:
            return f"something is wrong with those of {damaged}"
        return None if whole else "one of the sheet's files is missing"

    def _unknown(self, table: TableEntry, columns: tuple[Shown, ...]) -> _Told:
        for column in columns:
            if column.why_not is not None:
                message = f"column {column.title!r} was not compared: {column.why_not}."
                yield self._remark(f"sheets of {table.name}", message)

    def _hashed(self, files: list[tuple[FileEntry, str]]) -> _Told:
        for file, name in files:
            if problem := member_problem(self.bundle, name, file.sha256):
                yield self._finding(name, problem)

    def _compared(self, comparison: SheetComparison, file: FileEntry, name: str, *, surely: bool) -> _Told:
        """A wrong SHA-256 says it all. Without `surely` a difference may come of what the manifest does not say."""
        content = Hashed(self.bundle, name, file.sha256)
        try:
            difference = comparison.difference(file, content.chunks())
        except NotComparableError as reason:
            difference = None
            yield self._remark(name, f"was not compared with the Parquet files: {reason}.")
        if problem := content.problem():
            yield self._finding(name, problem)
        elif difference:
            yield self._finding(name, difference) if surely else self._remark(name, difference)

    def _finding(self, name: str, message: str) -> Finding:
        return Finding(Level.CONTENTS, self.at.member(name), message)

    def _remark(self, name: str, message: str) -> Remark:
        return Remark(Level.CONTENTS, self.at.member(name), message)


_OLD = "the manifest of format 1.0 names no references"


def references(subject: VerifySubject, parquet: ParquetFiles, ports: Ports, decoder: Decoder) -> LevelReport:
    """Every reference of the tables looked at, followed where that is possible; where it is not, a remark says why."""
    ports.progress.tell(StageStarted("references"))
    notes: list[Finding | Remark] = []
    looked, left, why = [], [subject.member(f"parquet/{table.name}") for table in subject.left_out()], [subject.sample]
    old = [subject.member(f"parquet/{table.name}") for table in subject.tables if table.relation_id is None]
    left, why = [*left, *old], [*why, _OLD if old else ""]
    for pointing in pointings(subject.manifest, [table.name for table in subject.tables]):
        if pointing.why_not is not None:
            notes.append(_remark(subject, pointing, f"was not followed: {pointing.why_not}."))
        elif subject.deadline.over():
            left, why = [*left, str(pointing)], [*why, str(subject.deadline)]
        elif (damaged := parquet.damaged((pointing.table, pointing.target))) is not None:
            notes.append(_remark(subject, pointing, f"was not followed: something is wrong with {damaged}."))
        else:
            looked.append(str(pointing))
            orphans = decoder.orphans(pointing, parquet.paths(pointing.table), parquet.paths(pointing.target))
            notes += [_orphans_note(subject, pointing, orphans)] if orphans.rows else []
    findings = tuple(note for note in notes if isinstance(note, Finding))
    remarks = tuple(note for note in notes if isinstance(note, Remark))
    reasons = ", ".join(dict.fromkeys(reason for reason in why if reason))
    return LevelReport(Level.REFERENCES, tuple(looked), tuple(left), reasons, findings, remarks)


def _orphans_note(subject: VerifySubject, pointing: Pointing, orphans: Orphans) -> Finding | Remark:
    keys = "; ".join(_key(pointing, example) for example in orphans.examples)
    message = f"has {orphans.rows:,} rows that refer to no row of {pointing.target}: {keys}{_more(orphans)}."
    if subject.manifest.broken.get(str(pointing)) == orphans.rows:
        explained = f"{message} The source itself broke this key, as the backup says; a restore makes it NOT VALID."
        return Remark(Level.REFERENCES, subject.member(f"parquet/{pointing.table}"), explained)
    if pointing.enforced and not _uncounted_and_whole(subject, pointing, orphans):
        return Finding(Level.REFERENCES, subject.member(f"parquet/{pointing.table}"), message)
    if pointing.enforced:
        explained = (
            f"{message} All {orphans.targets:,} rows of {pointing.target} are here: the source itself broke this key."
        )
        return Remark(Level.REFERENCES, subject.member(f"parquet/{pointing.table}"), explained)
    return Remark(Level.REFERENCES, subject.member(f"parquet/{pointing.table}"), f"{message} The database allows it.")


def _uncounted_and_whole(subject: VerifySubject, pointing: Pointing, orphans: Orphans) -> bool:
    """Whether rows that lead nowhere were so in the source, though the backup did not count them: it was too large.

    As many different keys as the target table had rows in the snapshot are all the keys that there were.
    """
    rows = {table.name: table.row_count for table in subject.manifest.tables}
    counted = rows[pointing.table] + rows[pointing.target] <= CHEAP_ROWS
    return not counted and orphans.targets == rows[pointing.target]


def _key(pointing: Pointing, example: tuple[str, ...]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in zip(pointing.columns, example, strict=True))


def _more(orphans: Orphans) -> str:
    return "; …" if orphans.rows > len(orphans.examples) else ""


def _remark(subject: VerifySubject, pointing: Pointing, message: str) -> Remark:
    return Remark(Level.REFERENCES, subject.member(f"parquet/{pointing.table}"), f"{pointing} {message}")


class Contents:
    """The contents of the bundle of `at`, with the Parquet files in `folder` for as long as they are needed."""

    def __init__(self, subject: VerifySubject, bundle: OpenBundle, folder: Path, ports: Ports) -> None:
        self._subject, self._bundle = subject, bundle
        self.decoder = ports.decoder(folder)
        self.parquet = ParquetFiles(subject, bundle, folder)
        self._names = Counter(bundle.names())
        self._looked: list[str] = []
        self._left: list[str] = [name for table in subject.left_out() for name in self._members(table)]
        self._why = subject.sample

    def report(self, *, keep: bool) -> LevelReport:
        """Look at everything. With `keep` the Parquet files stay that references lead from and to."""
        notes = [*self._archive(), *self._single_members()]
        columns = {table.name: shown_columns(self._subject.manifest, table) for table in self._subject.tables}
        kept = self._for_references() if keep else set()
        last = {name: at for at, t in enumerate(self._subject.tables) for name in _needed(t, columns[t.name])}
        for number, table in enumerate(self._subject.tables):
            if self._subject.deadline.over():
                self._stop(self._subject.tables[number:])
                break
            notes += self._table(table, columns[table.name])
            self.parquet.drop([name for name in _needed(table, columns[table.name]) - kept if last[name] == number])
        findings = tuple(note for note in notes if isinstance(note, Finding))
        remarks = tuple(note for note in notes if isinstance(note, Remark))
        left = tuple(self._subject.member(name) for name in self._left)
        looked = tuple(self._subject.member(name) for name in dict.fromkeys(self._looked))
        return LevelReport(Level.CONTENTS, looked, left, self._why, findings, remarks)

    def _archive(self) -> _Told:
        """Nothing is missing, extra, or there twice."""
        wanted = {*self._subject.manifest.entries, MANIFEST_PATH, README_PATH}
        yield from (self._finding(name, "is missing.") for name in sorted(wanted - self._names.keys()))
        for name, count in self._names.items():
            if name not in wanted:
                yield self._finding(name, "is not in the manifest.")
            if count > 1:
                yield self._finding(name, f"stands {count} times.")

    def _single_members(self) -> _Told:
        """The members that belong to no table: manifest, README, schema."""
        of_tables = {name for table in self._subject.manifest.tables for name in self._members(table)}
        entries = {**self._subject.manifest.entries, MANIFEST_PATH: None, README_PATH: None}
        for name in (name for name in entries if name not in of_tables and name in self._names):
            self._looked.append(name)
            problem = member_problem(self._bundle, name, entries[name], MOST_DOCUMENT)
            if name == MANIFEST_PATH and not problem:
                problem = _inner_problem(whole(self._bundle.stream(name), MOST_DOCUMENT, name), self._subject.manifest)
            if name == SCHEMA_PATH and not problem:
                problem = _schema_problem(whole(self._bundle.stream(name), MOST_SCHEMA, name))
            if problem:
                yield self._finding(name, problem)

    def _table(self, table: TableEntry, columns: tuple[Shown, ...]) -> _Told:
        found = [*self._parquet(table)]
        yield from found
        if found:
            self.parquet.distrust(table.name)
        sheet = SheetCheck(self._subject, self._bundle, self.parquet, self.decoder)
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
        followed = pointings(self._subject.manifest, [table.name for table in self._subject.tables])
        return {name for one in followed if one.why_not is None for name in (one.table, one.target)}

    def _members(self, table: TableEntry) -> list[str]:
        return [name for kind in ("parquet", "csv") for _, name in self._subject.files(table, kind) if name]

    def _stop(self, tables: tuple[TableEntry, ...]) -> None:
        self._left += [name for table in tables for name in self._members(table)]
        self._why = ", ".join(why for why in (self._why, str(self._subject.deadline)) if why)

    def _finding(self, name: str, message: str) -> Finding:
        return Finding(Level.CONTENTS, self._subject.member(name), message)


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
