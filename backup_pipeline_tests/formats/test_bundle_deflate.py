"""DEFLATE in blocks: one stream that zlib reads, whatever way it came and however many threads made it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.formats.archive import BLOCK, BlockDeflate


def _stream(data: bytes, cuts: Iterator[int], threads: int) -> bytes:
    with ThreadPoolExecutor(threads) as pool:
        deflate = BlockDeflate(pool)
        made, start = b"", 0
        while start < len(data):
            end = start + next(cuts)
            made += deflate.compress(data[start:end])
            start = end
        return made + deflate.flush()


def _every(size: int) -> Iterator[int]:
    while True:
        yield size


def _lines(size: int) -> bytes:
    numbers = random.Random(7)  # repeatable
    return b"".join(b"%d,Dhaka,%d\r\n" % (row, numbers.randrange(10**9)) for row in range(size // 20))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17])
def test_zlib_reads_what_was_written(size: int) -> None:
    data = (_lines(size + 100) * 3)[:size]
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    assert reader.decompress(_stream(data, _every(BLOCK), 2)) == data
    assert reader.eof
    assert reader.unused_data == b""


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 2 * BLOCK), min_size=1, max_size=5), st.integers(1, 4))
def test_the_stream_depends_on_the_bytes_alone(cuts: list[int], threads: int) -> None:
    data = _lines(3 * BLOCK)
    assert _stream(data, iter([*cuts, len(data)]), threads) == _stream(data, _every(len(data)), 1)


def test_blocks_cost_next_to_nothing() -> None:
    data = _lines(8 * BLOCK)
    whole = len(_stream(data, _every(BLOCK), 2))
    assert whole < 1.01 * len(zlib.compress(data, 1))


def test_what_goes_wrong_in_a_thread_comes_out() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        BlockDeflate(pool).compress(bytes(BLOCK))
