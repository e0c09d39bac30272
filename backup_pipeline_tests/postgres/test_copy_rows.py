"""The compiled loop of reading against streams that no server should send: rows or a refusal, never a wrong write.

A fake libpq hands out the messages. Under AddressSanitizer (docs/architecture.md) a wrong read or write ends the test.
"""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable, Sequence
from decimal import Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.native import library
from backup_pipeline.postgres import copy_stream
from backup_pipeline.postgres.copy_stream import CopyForm, Expected, Storage

WIDE = Context(prec=40)
END, PAGE, GROW, MALFORMED, UNFIT = -1, 0, 1, 2, 3
HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = b"\xff\xff"
WIDTHS = {
    Storage.BIT: 1,
    Storage.INT16: 2,
    Storage.INT32: 4,
    Storage.INT64: 8,
    Storage.BYTES16: 16,
}
TYPES = {
    Storage.BIT: pa.bool_(),
    Storage.INT16: pa.int16(),
    Storage.INT32: pa.int32(),
    Storage.INT64: pa.int64(),
    Storage.NUMERIC: pa.decimal128(38, 9),
    Storage.BYTES16: pa.binary(16),
    Storage.VARYING: pa.binary(),
}
_GET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int)
_C = ctypes.CDLL(None)
_C.malloc.restype, _C.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]


def read(messages: list[bytes], storages: list[Storage], expected: Expected, enough: int) -> tuple[int, list[pa.Array]]:
    """Why reading stopped, and the pages before."""
    waiting = list(messages)

    @_GET  # type: ignore[untyped-decorator]  # ctypes
    def get_copy_data(connection: int | None, buffer: Callable[..., int], wait: int) -> int:
        if not waiting:
            return END
        message = waiting.pop(0)
        address = _C.malloc(len(message))
        ctypes.memmove(address, message, len(message))
        buffer[0] = address  # type: ignore[index]  # a pointer
        return len(message)

    libpq = copy_stream._Libpq(
        next_message=ctypes.cast(get_copy_data, ctypes.c_void_p).value,
        free_message=ctypes.cast(_C.free, ctypes.c_void_p).value,
    )
    state = copy_stream._State(enough=enough)
    forms = [CopyForm(storage, TYPES[storage], frozenset()) for storage in storages]
    pages: list[pa.Array] = []
    stop = PAGE
    while stop in (PAGE, GROW):
        page = copy_stream._Page(forms, expected)
        state.rows = state.taken = 0
        while stop in (PAGE, GROW) and state.taken < state.enough:
            state.most = page.rows
            stop = library().take_rows(ctypes.byref(libpq), ctypes.byref(state), page.columns, len(page.columns))
            if stop == GROW:
                page.grow(state.column, state.length)
            elif stop == PAGE and state.rows == page.rows:
                page.add_rows()
        if state.rows and forms:
            pages.append(page.batch(state.rows))
    library().forget_row(ctypes.byref(libpq), ctypes.byref(state))
    return stop, pages


