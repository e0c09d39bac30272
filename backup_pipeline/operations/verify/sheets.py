"""The sheets of level 2: each CSV file is what the Parquet files of the same backup give, as far as can be known."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from backup_pipeline.core.decoding import Decoder, NotComparableError, SheetComparison, SheetTask, Shown
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.core.verification import Finding, Level, Remark
from backup_pipeline.operations.verify.asked import Subject
from backup_pipeline.operations.verify.members import Hashed, member_problem
from backup_pipeline.operations.verify.parquet_files import ParquetFiles

_Told = Iterator[Finding | Remark]


@dataclass(frozen=True)
class SheetCheck:
    """The sheets of the bundle of `at`."""

    at: Subject
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
