"""Fingerprints: the same for the same rows in any order and any files, another one for any other row."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.drill.objects import Fingerprint
from backup_pipeline.formats.decoder import FileFingerprints
from backup_pipeline.formats.sheet import csv_header

SCHEMA = pa.schema([("id", pa.int64()), ("Id", pa.float64()), ("text", pa.string()), ("raw", pa.binary())])
ROWS: list[list[Any]] = [[n, n / 7, f"row {n}", bytes([n])] for n in range(50)]
TITLES = ("Number", "Who, when", "Note")


def parquet(folder: Path, *parts: Sequence[Sequence[Any]]) -> list[Path]:
    files = []
    for number, rows in enumerate(parts):
        columns = [pa.array([row[at] for row in rows], SCHEMA.field(at).type) for at in range(len(SCHEMA))]
        pq.write_table(pa.table(columns, schema=SCHEMA), folder / f"{number}.parquet")
        files.append(folder / f"{number}.parquet")
    return files


def of(folder: Path, *parts: Sequence[Sequence[Any]], columns: Sequence[str] = SCHEMA.names) -> Fingerprint:
    return FileFingerprints(folder).of_parquet(parquet(folder, *parts), columns)


def test_neither_order_nor_files_make_a_difference(tmp_path: Path) -> None:
    mixed = random.Random(1).sample(ROWS, len(ROWS))
    assert of(tmp_path, ROWS) == of(tmp_path, mixed[:20], mixed[20:]) != of(tmp_path, ROWS[1:])
    assert of(tmp_path, ROWS).rows == 50


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1, 0.0, "a", b""]], [[1, -0.0, "a", b""]]),
        ([[1, 0.0, "", b""]], [[1, 0.0, None, b""]]),
        ([[1, 0.0, None, b""]], [[1, None, "0.0", b""]]),
        ([[1, math.nan, "a", b""]], [[1, None, "a", b""]]),
        ([[1, 0.0, "a ", b""]], [[1, 0.0, "a", b""]]),
        ([[1, 0.0, "a", b"\x00"]], [[1, 0.0, "a", b""]]),
        ([[1, 0.0, "a", None]] * 2, [[2, 0.0, "a", None]] * 2),
        ([[1, 0.0, "a", None]] * 2, [[1, 0.0, "a", None]]),
        ([[1, 0.0, "a", None], [2, 0.0, "b", None]], [[1, 0.0, "b", None], [2, 0.0, "a", None]]),
    ],
)
def test_any_other_value_makes_a_difference(tmp_path: Path, one: list[list[Any]], other: list[list[Any]]) -> None:
    assert of(tmp_path, one) != of(tmp_path, other)


def test_only_the_columns_that_are_asked_for_count(tmp_path: Path) -> None:
    changed = [[row[0], -1.0, *row[2:]] for row in ROWS]
    without = ("id", "text", "raw")
    assert of(tmp_path, ROWS, columns=without) == of(tmp_path, changed, columns=without)
    assert of(tmp_path, ROWS, columns=("Id",)) != of(tmp_path, changed, columns=("Id",))
    assert of(tmp_path, ROWS, columns=("id",)) == of(tmp_path, changed, columns=("id",))


def test_a_table_without_rows(tmp_path: Path) -> None:
    assert of(tmp_path, []) == Fingerprint(0, 0, 0)


def sheets(folder: Path, *parts: bytes, wanted: Sequence[str] = TITLES) -> Fingerprint:
    contents = [iter([csv_header(TITLES), part]) for part in parts]
    return FileFingerprints(folder).of_sheets(contents, TITLES, wanted)


def test_records_of_sheets(tmp_path: Path) -> None:
    one, two = b'1,"a ""b"",\r\nc",\r\n', b'2,"",""\r\n'
    assert sheets(tmp_path, one + two) == sheets(tmp_path, two, one) != sheets(tmp_path, one)
    assert sheets(tmp_path, two) != sheets(tmp_path, b'2,,""\r\n')  # NULL is not an empty text
    assert sheets(tmp_path, two, wanted=TITLES[:1]) == sheets(tmp_path, b"2,,\r\n", wanted=TITLES[:1])
    assert sheets(tmp_path, b"").rows == 0


def test_a_sheet_with_other_titles_has_no_records(tmp_path: Path) -> None:
    found = FileFingerprints(tmp_path).of_sheets([iter([b"Number,Other\r\n1,2\r\n"])], TITLES, TITLES)
    assert found.rows == 0


def test_one_database_makes_all_fingerprints_and_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[duckdb.DuckDBPyConnection] = []
    connect = duckdb.connect

    def counted(**options: Any) -> duckdb.DuckDBPyConnection:
        opened.append(connect(**options))
        return opened[-1]

    monkeypatch.setattr(duckdb, "connect", counted)
    with closing(FileFingerprints(tmp_path)) as fingerprints:
        files = parquet(tmp_path, ROWS)
        assert fingerprints.of_parquet(files, ("id",)) == fingerprints.of_parquet(files, ("id",))
        for _ in range(2):
            content = [csv_header(TITLES), b'1,"a",""\r\n']
            assert fingerprints.of_sheets([iter(content)], TITLES, TITLES).rows == 1
    assert len(opened) == 1
    with pytest.raises(duckdb.ConnectionException):
        opened[0].execute("SELECT 1")
