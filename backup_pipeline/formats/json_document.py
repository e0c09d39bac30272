r"""A backup as one JSON document: its manifest, and its tables as lists of objects, with exact values.

Numbers that JavaScript would round (bigint, numeric) are strings, always, so that a column has one kind of value;
smallint, integer and finite floats are numbers; NaN and infinities are strings. Times are ISO 8601, with time zone
in UTC; bytea is `\x` and hexadecimal digits; NULL is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from backup_pipeline.formats.cells import bytes_as_text
from backup_pipeline.formats.far_dates import far_texts, is_far
from backup_pipeline.formats.render import TableRows


def json_chunks(manifest: Mapping[str, object], tables: Iterable[TableRows]) -> Iterator[bytes]:
    """The document `{"manifest": {…}, "tables": {"<name>": [{…}, …], …}}` as UTF-8, a row a line."""
    yield f'{{"manifest": {_json(manifest)},\n"tables": {{'.encode()
    for number, table in enumerate(tables):
        yield ((",\n" if number else "\n") + _json(table.name) + ": [").encode()
        comma = "\n"
        for batch in (batch for piece in table.pieces for batch in piece.to_batches(max_chunksize=10_000)):
            yield (comma + ",\n".join(_objects(batch))).encode()
            comma = ",\n"
        yield b"]"
    yield b"\n}}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _objects(batch: pa.RecordBatch) -> Iterator[str]:
    names = batch.schema.names
    for values in zip(*(_values(column) for column in batch.columns), strict=True):
        yield _json(dict(zip(names, values, strict=True)))


def _values(column: pa.Array) -> list[object]:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _iso(column)
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in column.to_pylist()]
    if pa.types.is_int64(kind) or pa.types.is_time(kind):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_floating(kind):
        return [_finite(value) for value in column.to_pylist()]
    return list(bytes_as_text(column).to_pylist())


def _iso(column: pa.Array) -> list[object]:
    far = is_far(column) is not None
    texts = far_texts(column, "UTC", fractions=True) if far else column.cast(pa.string())
    zone = "Z" if pa.types.is_timestamp(column.type) and column.type.tz else ""
    return [None if text is None else text.replace(" ", "T").removesuffix("Z") + zone for text in texts.to_pylist()]


def _finite(value: float | None) -> object:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
