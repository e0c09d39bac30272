"""The exact copy: what goes in comes out, read by two readers, byte for byte the same however it was paged."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats.parquet import GroupLimit, ParquetWriter, arrow_schema, arrow_type, repeating_columns
from backup_pipeline_tests.formats.tables import many_rows, pages, plan_for, tables

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


def write(
    directory: Path,
    plan: TablePlan,
    parts: list[pa.Table],
    limit: GroupLimit | None = None,
    bytes_per_file: int = 1 << 30,
) -> tuple[FileEntry, ...]:
    with ParquetWriter(directory, plan, bytes_per_file=bytes_per_file, group_limit=limit or GroupLimit()) as writer:
        for part in parts:
            writer.write(part)
        return writer.close()


@settings(deadline=None, max_examples=60)
@given(tables(), SIZES, st.integers(1, 12))
def test_every_value_of_every_type_survives(drawn: tuple[pa.Table, TablePlan], sizes: list[int], group: int) -> None:
    table, plan = drawn
    with tempfile.TemporaryDirectory() as name:
        entries = write(Path(name), plan, pages(table, sizes), GroupLimit(rows=group))
        read = pq.ParquetFile(Path(name) / "part-00000.parquet").read()
    assert read.schema.equals(arrow_schema(plan), check_metadata=True)
    assert read.equals(table.cast(arrow_schema(plan)))
    assert [entry.rows for entry in entries] == [table.num_rows]


@settings(deadline=None, max_examples=25)
@given(tables())
def test_a_second_reader_sees_the_same_values(drawn: tuple[pa.Table, TablePlan]) -> None:
    table, plan = drawn
    with tempfile.TemporaryDirectory() as name, duckdb.connect() as database:
        write(Path(name), plan, [table])
        database.execute("SET TimeZone = 'UTC'")
        found = database.sql(f"SELECT * FROM '{name}/part-00000.parquet'").to_arrow_table()
    wanted = [str(values) for values in zip(*map(_comparable, table.columns), strict=True)]
    assert [str(values) for values in zip(*map(_comparable, found.columns), strict=True)] == wanted


def _comparable(column: pa.ChunkedArray) -> list[object]:
    """UUIDs as text, which DuckDB makes of them; the rest as Python's own values."""
    values = column.to_pylist()
    return (
        [str(value) for value in values] if isinstance(column.type, pa.UuidType) or column.type == "string" else values
    )


@settings(deadline=None, max_examples=40)
@given(tables(), SIZES, SIZES, st.integers(1, 7), st.integers(1, 200))
def test_files_do_not_depend_on_the_pages(
    drawn: tuple[pa.Table, TablePlan], one: list[int], other: list[int], rows: int, size: int
) -> None:
    table, plan = drawn
    limit = GroupLimit(rows=rows, bytes=size)
    with tempfile.TemporaryDirectory() as left, tempfile.TemporaryDirectory() as right:
        first = write(Path(left), plan, pages(table, one), limit, bytes_per_file=2_000)
        # The other way round the pages own their memory: no slices, no shared buffers.
        copies = [pa.Table.from_pylist(page.to_pylist(), page.schema) for page in pages(_plain(table), other)]
        assert write(Path(right), plan, copies, limit, bytes_per_file=2_000) == first


def _plain(table: pa.Table) -> pa.Table:
    """UUIDs as their 16 bytes: another form in which a page may carry them."""
    storages = [
        pa.chunked_array([c.storage for c in x.chunks], pa.binary(16)) if isinstance(x.type, pa.UuidType) else x
        for x in table.columns
    ]
    return pa.table(dict(zip(table.column_names, storages, strict=True)))


def test_full_size_row_groups_are_the_same_for_any_page_size(tmp_path: Path) -> None:
    table, plan = many_rows(150_000)
    found = []
    for size in (150_000, 7_001, 100_000):
        directory = tmp_path / str(size)
        directory.mkdir()
        found.append(write(directory, plan, pages(table, [size])))
    assert found[0] == found[1] == found[2]
    footer = pq.ParquetFile(tmp_path / "7001" / "part-00000.parquet").metadata
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [122_880, 150_000 - 122_880]


