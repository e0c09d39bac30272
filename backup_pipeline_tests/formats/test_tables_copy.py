"""Tests of the CSV for COPY: what PostgreSQL would read as something else is written so that it does not."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.formats.tables import copy_rows, csv_of

VALUES: list[tuple[pa.DataType, list[object], list[str]]] = [
    (pa.string(), ["", None, 'a"b', "a\r\nb", "\\.", ",", "NULL"],
     ['""', "", '"a""b"', '"a\r\nb"', '"\\."', '","', '"NULL"']),
    (pa.binary(), [b"", None, b"\x00\xff,\n"], ['"\\x"', "", '"\\x00ff2c0a"']),
    (pa.bool_(), [True, None, False], ["true", "", "false"]),
    (pa.int64(), [-(2**63), None, 2**63 - 1], [str(-(2**63)), "", str(2**63 - 1)]),
    (pa.float64(), [0.1, None, 5e-324, float("inf")], ["0.1", "", "5e-324", "inf"]),
    (pa.decimal128(12, 2), [Decimal("-0.01"), None, Decimal("9999999999.90")], ["-0.01", "", "9999999999.90"]),
    (pa.date32(), [date(1, 1, 1), None, date(9999, 12, 31)], ["0001-01-01", "", "9999-12-31"]),
    (pa.time64("us"), [time(0), None, time(23, 59, 59, 999999)], ["00:00:00.000000", "", "23:59:59.999999"]),
    (pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 1), None],  # noqa: DTZ001  a time without a zone is meant
     ["1969-12-31 23:59:59.000001", ""]),
    (pa.timestamp("us", "UTC"), [datetime(2026, 11, 21, tzinfo=UTC), None], ['"2026-11-21 00:00:00.000000+00"', ""]),
]  # fmt: skip
NAMES = [str(kind) for kind, _, _ in VALUES]


def batch(kind: pa.DataType, values: list[object]) -> pa.RecordBatch:
    """The values beside a number, so that a line is never empty."""
    return pa.RecordBatch.from_arrays([pa.array(range(len(values))), pa.array(values, kind)], names=["n", "v"])


@pytest.mark.parametrize(("kind", "values", "cells"), VALUES, ids=NAMES)
def test_each_type_in_the_form_that_postgresql_reads(kind: pa.DataType, values: list[object], cells: list[str]) -> None:
    expected = [f"{n},{cell}\n" for n, cell in enumerate(cells)]
    assert csv_of(batch(kind, values)).decode() == "".join(expected)
    # A part of a batch, which shares its buffers, begins elsewhere.
    assert csv_of(batch(kind, values).slice(1)).decode() == "".join(expected[1:])
    assert csv_of(batch(kind, values).slice(0, 0)) == b""


def test_uuids_are_canonical() -> None:
    known = [uuid.UUID(int=7), None, uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")]
    storage = pa.array([None if value is None else value.bytes for value in known], pa.binary(16))
    rows = pa.RecordBatch.from_arrays([pa.ExtensionArray.from_storage(pa.uuid(), storage)], names=["u"])
    lines = csv_of(rows).decode().split("\n")[:-1]
    assert lines == [f'"{value}"' if value else "" for value in known]
    assert csv_of(rows.slice(2)).decode() == f'"{known[2]}"\n'


def test_large_values_are_all_there(tmp_path: Path) -> None:
    rows = pa.table({"b": pa.array([b"\x01" * 100_000] * 300)})
    pq.write_table(rows, tmp_path / "f.parquet")
    total = sum(len(chunk) for chunk in copy_rows(tmp_path / "f.parquet", ["b"]))
    assert total == 300 * (2 + 2 + 200_000 + 1)


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None], "c": [3, 4]}), tmp_path / "f.parquet")
    assert b"".join(copy_rows(tmp_path / "f.parquet", ["c", "b"])) == b'3,"x"\n4,\n'


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(VerificationError, match=r"f\.parquet can not be read as Parquet"):
        list(copy_rows(path, ["a"]))
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(VerificationError, match="can not be read as Parquet"):
        list(copy_rows(path, ["missing"]))
