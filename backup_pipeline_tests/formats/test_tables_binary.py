"""Rows for a binary COPY: PostgreSQL itself reads them back as the values they were, at every limit and offset."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_pipeline.core.restore.columns import COPY_HEADER, COPY_TRAILER, goes_binary
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.tables import binary_rows
from backup_pipeline_tests.postgres.test_copy_rows import a_numeric

WIDE = Context(prec=40)
VALUES: list[tuple[str, pa.DataType, list[object]]] = [
    ("boolean", pa.bool_(), [True, None, False, True, True, False, None, True, False, True]),
    ("smallint", pa.int16(), [-(2**15), None, 2**15 - 1]),
    ("integer", pa.int32(), [-(2**31), None, 2**31 - 1]),
    ("bigint", pa.int64(), [-(2**63), None, 2**63 - 1]),
    ("real", pa.float32(), [0.5, None, float("-inf"), -0.0]),
    ("double precision", pa.float64(), [0.1, None, 5e-324, float("inf"), -0.0]),
    ("numeric(12,2)", pa.decimal128(12, 2), [Decimal("-0.01"), None, Decimal("9999999999.90"), Decimal("0.00")]),
    ("text", pa.string(), ["", None, "a\r\n\t\\N", "নমস্কার", "x" * 100_000]),
    ("character varying(9)", pa.string(), ["", None, "৯ chars"]),
    ("character(4)", pa.string(), ["ab  ", None, "abcd"]),
    ("json", pa.string(), ['{"a": 1}', None, "null"]),
    ("jsonb", pa.string(), ['{"a": 1}', None, "null", '"text"']),
    ("bytea", pa.binary(), [b"", None, b"\x00\xff,\n"]),
    ("date", pa.date32(), [date(1, 1, 1), None, date(2000, 1, 1), date(9999, 12, 31)]),
    ("time without time zone", pa.time64("us"), [time(0), None, time(23, 59, 59, 999999)]),
    ("timestamp without time zone", pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 1), None]),  # noqa: DTZ001
    ("timestamp with time zone", pa.timestamp("us", "UTC"), [datetime(2026, 11, 21, 3, 4, 5, 6, UTC), None]),
]


def came_back(server: EmbeddedPostgres, pg_type: str, column: pa.Array) -> list[tuple[int, object]]:
    """The rows of a table with a number and `column`, as PostgreSQL shows them in text, after a binary COPY."""
    rows = pa.RecordBatch.from_arrays([pa.array(range(len(column)), pa.int32()), column], names=["n", "v"])
    with psycopg.connect(server.url("postgres")) as session:
        session.execute(f"SET TimeZone = 'UTC'; CREATE TEMPORARY TABLE t (n int, v {pg_type}, w {pg_type})")
        with session.cursor().copy("COPY t (n, v) FROM STDIN (FORMAT binary)") as copy:
            copy.write(COPY_HEADER)
            copy.write(binary_rows(rows, ["integer", pg_type]))
            copy.write(COPY_TRAILER)
        shown = "v::text" if pg_type.startswith("json") else "v"
        return session.execute(f"SELECT n, {shown} FROM t ORDER BY n").fetchall()


@pytest.mark.parametrize(("pg_type", "arrow", "values"), VALUES, ids=[pg_type for pg_type, _, _ in VALUES])
def test_postgresql_reads_the_very_values(
    postgres_server: EmbeddedPostgres, pg_type: str, arrow: pa.DataType, values: list[object]
) -> None:
    assert goes_binary(str(arrow), pg_type)
    column = pa.array(values, arrow)
    for start in range(min(3, len(values))):
        part = column.slice(start)  # a part shares its buffers, and begins elsewhere
        assert came_back(postgres_server, pg_type, part) == list(enumerate(values[start:]))


def test_uuids(postgres_server: EmbeddedPostgres) -> None:
    known = [uuid.UUID(int=7), None, uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")]
    storage = pa.array([None if value is None else value.bytes for value in known], pa.binary(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    assert [value for _, value in came_back(postgres_server, "uuid", column)] == known


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 38), st.data())
def test_every_decimal_is_written_as_the_server_writes_it(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    wholes = data.draw(st.lists(st.integers(-(10**precision) + 1, 10**precision - 1), min_size=1, max_size=5))
    values = [Decimal(whole).scaleb(-scale, WIDE) for whole in wholes]
    rows = pa.RecordBatch.from_arrays([pa.array(values, pa.decimal128(precision, scale))], names=["v"])
    assert binary_rows(rows, [f"numeric({precision},{scale})"]) == b"".join(
        struct.pack(">hi", 1, len(field)) + field for field in _fields(values, scale)
    )


def _fields(values: Sequence[Decimal], scale: int) -> list[bytes]:
    """The server states the column's scale, also where the digits end before."""
    fields = (a_numeric(value) for value in values)
    return [field[:6] + struct.pack(">h", scale) + field[8:] for field in fields]


@pytest.mark.parametrize(
    ("arrow", "pg_type"),
    [("int32", "bigint"), ("string", "inet"), ("string", "text[]"), ("string", "mood"), ("int64", "oid"),
     ("string", "numeric"), ("decimal128(5, 2)", "money"), ("string", "name"), ("uuid", "text")],
)  # fmt: skip
def test_what_has_another_form_in_the_target_goes_as_text(arrow: str, pg_type: str) -> None:
    assert not goes_binary(arrow, pg_type)


def test_no_rows_and_no_columns() -> None:
    empty = pa.RecordBatch.from_arrays([pa.array([], pa.string())], names=["v"])
    assert binary_rows(empty, ["text"]) == b""
