"""Rows of a query as Arrow batches: `COPY (…) TO STDOUT (FORMAT binary)` of psycopg's connection, into columns."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.pq import ConnStatus, ExecStatus

from backup_pipeline.core.errors import SourceError
from backup_pipeline.native import library
from backup_pipeline.postgres.connection import connection_address, function_address

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult


_FIRST_ROWS = 1024
_FIRST_BYTES = 64 << 10
_MARGIN = 1.1
_PADDING = 64
_MOST_BYTES = (1 << 31) - 1


class Storage(IntEnum):
    """How a column's values travel and lie: `enum kind` of copy_rows.c."""

    BIT = 0
    INT16 = 1
    INT32 = 2
    INT64 = 3
    NUMERIC = 4
    BYTES16 = 5
    VARYING = 6

    @property
    def bits(self) -> int:
        """The bits of a value in Arrow; of a varying one those of its end."""
        return (1, 16, 32, 64, 128, 128, 32)[self]


class _Stop(IntEnum):
    """`enum stop` of copy_rows.c."""

    FAILED = -2
    END = -1
    PAGE = 0
    GROW = 1
    MALFORMED = 2
    UNFIT = 3


class UnfitValueError(Exception):
    """A value of column `number` that its form can not hold, such as NaN among decimals."""

    def __init__(self, number: int) -> None:
        super().__init__(f"column {number}")
        self.number = number


class _Column(ctypes.Structure):
    """`struct column` of copy_rows.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("kind", "shift", "valid", "values", "bytes", "room")]


class _State(ctypes.Structure):
    """`struct state` of copy_rows.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("message", "length", "started", "rows", "most", "taken", "enough", "column", "received")
    ]


