"""SQL over Parquet files: what a stranger's SQL can not reach, types that Arrow has not, and memory that stays flat."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.errors import BackupError, DiskFullError, RefusedError, VerificationError
from backup_pipeline.core.manifest import ColumnEntry, TableEntry
from backup_pipeline.core.ports.files import FetchedTable, ResultForm
from backup_pipeline.formats.query import DuckQueries
from backup_pipeline_tests.memory import MB, peak

ZONE = "Asia/Dhaka"
COLUMNS = {"id": ("bigint", "int64", pa.int64()), "note": ("text", "string", pa.string())}


def fetched(folder: Path, rows: pa.Table, name: str = "Goods") -> FetchedTable:
    fields = [pa.field(n, kind, metadata={"pg_type": pg}) for n, (pg, _, kind) in COLUMNS.items()]
    path = folder / f"{name}.parquet"
    pq.write_table(rows.cast(pa.schema(fields)) if rows.column_names == list(COLUMNS) else rows, path)
    columns = tuple(
        ColumnEntry(name=n, pg_type=pg, arrow_type=arrow, nullable=True) for n, (pg, arrow, _) in COLUMNS.items()
    )
    entry = TableEntry.model_construct(**cast(Any, {"name": name, "columns": columns}))
    return FetchedTable(entry, [path])


def some(folder: Path, count: int = 3, width: int = 1) -> FetchedTable:
    notes = [f"{number * 7919 % count:09d}" * width for number in range(count)]
    return fetched(folder, pa.table({"id": pa.array(range(count), pa.int64()), "note": notes}))


def written(sql: str, table: FetchedTable, spool: Path, form: ResultForm = ResultForm.JSON) -> bytes:
    out = io.BytesIO()
    with DuckQueries().rows(sql, [table], ZONE, spool) as rows:
        rows.write(form, out)
    return out.getvalue()


def test_a_query_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    table = some(tmp_path, 20_000)
    endless = "SELECT sum(a.id * b.id + c.id) FROM goods a, goods b, goods c"
    begun = time.monotonic()
    with (
        pytest.raises(BackupError, match=r"longer than 0\.3 s") as stopped,
        DuckQueries(0.3).rows(endless, [table], ZONE, tmp_path) as rows,
    ):
        rows.write(ResultForm.JSON, io.BytesIO())
    assert time.monotonic() - begun < 20
    assert "--timeout" in stopped.value.do
    assert json.loads(written("SELECT count(*) AS n FROM goods", table, tmp_path)) == [{"n": 20_000}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM read_parquet('{other}')",
        "SELECT * FROM read_parquet('{folder}/*.parquet')",
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('{other}')",
        "SELECT * FROM read_csv('https://example.com/x.csv')",
        "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
        "SELECT * FROM enable_logging('QueryLog', storage='file', storage_path='{folder}')",
        "WITH a AS (SELECT * FROM read_csv('/etc/passwd')) SELECT * FROM a",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "EXPLAIN ANALYZE SELECT 1",
        "CREATE TABLE t AS SELECT 1",
        "CALL enable_logging()",
        "CREATE SECRET s (TYPE s3)",
        "PREPARE p AS SELECT 1",
        "USE memory",
    ],
)
def test_sql_reaches_nothing_but_its_tables(tmp_path: Path, sql: str) -> None:
    (tmp_path / "other").mkdir()
    other = some(tmp_path / "other").files[0]
    table, before = some(tmp_path), sorted(tmp_path.rglob("*"))
    with pytest.raises(BackupError) as caught:
        written(sql.format(other=other, folder=tmp_path), table, tmp_path)
    assert caught.value.exit_code in {RefusedError.exit_code, 2}
    assert sorted(path for path in tmp_path.rglob("*") if "spill" not in path.parts) == before


def test_variables_of_this_program_are_no_tables(tmp_path: Path) -> None:
    secret = pa.table({"key": [1]})
    with pytest.raises(BackupError, match="secret does not exist"):
        written("SELECT * FROM secret", some(tmp_path), tmp_path)
    assert secret.num_rows == 1


def test_types_that_json_and_arrow_have_not(tmp_path: Path) -> None:
    sql = """SELECT sum(id) AS total, 0.1::decimal(3, 1) AS price, 'nan'::float AS ratio, [1, 2] AS list,
        INTERVAL 1 DAY AS day,
        timestamptz '2026-11-20 18:30:00.5+00' AS moment, timestamp '2026-01-01' AS local, date '12026-01-01' AS far,
        1 AS one, 2 AS one, '\\x00'::blob AS raw, true AS yes, NULL AS none FROM goods"""
    assert json.loads(written(sql, some(tmp_path), tmp_path)) == [
        {
            "total": 3, "price": "0.1", "ratio": "NaN", "list": "[1, 2]", "day": "1 day",
            "moment": "2026-11-21T00:30:00.500000+06:00", "local": "2026-01-01T00:00:00", "far": "12026-01-01",
            "one": 1, "one_1": 2, "raw": "\\x00", "yes": True, "none": None,
        }
    ]  # fmt: skip
    rows = pq.read_table(io.BytesIO(written(sql, some(tmp_path), tmp_path, ResultForm.PARQUET)))
    assert rows.column_names[-4:] == ["one_1", "raw", "yes", "none"]
    assert written("SELECT * FROM goods WHERE false", some(tmp_path), tmp_path) == b"[\n]\n"


def test_a_file_that_is_not_the_tables_is_refused(tmp_path: Path) -> None:
    table = fetched(tmp_path, pa.table({"id": [1], "other": [2]}))
    with pytest.raises(VerificationError, match="has the columns id, other"):
        written("SELECT * FROM goods", table, tmp_path)
    table.files[0].write_bytes(b"no Parquet at all")
    with pytest.raises(VerificationError, match="can not be decoded"):
        written("SELECT * FROM goods", table, tmp_path)


class Nowhere(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return len(memoryview(data))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("form", list(ResultForm))
def test_memory_stays_flat_and_what_is_too_much_goes_into_the_spool(tmp_path: Path, form: ResultForm) -> None:
    """A gigabyte, sorted: twice what the query may take."""
    table = some(tmp_path, 1_000_000, 110)
    with peak() as measured, DuckQueries().rows("FROM goods ORDER BY note DESC", [table], ZONE, tmp_path) as rows:
        assert rows.write(form, Nowhere()) == 1_000_000  # type: ignore[arg-type]
    assert measured.bytes < 900 * MB


def test_more_than_the_memory_is_an_error_that_helps(tmp_path: Path) -> None:
    with pytest.raises(BackupError) as caught:
        written("SELECT length(string_agg(repeat(note, 100000), '')) FROM goods, range(4000)", some(tmp_path), tmp_path)
    assert "memory" in caught.value.what.lower()
    assert "512MB" in caught.value.do
    assert not isinstance(caught.value, DiskFullError)
