"""Look-ups and references over Parquet files: in the rows' own order, as PostgreSQL means them, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.comparison import Hop, Pointing, SheetTask, Shown
from backup_pipeline.core.errors import BackupError, DiskFullError
from backup_pipeline.formats import decoder as duck
from backup_pipeline.formats.decoder import look_up_sql, open_duck, orphans
from backup_pipeline_tests.core.test_manifest import table

ROWS = 300_000


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=20_000)
    return path


def task(parts: list[Path], targets: Path, *shown: Shown) -> SheetTask:
    return SheetTask(table(name="rows"), shown, {"rows": parts, "targets": [targets]}, "UTC")


def looked_up(folder: Path, wanted: SheetTask) -> pa.Table:
    with open_duck(folder) as database:
        return database.sql(look_up_sql(wanted)).to_arrow_table()


HOP = Hop("targets", ("id",), ("target_id",))


def test_look_ups_come_in_the_order_of_the_rows_also_over_several_files(tmp_path: Path) -> None:
    keys = [(n * 7919) % ROWS for n in range(ROWS)]
    first = write(tmp_path / "rows-00000.parquet", target_id=pa.array(keys[:200_000]))
    second = write(tmp_path / "rows-00001.parquet", target_id=pa.array(keys[200_000:]))
    targets = write(tmp_path / "t.parquet", id=pa.array(range(ROWS)), name=pa.array(f"name {n}" for n in range(ROWS)))
    found = looked_up(tmp_path, task([first, second], targets, Shown("Name", "name", "string", (HOP,))))
    assert found.column(0).to_pylist() == [f"name {key}" for key in keys]


def test_what_leads_nowhere_is_null_and_joined_values_are_sorted_by_their_bytes(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.parquet", id=pa.array([1, 2, None, 9]))
    targets = write(
        tmp_path / "t.parquet", **{'odd "name': pa.array([1, 1, 1, 2]), "v": pa.array(["b", "B", None, "é"])}
    )
    back = Shown("Values", "v", "string", (Hop("targets", ('odd "name',), ("id",)),), joined=True)
    assert looked_up(tmp_path, task([rows], targets, back)).column(0).to_pylist() == ["B; b", "é", None, None]


def test_two_rows_for_one_key_are_an_error_as_they_are_in_postgresql(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.parquet", target_id=pa.array([1]))
    targets = write(tmp_path / "t.parquet", id=pa.array([1, 1]), name=pa.array(["a", "b"]))
    with pytest.raises(BackupError, match="can not be compared") as refused:
        looked_up(tmp_path, task([rows], targets, Shown("Name", "name", "string", (HOP,))))
    assert "level 1" in refused.value.do


def test_a_reference_that_is_null_in_part_leads_nowhere_by_right(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.parquet", a=pa.array([1, 1, None, 2, 2]), b=pa.array(["x", None, "x", "x", "x"]))
    targets = write(tmp_path / "t.parquet", a=pa.array([1]), b=pa.array(["x"]))
    with open_duck(tmp_path) as database:
        found = orphans(database, Pointing("rows", ("a", "b"), "targets", ("a", "b")), [rows], [targets])
    assert (found.rows, found.examples) == (2, (("2", "x"),))


def test_where_there_is_no_room_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duck, "_MEMORY", "2MB")
    (tmp_path / "duckdb").write_text("a file where the folder should be")
    keys = pa.array([(n * 7919) % ROWS for n in range(ROWS)])
    rows = write(tmp_path / "rows.parquet", target_id=keys)
    targets = write(tmp_path / "t.parquet", id=pa.array(range(ROWS)), name=pa.array(f"name {n}" for n in range(ROWS)))
    with pytest.raises(BackupError) as refused:
        looked_up(tmp_path, task([rows], targets, Shown("Name", "name", "string", (HOP,))))
    assert isinstance(refused.value, DiskFullError)
