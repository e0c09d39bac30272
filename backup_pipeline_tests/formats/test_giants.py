"""A cell of many megabytes: a small number of copies in memory, time in proportion, the same files however paged."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats.bundle import SheetFiles
from backup_pipeline.formats.cells import MOST_SIGNS, LongText, csv_cells
from backup_pipeline.formats.files import FileFormats, SideBySideWriter
from backup_pipeline.formats.parquet import ParquetWriter
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.formats.xlsx import write_xlsx
from backup_pipeline_tests.formats.tables import pages, plan_for
from backup_pipeline_tests.memory import MB, peak

GIANT = 32 * MB
TEXT = ('giant "words", ' + "plain words " * 100) * (GIANT // 1215)
TYPES = {"small": "string", "body": "string"}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Row 3 of 6 has a giant."""
    bodies = ["few words", None, "", TEXT, "few", "words"]
    return pa.table({"small": pa.array(list("abcdef")), "body": pa.array(bodies)})


def written(folder: Path, plan: TablePlan, parts: list[pa.Table]) -> tuple[FileEntry, ...]:
    with ParquetWriter(folder, plan) as writer:
        for part in parts:
            writer.write(part)
        return writer.close()


def test_parquet_takes_few_copies_and_the_same_files_however_it_was_paged(tmp_path: Path, rows: pa.Table) -> None:
    FileFormats()
    plan = plan_for(TYPES)
    (tmp_path / "one").mkdir()
    with peak() as taken:
        whole = written(tmp_path / "one", plan, [rows])
    assert taken.bytes < 4 * GIANT
    for sizes in ([1], [2, 1], [4]):
        folder = tmp_path / str(sizes)
        folder.mkdir()
        assert [entry.sha256 for entry in written(folder, plan, pages(rows, sizes))] == [
            entry.sha256 for entry in whole
        ]
    with pq.ParquetFile(tmp_path / "one" / whole[0].name) as opened:
        assert opened.read().equals(rows.cast(opened.schema_arrow))
        group = opened.metadata.row_group(0)
    assert group.column(0).statistics.has_min_max
    assert group.column(1).statistics is None


def test_a_part_of_many_small_values_keeps_its_statistics(tmp_path: Path, rows: pa.Table) -> None:
    """A giant behind them begins a part of its own."""
    small = pa.table({"small": ["x"] * 300_000, "body": ["y"] * 300_000})
    entries = written(tmp_path, plan_for(TYPES), [small, rows])
    assert len(entries) == 2
    assert sum(entry.rows for entry in entries) == 300_006
    with pq.ParquetFile(tmp_path / entries[0].name) as opened:
        assert opened.metadata.row_group(0).column(1).statistics.has_min_max
    with pq.ParquetFile(tmp_path / entries[1].name) as opened:
        assert opened.metadata.row_group(0).column(1).statistics is None


def test_the_sheet_takes_few_copies(tmp_path: Path, rows: pa.Table) -> None:
    FileFormats()
    plan = plan_for(TYPES)
    parquet = written(tmp_path, plan, [rows])
    with peak() as taken, SheetWriter(tmp_path, plan.sheet, "UTC") as writer:
        writer.write(rows)
        (sheet,) = writer.close()
    assert taken.bytes < 2.5 * GIANT
    assert parquet[0].rows == sheet.rows == 6


@pytest.mark.parametrize("chunk", [1 << 20, 70_001])
def test_a_workbook_cuts_a_giant_before_any_work(rows: pa.Table, tmp_path: Path, chunk: int) -> None:
    plan = plan_for(TYPES)
    with SheetWriter(tmp_path, plan.sheet, "UTC") as writer:
        writer.write(rows)
        (sheet,) = writer.close()
    target = io.BytesIO()
    started = time.perf_counter()
    with peak() as taken, (tmp_path / sheet.name).open("rb") as file:
        write_xlsx(target, [SheetFiles("Giants", [iter(lambda: file.read(chunk), b"")])])
    assert taken.bytes < 24 * MB
    assert time.perf_counter() - started < 20
    cell = openpyxl.load_workbook(target).active["B5"].value
    assert cell.startswith('giant "words", plain')
    assert cell.endswith(f"… (cut: {len(TEXT):,} signs)")
    assert len(cell) == 32_767


@given(
    st.lists(st.lists(st.text(st.sampled_from('a",\r\n\u0995'), max_size=6), min_size=2, max_size=2), max_size=4),
    st.integers(1, 9),
)
def test_cells_do_not_depend_on_where_the_file_is_cut(records: list[list[str]], size: int) -> None:
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in record) + "\r\n" for record in records]
    data = "".join(lines).encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert [*csv_cells(chunks)] == records == [*csv_cells([data])]


def test_a_long_text_is_known_by_how_long_it_was() -> None:
    text = 'x"y' * MOST_SIGNS
    data = ('1,"' + text.replace('"', '""') + '"\r\n').encode()
    for chunks in ([data], [data[at : at + 1000] for at in range(0, len(data), 1000)]):
        ((number, found),) = csv_cells(chunks)
        assert number == 1
        assert isinstance(found, LongText)
        assert (found, found.signs) == (text[:MOST_SIGNS], len(text))


class Standing:
    """A writer that takes no page before `free`."""

    bytes_written = 0

    def __init__(self) -> None:
        self.free = threading.Event()

    def write(self, rows: pa.Table) -> None:
        self.free.wait(10)

    def close(self) -> tuple[FileEntry, ...]:
        return ()

    def abort(self) -> None:
        self.free.set()


@pytest.mark.parametrize(("rows", "waiting"), [(1000, 6), (2_500_000, 2)])
def test_a_writer_is_some_small_pages_behind_or_two_large_ones(rows: int, waiting: int) -> None:
    page, writer, handed = pa.table({"x": np.zeros(rows, np.int64)}), Standing(), list[int]()
    lane = SideBySideWriter(writer)

    def hand() -> None:
        for number in range(8):
            lane.write(page)
            handed.append(number)

    thread = threading.Thread(target=hand)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    behind = len(handed)
    writer.free.set()
    thread.join()
    lane.close()
    assert behind == waiting
    assert len(handed) == 8