def test_entries_say_what_is_on_disk(tmp_path: Path) -> None:
    table, plan = many_rows(1_000)
    for entry in write(tmp_path, plan, [table], GroupLimit(rows=100), bytes_per_file=20_000):
        data = (tmp_path / entry.name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry.crc32 == zlib.crc32(data)


def test_large_tables_roll_over_into_further_parts(tmp_path: Path) -> None:
    table, plan = many_rows(2_000)
    entries = write(tmp_path, plan, pages(table, [333]), GroupLimit(rows=250), bytes_per_file=10_000)
    assert len(entries) > 2
    assert [entry.name for entry in entries] == [f"part-{n:05d}.parquet" for n in range(len(entries))]
    parts = [pq.ParquetFile(tmp_path / entry.name).read() for entry in entries]
    assert [part.num_rows for part in parts] == [entry.rows for entry in entries]
    assert pa.concat_tables(parts).equals(table.cast(arrow_schema(plan)))


def test_wide_rows_end_a_row_group_early(tmp_path: Path) -> None:
    plan = plan_for({"doc": "string"})
    table = pa.table({"doc": ["x" * 1_000_000] * 10})
    write(tmp_path, plan, [table], GroupLimit(bytes=3_000_000))
    footer = pq.ParquetFile(tmp_path / "part-00000.parquet").metadata
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [3, 3, 3, 1]


def test_an_empty_table_has_one_part_with_the_schema(tmp_path: Path) -> None:
    plan = plan_for({"id": "int64", "uid": "uuid"}, nullable=False)
    (entry,) = write(tmp_path, plan, [])
    read = pq.ParquetFile(tmp_path / entry.name)
    assert (entry.rows, read.metadata.num_rows) == (0, 0)
    assert read.schema_arrow.equals(arrow_schema(plan), check_metadata=True)


def test_the_schema_carries_what_postgresql_called_things(tmp_path: Path) -> None:
    plan = plan_for({"id": "int64", "price": "decimal128(12, 2)"})
    write(tmp_path, plan, [])
    schema = pq.read_schema(tmp_path / "part-00000.parquet")
    assert schema.field("price").metadata == {b"pg_type": b"numeric(12,2)"}
    assert {key: schema.metadata[key] for key in (b"relation", b"key")} == {
        b"relation": b"public.things",
        b"key": b'["id"]',
    }
    assert b"format_version" in schema.metadata


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no columns"):
        write(tmp_path, plan_for({}), [pa.table({"other": [1, 2, 3]})])


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    table, plan = many_rows(1_000)
    writer = ParquetWriter(tmp_path, plan, bytes_per_file=10_000, group_limit=GroupLimit(rows=100))
    writer.write(table)
    assert len(list(tmp_path.iterdir())) > 1
    writer.abort()
    del writer
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    table, plan = many_rows(1_000)

    def interrupted() -> None:
        with ParquetWriter(tmp_path, plan, group_limit=GroupLimit(rows=100)) as writer:
            writer.write(table)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_nothing_has_its_final_name_before_it_is_whole(tmp_path: Path) -> None:
    table, plan = many_rows(1_000)
    writer = ParquetWriter(tmp_path, plan, group_limit=GroupLimit(rows=100))
    writer.write(table)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet.tmp"]
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]


@pytest.mark.parametrize(
    "rows",
    [pa.table({"id": ["x"]}), pa.table({"other": [1]}), pa.table({"id": pa.array([None], pa.int64())})],
    ids=["another type", "a column missing", "NULL in a NOT NULL column"],
)
def test_a_page_that_does_not_fit_the_plan_is_an_error_that_names_the_table(tmp_path: Path, rows: pa.Table) -> None:
    with pytest.raises(BackupError, match="A page of table things does not fit its plan"):
        write(tmp_path, plan_for({"id": "int64"}, nullable=False), [rows])
    assert list(tmp_path.iterdir()) == []


def test_only_columns_that_repeat_get_a_dictionary() -> None:
    table = pa.table({"status": ["paid", "due"] * 100, "name": [f"n{n}" for n in range(200)], "n": [1] * 200})
    assert repeating_columns(table) == ["status"]


def test_an_unknown_type_name_is_refused() -> None:
    with pytest.raises(ValueError, match="float16"):
        arrow_type("float16")
