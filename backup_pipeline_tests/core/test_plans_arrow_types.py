"""Tests of which Arrow type holds every value of a PostgreSQL type."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from backup_pipeline.core.plans import _NATIVE, arrow_type_of
from backup_pipeline_tests.core.values import column


@pytest.mark.parametrize(
    ("base_type", "arrow"),
    [
        ("int2", "int16"),
        ("int8", "int64"),
        ("oid", "int64"),
        ("float4", "float"),
        ("bool", "bool"),
        ("uuid", "uuid"),
        ("date", "date32[day]"),
        ("time", "time64[us]"),
        ("timestamp", "timestamp[us]"),
        ("timestamptz", "timestamp[us, tz=UTC]"),
        ("bytea", "binary"),
        ("bpchar", "string"),
    ],
)
def test_native_types_keep_every_value(base_type: str, arrow: str) -> None:
    assert arrow_type_of(column("c", base_type)) == arrow


@pytest.mark.parametrize(
    "base_type",
    [
        "interval",
        "timetz",
        "money",
        "inet",
        "int4range",
        "jsonb",
        "json",
        "xml",
        "bit",
        "tsvector",
        "pg_lsn",
        "numeric",
    ],
)
def test_what_arrow_can_not_hold_exactly_is_text(base_type: str) -> None:
    assert arrow_type_of(column("c", base_type)) == "string"


@pytest.mark.parametrize(
    ("precision", "scale", "arrow"),
    [
        (12, 2, "decimal128(12, 2)"),
        (38, 0, "decimal128(38, 0)"),
        (38, 38, "decimal128(38, 38)"),
        (1, 0, "decimal128(1, 0)"),
        (39, 0, "string"),
        (5, -2, "string"),  # numeric(5,-2): hundreds
        (2, 4, "string"),  # numeric(2,4): 0.00xx
        (None, None, "string"),
        (12, None, "string"),
    ],
)
def test_numeric_is_decimal_up_to_38_digits(precision: int | None, scale: int | None, arrow: str) -> None:
    assert arrow_type_of(column("c", "numeric", precision=precision, scale=scale)) == arrow


def test_an_enum_or_array_that_shares_a_builtin_name_is_text() -> None:
    assert arrow_type_of(replace(column("c", "int4"), builtin=False)) == "string"


def test_every_name_is_what_pyarrow_prints() -> None:
    printed = {
        str(t)
        for t in (
            *(pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.binary()),
            *(pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC")),
        )
    }
    assert set(_NATIVE.values()) - {"uuid"} <= printed
    assert str(pa.decimal128(12, 2)) == arrow_type_of(column("c", "numeric", precision=12, scale=2))
