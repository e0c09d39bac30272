"""Which Arrow type holds every value of a PostgreSQL type; text in PostgreSQL's own output form where none does.

Source: the ranges in PostgreSQL's manual, chapter "Data Types", against those of Arrow's columnar format.
"""

from __future__ import annotations

from backup_pipeline.core.relations import Column

TEXT = "string"

_NATIVE = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "oid": "int64",
    "float4": "float",
    "float8": "double",
    "text": TEXT,
    "varchar": TEXT,
    "bpchar": TEXT,
    "name": TEXT,
    "bytea": "binary",
    "uuid": "uuid",
    "date": "date32[day]",
    "time": "time64[us]",
    "timestamp": "timestamp[us]",
    "timestamptz": "timestamp[us, tz=UTC]",
}
_MAX_DECIMAL128_DIGITS = 38


def arrow_type_of(column: Column) -> str:
    """The Arrow type of a column, as pyarrow prints it (`uuid` for the canonical extension type)."""
    if not column.builtin:
        return TEXT
    if column.base_type == "numeric":
        return _decimal(column.precision, column.scale)
    return _NATIVE.get(column.base_type, TEXT)


def _decimal(precision: int | None, scale: int | None) -> str:
    if precision is None or scale is None or precision > _MAX_DECIMAL128_DIGITS or not 0 <= scale <= precision:
        return TEXT
    return f"decimal128({precision}, {scale})"
