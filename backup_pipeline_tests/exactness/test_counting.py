"""The numbers are counted, not assumed: a writer or a reader that is off by one never makes an export a success."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Page, TableWriter
from backup_pipeline.formats.files import FileFormats, SideBySideWriter
from backup_pipeline.formats.parquet import ParquetWriter, PartsWriter
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.operations import export as export_table
from backup_pipeline.postgres.source import PostgresSnapshot
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.exactness.exporting import Exporter, public
from backup_pipeline_tests.exactness.loading import session

ROWS = 250
Change = Callable[[pa.Table], pa.Table]
ROW_CHANGES: dict[str, Change] = {
    "drops the last row of a page": lambda rows: rows.slice(0, rows.num_rows - 1),
    "drops the first row of a page": lambda rows: rows.slice(1),
    "doubles the last row of a page": lambda rows: pa.concat_tables([rows, rows.slice(rows.num_rows - 1)]),
    "drops the page": lambda rows: rows.slice(0, 0),
    "doubles the page": lambda rows: pa.concat_tables([rows, rows]),
}


class Once:
    """Applies a change to one page only, the second: a single slip in a long table."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._pages = 0

    def __call__(self, rows: pa.Table) -> pa.Table:
        self._pages += 1
        return self._change(rows) if self._pages == 2 else rows


class Formats(FileFormats):
    """File formats whose Parquet or sheet writer, or both, were tampered with."""

    def __init__(self, tamper: Callable[[PartsWriter], None], *formats: str) -> None:
        self._tamper, self._formats = tamper, formats

    def writer(self, plan: TablePlan, directory: Path, timezone: str, *, sheets: bool = True) -> TableWriter:
        writers: dict[str, PartsWriter] = {
            "parquet": ParquetWriter(directory, plan),
            "csv": SheetWriter(directory, plan.sheet, timezone),
        }
        for name in self._formats:
            self._tamper(writers[name])
        return SideBySideWriter(*writers.values())


@pytest.fixture
def exporter(fresh_database: str, tmp_path: Path) -> Exporter:
    with session(fresh_database) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
        connection.execute(f"INSERT INTO t SELECT i, 'x' || i FROM generate_series(1, {ROWS}) i")
    return Exporter(fresh_database, tmp_path, page_rows=100)


def assert_refused(exporter: Exporter) -> None:
    export = exporter.export(public(["t"]))
    error = export.error("t")
    assert error is not None, "the export is a success"
    assert error.do
    assert export.published("t") == []


def test_an_honest_writer_is_a_success(exporter: Exporter) -> None:
    exporter.formats = Formats(lambda writer: None, "parquet", "csv")
    export = exporter.export(public(["t"]))
    assert export.entry("t").row_count == ROWS
    assert {file.format: file.rows for file in export.entry("t").files} == {"parquet": ROWS, "csv": ROWS}


@pytest.mark.parametrize("change", ROW_CHANGES)
@pytest.mark.parametrize("formats", [("parquet",), ("csv",), ("parquet", "csv")], ids="+".join)
def test_a_writer_that_loses_or_doubles_rows_is_found(
    exporter: Exporter, formats: tuple[str, ...], change: str
) -> None:
    def tamper(writer: PartsWriter) -> None:
        slip, honest = Once(ROW_CHANGES[change]), writer._append
        writer._append = lambda rows: honest(slip(rows))  # type: ignore[method-assign]

    exporter.formats = Formats(tamper, *formats)
    assert_refused(exporter)


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("formats", [("parquet",), ("csv",), ("parquet", "csv")], ids="+".join)
def test_a_writer_that_counts_wrong_is_found(exporter: Exporter, formats: tuple[str, ...], by: int) -> None:
    def tamper(writer: PartsWriter) -> None:
        honest = writer._finish

        def finish() -> tuple[FileEntry, ...]:
            return tuple(entry.model_copy(update={"rows": entry.rows + by}) for entry in honest())

        writer._finish = finish  # type: ignore[method-assign]

    exporter.formats = Formats(tamper, *formats)
    assert_refused(exporter)


@pytest.mark.parametrize("change", ROW_CHANGES)
def test_a_reader_that_loses_or_doubles_rows_is_found(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    honest = PostgresSnapshot.read

    def read(self: PostgresSnapshot, plan: TablePlan) -> Iterator[Page]:
        slip = Once(ROW_CHANGES[change])
        for page in honest(self, plan):
            yield replace(page, rows=slip(page.rows))

    monkeypatch.setattr(PostgresSnapshot, "read", read)
    assert_refused(exporter)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_part_that_counts_its_rows_wrong_is_found_by_the_files_own_footer(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, by: int
) -> None:
    from backup_pipeline.formats import parquet

    honest = parquet._Part.write

    def write(self: Any, group: pa.Table) -> None:
        honest(self, group)
        self.rows += by

    monkeypatch.setattr(parquet._Part, "write", write)
    assert_refused(exporter)


def test_a_row_that_gets_lost_on_its_way_into_the_file_is_found(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.formats import parquet

    honest = parquet._Part.write

    def write(self: Any, group: pa.Table) -> None:
        honest(self, group.slice(0, group.num_rows - 1))

    monkeypatch.setattr(parquet._Part, "write", write)
    assert_refused(exporter)


def test_lines_that_get_lost_on_their_way_into_the_sheet_are_found(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sheet's records are counted as rows, before they become lines."""
    from backup_pipeline.formats import sheet
    from backup_pipeline.formats import sheet as lines_of

    honest = lines_of.csv_rows

    def csv_rows(batch: pa.RecordBatch, timezone: str) -> Iterator[pa.Buffer]:
        yield from honest(batch.slice(0, batch.num_rows - 1), timezone)

    monkeypatch.setattr(sheet, "csv_rows", csv_rows)
    assert_refused(exporter)


def test_line_breaks_and_quotes_in_texts_are_no_records(exporter: Exporter) -> None:
    with session(exporter.url) as connection:
        connection.execute(r"""UPDATE t SET x = (ARRAY[E'a\r\nb', E'\n', '"', E'"\n"', E'\r', '', NULL])[1 + id % 7]""")
    export = exporter.export(public(["t"]))
    assert {file.format: file.rows for file in export.entry("t").files} == {"parquet": ROWS, "csv": ROWS}


def test_a_file_that_is_cut_off_in_the_store_is_found(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = MemoryStore.put_file

    def put_file(self: MemoryStore, key: str, path: Path) -> Any:
        path.write_bytes(path.read_bytes()[:-1])
        return honest(self, key, path)

    monkeypatch.setattr(MemoryStore, "put_file", put_file)
    export = exporter.export(public(["t"]))
    error = export.error("t")
    assert error is not None
    assert "bytes in the store" in error.what


def test_what_the_check_compares_with_is_counted_by_the_server(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken out, a loss would go by: the check is what finds it."""
    from backup_pipeline.core.anomalies import row_count

    monkeypatch.setattr(export_table, "row_count", lambda written, counted: row_count(written, written))
    slip = Once(ROW_CHANGES["drops the last row of a page"])

    def tamper(writer: PartsWriter) -> None:
        honest = writer._append
        writer._append = lambda rows: honest(slip(rows))  # type: ignore[method-assign]

    exporter.formats = Formats(tamper, "parquet")
    with pytest.raises(AssertionError, match="is a success"):
        assert_refused(exporter)
