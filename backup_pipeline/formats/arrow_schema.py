"""The Arrow schema of a table's Parquet files: the plan's types, with PostgreSQL's own in the fields' metadata."""

from __future__ import annotations

import json
import re

import pyarrow as pa

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import FORMAT_VERSION
from backup_pipeline.core.plans import PlannedColumn, TablePlan

_TYPES: dict[str, pa.DataType] = {
    str(t): t
    for t in (
        pa.bool_(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.string(),
        pa.binary(),
        pa.date32(),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    )
} | {"uuid": pa.uuid()}
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")


def arrow_type(name: str) -> pa.DataType:
    """The type that `core.arrow_types` calls `name`; ValueError for a name it does not know."""
    if match := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(match[1]), int(match[2]))
    if name not in _TYPES:
        message = f"{name!r} is no Arrow type of a backup. There are: {', '.join(_TYPES)}, decimal128(p, s)."
        raise ValueError(message)
    return _TYPES[name]


def arrow_schema(plan: TablePlan) -> pa.Schema:
    """The schema of the plan's Parquet files.

    Each field's metadata has `pg_type`; the schema's has `relation`, `key` (a JSON list of names, empty without a
    key) and `format_version`. BackupError for a table without columns: Parquet can not hold rows of nothing.
    """
    if not plan.columns:
        message = f"Table {plan.name} has no columns to export."
        raise BackupError(message, do="Exclude it in the catalog, with that as the reason.")
    metadata = {
        "relation": plan.relation.full_name,
        "key": json.dumps(list(plan.key), ensure_ascii=False),
        "format_version": FORMAT_VERSION,
    }
    return pa.schema([_field(column) for column in plan.columns], metadata)


def _field(planned: PlannedColumn) -> pa.Field:
    column = planned.column
    return pa.field(column.name, arrow_type(planned.arrow_type), column.nullable, {"pg_type": column.pg_type})
