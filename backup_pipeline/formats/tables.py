"""A table read back from its Parquet files: exact, as Arrow and as a pandas DataFrame."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.manifest import FileEntry, TableEntry
from backup_pipeline.formats.copy_rows import copy_texts
from backup_pipeline.formats.decoder import schema_problems, too_large

if TYPE_CHECKING:
    import pandas as pd

_DO = "Read another date, or a backup's bundle; `backup-pipeline verify` says whether that is sound."


def read_rows(files: Iterable[tuple[FileEntry, bytes]], table: TableEntry, where: str) -> pa.Table:
    """The rows of `files`, one after the other, in the columns and types of `table`; `where` they lie.

    VerificationError when a file is no Parquet, or has other columns, types or numbers of rows than were written.
    """
    parts = [_part(file, data, table, f"{where}{file.name}") for file, data in files]
    count = sum(part.num_rows for part in parts)
    if not parts or count != table.row_count:
        raise _unfit(where, f"holds {len(parts)} files with {count:,} rows; its record says {table.row_count:,}.")
    return pa.concat_tables(parts)


def _part(file: FileEntry, data: bytes, table: TableEntry, where: str) -> pa.Table:
    try:
        if problem := too_large(io.BytesIO(data)):
            raise _unfit(where, problem)
        with pq.ParquetFile(pa.BufferReader(data)) as opened:
            if problem := next(schema_problems(opened.schema_arrow, table.columns), None):
                raise _unfit(where, problem)
            rows = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise _unfit(where, f"can not be decoded: {error}") from error
    if rows.num_rows != file.rows:
        raise _unfit(where, f"holds {rows.num_rows:,} rows; its record says {file.rows:,}.")
    return rows


def _unfit(where: str, problem: str) -> VerificationError:
    return VerificationError(f"{where} {problem}", do=_DO)


_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))


def as_pandas(rows: pa.Table) -> pd.DataFrame:
    """The rows as a DataFrame that loses nothing: every column keeps its Arrow type.

    So integers may be NULL, decimals are `decimal.Decimal`, instants have their zone, and NULL is neither NaN nor an
    empty text. Two kinds of columns come as text: UUIDs, which pandas can not sort, group or join by, and dates or
    times with one of a year that Python has not (after 9999), which could not even be printed. `attrs` are the
    metadata of the schema.
    """
    import pandas as pd  # takes longer to load than most tables to read; who wants Arrow needs none of it

    columns = [_for_pandas(column) for column in rows.columns]
    shown = pa.Table.from_arrays(columns, names=rows.column_names)
    frame: pd.DataFrame = shown.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    frame.attrs = {name.decode(): value.decode() for name, value in (rows.schema.metadata or {}).items()}
    return frame


def _for_pandas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.UuidType) and not any(map(_is_beyond_python, column.chunks)):
        return column
    return pa.chunked_array([pc.cast(copy_texts(chunk), pa.string()) for chunk in column.chunks], pa.string())


def _is_beyond_python(values: pa.Array) -> bool:
    """Whether one of them is a date or time outside the years 1 to 9999."""
    if pa.types.is_timestamp(values.type):
        number, first, last = pa.int64(), _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
    elif pa.types.is_date32(values.type):
        number, first, last = pa.int32(), _FIRST_DAY, _LAST_DAY
    else:
        return False
    limits = pc.min_max(values.view(number))
    return limits["min"].is_valid and not first <= limits["min"].as_py() <= limits["max"].as_py() <= last
