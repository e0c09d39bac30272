"""Arrow columns as the compiled loop wants them, and the lines of CSV that it makes of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa

from backup_pipeline.native.library import library

_LINE_END = 2
_SEPARATOR = 1
_QUOTES = 2


class Form(IntEnum):
    """What a column holds, and how it is printed: `enum form` of csv_rows.c."""

    BOOL = 0
    INTEGER = 1
    DECIMAL = 2
    DATE = 3
    TIME = 4
    TIMESTAMP = 5
    UUID = 6
    TEXT = 7
    BARE = 8


_WIDEST = {
    Form.BOOL: len("false"),
    Form.INTEGER: len(str(-(1 << 63))),
    Form.DECIMAL: 38 + len("-0."),
    Form.DATE: len("-5877641-06-23"),
    Form.TIME: len("23:59:59"),
    Form.TIMESTAMP: len("-292275-05-16 23:59:59"),
    Form.UUID: 36 + _QUOTES,
}


@dataclass(frozen=True)
class Cells:
    """A column, ready to be printed. The array's buffers must suit the form; `width` is that of integers or offsets."""

    form: Form
    array: pa.Array
    width: int = 0
    scale: int = 0

    @property
    def most_bytes(self) -> int:
        """How many bytes its cells can take, NULLs and separators included."""
        # Every byte of a text could be a quote, and would then be doubled.
        most = _WIDEST[self.form] * len(self.array) if self.form in _WIDEST else 2 * self.array.nbytes
        return most + (_SEPARATOR + _QUOTES) * len(self.array)


class _Cells(ctypes.Structure):
    """`struct cells` of csv_rows.c."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("form", "width", "scale", "first", "null_text", "valid", "values", "text")
    ]


def csv_lines(columns: Sequence[Cells], *, null_text: bool) -> pa.Buffer:
    """The lines of these columns, at least one, all of the same length; with `null_text` NULL is `""`."""
    rows = len(columns[0].array)
    out = pa.allocate_buffer(sum(column.most_bytes for column in columns) + _LINE_END * rows, resizable=True)
    table = (_Cells * len(columns))(*(_cells(column, null_text=null_text) for column in columns))
    size = library().write_lines(table, len(columns), rows, out.address)
    return out.slice(0, size)


def _cells(column: Cells, *, null_text: bool) -> _Cells:
    array = column.array
    valid, values, *text = (0 if buffer is None else buffer.address for buffer in array.buffers())
    return _Cells(
        form=column.form,
        width=column.width,
        scale=column.scale,
        first=array.offset,
        null_text=null_text,
        valid=valid if array.null_count else 0,
        values=values,
        text=text[0] if text else 0,
    )
