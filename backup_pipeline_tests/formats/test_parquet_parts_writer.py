"""After an error a table that lacks a page never looks whole, whoever goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats.parquet import ParquetWriter, PartsWriter
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline_tests.formats.tables import many_rows

MAKERS: list[Callable[[Path, TablePlan], PartsWriter]] = [
    ParquetWriter,
    lambda directory, plan: SheetWriter(directory, plan.sheet, "UTC"),
]
both = pytest.mark.parametrize("make", MAKERS, ids=["parquet", "sheet"])


@both
def test_a_failed_page_ends_the_table(tmp_path: Path, make: Callable[[Path, TablePlan], PartsWriter]) -> None:
    table, plan = many_rows(10)
    writer = make(tmp_path, plan)
    writer.write(table)
    with pytest.raises(BackupError):
        writer.write(pa.table({"strange": [1]}))
    for later in (lambda: writer.write(table), writer.close):
        with pytest.raises(BackupError, match="given up"):
            later()
    assert list(tmp_path.iterdir()) == []


@both
def test_closing_twice_gives_the_same_entries(tmp_path: Path, make: Callable[[Path, TablePlan], PartsWriter]) -> None:
    table, plan = many_rows(10)
    with make(tmp_path, plan) as writer:
        writer.write(table)
        first = writer.close()
    assert writer.close() == first
    assert writer.bytes_written == sum(path.stat().st_size for path in tmp_path.iterdir())
    with pytest.raises(BackupError, match="closed"):
        writer.write(table)


@both
def test_a_block_that_does_not_close_is_closed(tmp_path: Path, make: Callable[[Path, TablePlan], PartsWriter]) -> None:
    table, plan = many_rows(10)
    with make(tmp_path, plan) as writer:
        writer.write(table)
    assert len(list(tmp_path.iterdir())) == 1
    assert writer.close()[0].rows == 10