def a_field(storage: Storage, chance: random.Random) -> bytes | None:
    """A value as the server sends it, or None for NULL."""
    if chance.random() < 0.2:
        return None
    if storage is Storage.NUMERIC:
        return a_numeric(
            Decimal(chance.randrange(-(10**38) + 1, 10**38) // 10 ** chance.randrange(39)).scaleb(-9, WIDE)
        )
    return chance.randbytes(WIDTHS.get(storage) or chance.choice([0, 1, 5, 100, 3000]))


def a_numeric(value: Decimal) -> bytes:
    """A number as numeric_send of PostgreSQL sends it."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    whole, scale = int("".join(map(str, digits))), max(-exponent, 0)
    whole *= 10 ** max(exponent, 0)
    whole, groups = whole * 10 ** (-scale % 4), list[int]()
    while whole:
        whole, group = divmod(whole, 10_000)
        groups.insert(0, group)
    weight = len(groups) - 1 - -(-scale // 4)
    while groups and not groups[-1]:
        groups.pop()
    return struct.pack(
        f">hhHH{len(groups)}h", len(groups), weight if groups else 0, 0x4000 * sign if groups else 0, scale, *groups
    )


def a_row(fields: Sequence[bytes | None]) -> bytes:
    """A message with one row."""
    parts = (struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field for field in fields)
    return struct.pack(">h", len(fields)) + b"".join(parts)


def spoiled(message: bytes, chance: random.Random) -> bytes:
    """`message` with a byte changed, an end cut off, or something behind it; at least one byte."""
    at = chance.randrange(len(message))
    match chance.randrange(3):
        case 0:
            other = chance.choice([0, 127, 128, 255, chance.randrange(256)])
            return message[:at] + bytes([other]) + message[at + 1 :]
        case 1:
            return message[: max(at, 1)]
        case _:
            return message + chance.randbytes(3)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_is_taken_whole_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        storages = [chance.choice(list(Storage)) for _ in range(chance.randint(1, 6))]
        rows = [[a_field(storage, chance) for storage in storages] for _ in range(chance.randint(1, 40))]
        messages = [a_row(row) for row in rows] + [TRAILER]
        messages[0] = HEADER + messages[0]
        expected = Expected(chance.choice([1, 3, 64]), [chance.choice([1, 64, 4096])] * len(storages))
        enough = chance.choice([1, 1000, 1 << 20])
        stop, pages = read(messages, storages, expected, enough)
        assert stop == END
        assert sum(page.num_rows for page in pages) == len(rows)
        for number, storage in enumerate(storages):
            values = [value for page in pages for value in page.column(number).to_pylist()]
            if storage in (Storage.VARYING, Storage.BYTES16):
                assert values == [row[number] for row in rows]
            if storage is Storage.NUMERIC:
                assert [None if value is None else a_numeric(value) for value in values] == [
                    row[number] for row in rows
                ]
        at = chance.randrange(len(messages))
        messages[at] = spoiled(messages[at], chance)
        assert read(messages, storages, expected, enough)[0] in (END, MALFORMED, UNFIT)


@pytest.mark.parametrize(
    "message",
    [
        b"no header at all, but long enough",
        HEADER[:-1],
        HEADER[:-4] + struct.pack(">i", 1 << 30),
        HEADER + a_row([b"\0" * 8, b"one field too many"]),
        HEADER + a_row([b"\0" * 7]),
        HEADER + struct.pack(">hi", 1, 1 << 30),
        HEADER + struct.pack(">hi", 1, -2),
        HEADER + a_row([b"\0" * 8]) + b"\0",
    ],
)
def test_what_was_not_asked_for_is_refused(message: bytes) -> None:
    assert read([message, TRAILER], [Storage.INT64], Expected.of_any(1), 1000) == (MALFORMED, [])


def one_numeric(message: bytes, precision: int, scale: int) -> tuple[int, list[Decimal | None]]:
    """How a row with this one field ends, and what came of it."""
    TYPES[Storage.NUMERIC], before = pa.decimal128(precision, scale), TYPES[Storage.NUMERIC]
    try:
        stop, pages = read([HEADER + a_row([message]), TRAILER], [Storage.NUMERIC], Expected.of_any(1), 1000)
    finally:
        TYPES[Storage.NUMERIC] = before
    return stop, [value for page in pages for value in page.column(0).to_pylist()]


@given(st.integers(1, 38), st.data())
def test_every_decimal_that_fits_comes_as_it_was_sent(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    whole = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    value = Decimal(whole).scaleb(-scale, WIDE)
    assert one_numeric(a_numeric(value), precision, scale) == (END, [value])


@pytest.mark.parametrize(
    ("field", "precision", "scale"),
    [
        (struct.pack(">hhHH", 0, 0, 0xC000, 0), 5, 2),
        (struct.pack(">hhHH", 0, 0, 0xD000, 0), 5, 2),
        (struct.pack(">hhHH", 0, 0, 0xF000, 0), 5, 2),
        (a_numeric(Decimal("1000.00")), 5, 2),
        (a_numeric(Decimal("1.234")), 5, 2),
        (a_numeric(Decimal("0.00001")), 5, 2),
        (a_numeric(Decimal(10) ** 38), 38, 0),
        (struct.pack(">hhHHh", 1, 32767, 0, 0, 1), 38, 0),
        (struct.pack(">hhHHh", 1, -32768, 0, 0, 1), 38, 38),
    ],
)
def test_a_numeric_that_does_not_fit_is_told_apart_from_nonsense(field: bytes, precision: int, scale: int) -> None:
    assert one_numeric(field, precision, scale) == (UNFIT, [])


@pytest.mark.parametrize(
    "field",
    [
        b"",
        struct.pack(">hhH", 0, 0, 0),
        struct.pack(">hhHH", 1, 0, 0, 0),
        struct.pack(">hhHH", -1, 0, 0, 0),
        struct.pack(">hhHHh", 1, 0, 0x1234, 0, 1),
        struct.pack(">hhHHh", 1, 0, 0, 0, 10_000),
        struct.pack(">hhHHh", 1, 0, 0, 0, -1),
    ],
)
def test_what_is_no_numeric_is_refused(field: bytes) -> None:
    assert one_numeric(field, 38, 0) == (MALFORMED, [])


def test_null_leaves_nothing_of_the_memory_before() -> None:
    rows = [[None] * len(TYPES)] * 1000
    _, pages = read([HEADER + a_row(rows[0]), *map(a_row, rows[1:]), TRAILER], list(TYPES), Expected.of_any(7), 1 << 20)
    for column in pages[0].columns[:-1]:
        assert not any(column.buffers()[1][: 1000 * column.type.bit_width // 8].to_pybytes())
