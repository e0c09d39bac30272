"""The port `Formats`: Parquet and CSV side by side, the ZIP bundle, its README, the preview of a sheet, renderings."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.core.bundle import Member
from backup_pipeline.core.layout import sheet_name
from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.markdown import plain, table
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import OpenBundle, TableWriter
from backup_pipeline.core.rendering import Rendering
from backup_pipeline.formats.bundle import bundle_chunks
from backup_pipeline.formats.bundle_reader import BundleReader
from backup_pipeline.formats.combined import combined_csv
from backup_pipeline.formats.copy_rows import copy_rows
from backup_pipeline.formats.json_document import json_chunks
from backup_pipeline.formats.memory import use_jemalloc
from backup_pipeline.formats.parquet import ParquetWriter
from backup_pipeline.formats.readme import readme_text
from backup_pipeline.formats.render import bundle_sheets, bundle_tables
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.formats.side_by_side import SideBySideWriter

_PREVIEW_ROWS = 5
_PREVIEW_WIDTH = 40
_PREVIEW_LETTERS = 100_000
"""What is read of a sheet: less than the longest cell that `csv` takes."""


class FileFormats:
    """The file formats of format version 1 (docs/format.md)."""

    def __init__(self) -> None:
        """Choose the allocator, for the whole process."""
        use_jemalloc()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Nobody in particular: the files are not encrypted."""
        return ()

    def writer(self, plan: TablePlan, directory: Path, timezone: str) -> TableWriter:
        """A writer of `plan`'s Parquet and CSV files into `directory`; sheet times in `timezone`."""
        return SideBySideWriter(ParquetWriter(directory, plan), SheetWriter(directory, plan.sheet, timezone))

    def preview(self, plan: TablePlan, directory: Path) -> str:
        """The first rows of the sheet in `directory`, as a Markdown table; long cells are cut."""
        with (directory / sheet_name(0)).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            beginning = io.StringIO(file.read(_PREVIEW_LETTERS), newline="")
        titles, *rows = islice(csv.reader(beginning), 1 + _PREVIEW_ROWS)
        if not rows:
            return f"*{plain(plan.sheet.name)} is empty.*"
        return table(titles, [[_short(cell) for cell in row] for row in rows])

    def bundle(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members as the bytes of one ZIP, streamed."""
        return bundle_chunks(members)

    def open_bundle(self, read_range: Callable[[int, int], bytes], size: int) -> OpenBundle:
        """The bundle of `size` bytes that `read_range(start, length)` reads."""
        return BundleReader(read_range, size)

    def readme(self, manifest: Manifest, schema: str) -> str:
        """The README of a bundle whose DDL is `schema`."""
        return readme_text(manifest, schema)

    def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
        """Write the backup that `manifest` describes and `bundle` holds into `target`, in the form `kind`."""
        match kind:
            case Rendering.XLSX:
                from backup_pipeline.formats.xlsx import write_xlsx

                write_xlsx(target, bundle_sheets(manifest, bundle))
            case Rendering.CSV:
                target.writelines(combined_csv(bundle_sheets(manifest, bundle)))
            case Rendering.JSON:
                target.writelines(json_chunks(manifest.model_dump(mode="json"), bundle_tables(manifest, bundle)))

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        """The rows of the Parquet file at `file` as CSV for PostgreSQL's COPY, `columns` in this order."""
        return copy_rows(file, columns, binary)


def _short(cell: str) -> str:
    """A cell fit for one line."""
    line = " ".join(cell[: 2 * _PREVIEW_WIDTH].split())
    return line if len(line) <= _PREVIEW_WIDTH else line[: _PREVIEW_WIDTH - 1] + "…"
