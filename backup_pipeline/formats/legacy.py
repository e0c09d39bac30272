"""Rows of a JSON document of an earlier program, typed as the live table's plan says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

import pyarrow as pa

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats.parquet import arrow_type


def typed_rows(rows: Sequence[Mapping[str, object]], plan: TablePlan, names: Mapping[str, str]) -> pa.Table:
    """The rows as a page of `plan`; `names` are the keys of its columns in the document.

    What a row has not is NULL. VerificationError, naming the column, for a value that is none of its type.
    """
    arrays: dict[str, pa.Array] = {}
    for column in plan.columns:
        values = [_text(row.get(names[column.name])) for row in rows]
        wanted = arrow_type(column.arrow_type)
        try:
            arrays[column.name] = _typed(values, wanted)
        except ValueError as error:  # Arrow's own are such, too
            message = f"Column {column.name} of {plan.name} has a value that is no {column.column.pg_type}: {error}"
            raise VerificationError(message, do="The file does not fit the table as it is now.") from error
    return pa.table(arrays)


def _typed(values: Sequence[str | None], wanted: pa.DataType) -> pa.Array:
    if wanted == pa.uuid():
        storage = pa.array([None if value is None else UUID(value).bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(wanted, storage)
    if pa.types.is_binary(wanted):  # a bytea, as PostgreSQL writes it
        return pa.array(
            [None if value is None else bytes.fromhex(value.removeprefix("\\x")) for value in values], wanted
        )
    return pa.array(values, pa.string()).cast(wanted)


def _text(value: object) -> str | None:
    """A value of the document as PostgreSQL writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