class _Libpq(ctypes.Structure):
    """`struct libpq` of copy_rows.c."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("next_message", "consume_input", "free_message", "connection", "socket")
    ]


@dataclass(frozen=True)
class CopyForm:
    """A column as it comes: `type` is Arrow's for what is stored; `shift` is added to each integer.

    `pg_types` are the names of PostgreSQL's types that come like this. A numeric is of a decimal type, without a shift.
    """

    storage: Storage
    type: pa.DataType
    pg_types: frozenset[str]
    shift: int = 0


@dataclass
class Expected:
    """How large the next page will be, judged by the last one: its rows, and the bytes of each varying column."""

    rows: int
    bytes: list[int]

    @classmethod
    def of_any(cls, columns: int) -> Expected:
        """What is expected when nothing is known yet."""
        return cls(_FIRST_ROWS, [_FIRST_BYTES] * columns)

    def learn(self, rows: int, used: Sequence[int]) -> None:
        """Expect a page like the one that used this, or a little larger."""
        self.rows = max(int(rows * _MARGIN), _FIRST_ROWS)
        self.bytes = [min(max(int(size * _MARGIN), _FIRST_BYTES), _MOST_BYTES) for size in used]


class CopyStream:
    """The rows of `sql`, whose columns must come in `forms`, in batches of about `batch_bytes` on the wire.

    Needs the connection to itself until it is exhausted; one that is left earlier can only be closed. Raises psycopg's
    errors as they are, SourceError when the server sends other columns than were asked for, and UnfitValueError.
    `expected` learns from each batch, for the next one and the next stream.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        sql: str,
        forms: Sequence[CopyForm],
        batch_bytes: int,
        expected: Expected | None = None,
    ) -> None:
        self._connection = connection.pgconn
        self._forms = forms
        self._expected = expected or Expected.of_any(len(forms))
        self._state = _State(enough=batch_bytes)
        self._ended = False
        result = self._connection.exec_(f"COPY ({sql}) TO STDOUT (FORMAT binary)".encode())
        if result.status != ExecStatus.COPY_OUT:
            raise _failure(self._connection, result)
        functions = (function_address(name) for name in ("PQgetCopyData", "PQconsumeInput", "PQfreemem"))
        self._libpq = _Libpq(*functions, connection_address(connection), self._connection.socket)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches, none of them empty."""
        try:
            while not self._ended:
                page = _Page(self._forms, self._expected)
                self._fill(page)
                if rows := self._state.rows:
                    self._expected.learn(rows, page.used(rows))
                    yield page.batch(rows)
        finally:
            library().forget_row(ctypes.byref(self._libpq), ctypes.byref(self._state))

    def _fill(self, page: _Page) -> None:
        """Store rows until the page is full, or there are no more."""
        state = self._state
        state.rows = state.taken = 0
        while state.taken < state.enough and not self._ended:
            stop = self._take_rows(page)
            if stop == _Stop.PAGE and state.rows == page.rows:
                page.add_rows()
            elif stop == _Stop.GROW:
                if state.rows and state.length > state.enough:
                    return  # a giant among the rows gets a page of its own
                page.grow(state.column, state.length)
            elif stop == _Stop.UNFIT:
                raise UnfitValueError(state.column)
            elif stop == _Stop.MALFORMED:
                message = "The server sent columns in another form than they were asked for."
                raise SourceError(message, do="The table's definition was changed while it was read: run it again.")
            elif stop != _Stop.PAGE:
                self._end()

    def _take_rows(self, page: _Page) -> int:
        self._state.most = page.rows
        columns = page.columns
        stop: int = library().take_rows(ctypes.byref(self._libpq), ctypes.byref(self._state), columns, len(columns))
        return stop

    def _end(self) -> None:
        """Ask how the query ended: a failure in its midst comes here."""
        self._ended = True
        connection = self._connection
        failed: psycopg.Error | None = None
        while result := connection.get_result():
            if result.status != ExecStatus.COMMAND_OK:
                failed = failed or _failure(connection, result)
        if failed:
            raise failed
        if connection.status == ConnStatus.BAD:
            raise psycopg.OperationalError(connection.get_error_message())


class _Page:
    """The buffers of one page; the kernel writes into them by address."""

    def __init__(self, forms: Sequence[CopyForm], expected: Expected) -> None:
        self.rows = rows = expected.rows
        self.columns = (_Column * len(forms))()
        self._forms = forms
        self._valid = [_buffer(_bytes_of(rows, 1)) for _ in forms]
        self._values = [_buffer(_bytes_of(rows, form.storage.bits)) for form in forms]
        varying = [form.storage is Storage.VARYING for form in forms]
        self._bytes = [_buffer(room) if is_so else None for room, is_so in zip(expected.bytes, varying, strict=True)]
        for number, form in enumerate(forms):
            if varying[number]:
                np.frombuffer(self._values[number], np.int32, 1)[0] = 0
            self._point(number, form)

    def add_rows(self) -> None:
        """Give every column room for four times as many rows."""
        self.rows *= 4
        for number, form in enumerate(self._forms):
            self._valid[number].resize(_bytes_of(self.rows, 1))
            self._values[number].resize(_bytes_of(self.rows, form.storage.bits))
            self._point(number, form)

    def grow(self, number: int, needed: int) -> None:
        """Give column `number`, a varying one, room for `needed` bytes more than it holds now."""
        if (buffer := self._bytes[number]) is None:
            return
        room = min(buffer.size * 2 + needed, _MOST_BYTES)
        if room == buffer.size:
            message = f"The texts of one page are larger than {_MOST_BYTES:,} bytes."
            raise SourceError(message, do="Set a smaller page size.")
        buffer.resize(room)
        self._point(number, self._forms[number])

    def used(self, rows: int) -> list[int]:
        """The bytes of each column's values, without the fixed part."""
        return [0 if data is None else self._end(n, rows) for n, data in enumerate(self._bytes)]

    def batch(self, rows: int) -> pa.RecordBatch:
        """The first `rows` rows, without copying."""
        arrays = [self._array(number, form, rows) for number, form in enumerate(self._forms)]
        return pa.RecordBatch.from_arrays(arrays, [f"c{number}" for number in range(len(arrays))])

    def _array(self, number: int, form: CopyForm, rows: int) -> pa.Array:
        buffers = [self._valid[number], self._values[number]]
        if (data := self._bytes[number]) is not None:
            buffers.append(data.slice(0, self._end(number, rows)))
        array = pa.Array.from_buffers(form.type, rows, buffers)
        # A bitmap that says nothing would only cost.
        return array if array.null_count else pa.Array.from_buffers(form.type, rows, [None, *buffers[1:]], 0)

    def _end(self, number: int, rows: int) -> int:
        return int(np.frombuffer(self._values[number], np.int32, rows + 1)[rows])

    def _point(self, number: int, form: CopyForm) -> None:
        data = self._bytes[number]
        where = (0, 0) if data is None else (data.address, data.size)
        shift = form.shift
        if form.storage is Storage.NUMERIC:
            shift, where = form.type.scale, (0, form.type.precision)
        valid, values = self._valid[number].address, self._values[number].address
        self.columns[number] = _Column(form.storage, shift, valid, values, *where)


def _bytes_of(rows: int, bits: int) -> int:
    """Padded as Arrow recommends, for one row more than there are: the last end of a varying column is one too many."""
    return ((rows + 1) * bits // 8 // _PADDING + 1) * _PADDING


def _buffer(size: int) -> pa.Buffer:
    """From Arrow's own pool, which gives memory back sooner than the C library does."""
    return pa.allocate_buffer(size, resizable=True)


def _failure(connection: PGconn, result: PGresult) -> psycopg.Error:
    """What `result` says; what has no error code, the server never said: then the connection is gone, or of no use."""
    failed = psycopg.errors.error_from_result(result)
    lost = not failed.sqlstate and (connection.status == ConnStatus.BAD or not failed.diag.message_primary)
    return psycopg.OperationalError(connection.get_error_message()) if lost else failed
