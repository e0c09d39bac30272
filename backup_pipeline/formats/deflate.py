"""DEFLATE on several cores: blocks are compressed side by side into one stream, as pigz does."""

from __future__ import annotations

import zlib
from collections import deque
from concurrent.futures import Executor, Future

from isal import isal_zlib

BLOCK = 1 << 20
"""Bytes of a block. Each begins with an empty window: at this size that costs less than a thousandth."""

_WAITING = 8
"""Blocks that may be compressed or wait at once: what bounds the memory."""


class BlockDeflate:
    """A compressor with the methods of zlib's, whose work is done in `pool`.

    The same bytes give the same stream, however they are cut when they come and however many threads there are.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._rest = bytearray()
        self._waiting: deque[Future[bytes]] = deque()

    def compress(self, data: bytes) -> bytes:
        """Take `data`; what is ready of the stream, often nothing."""
        self._rest += data
        while len(self._rest) >= BLOCK:
            self._begin(bytes(self._rest[:BLOCK]))
            del self._rest[:BLOCK]
        return self._ready(_WAITING)

    def flush(self) -> bytes:
        """The rest of the stream, which ends here."""
        if self._rest:
            self._begin(bytes(self._rest))
        return self._ready(0) + _compressor().flush()

    def _begin(self, block: bytes) -> None:
        self._waiting.append(self._pool.submit(_deflated, block))

    def _ready(self, waiting: int) -> bytes:
        """What is done at the head of the queue, waiting until at most `waiting` blocks are left in it."""
        done = []
        while self._waiting and (len(self._waiting) > waiting or self._waiting[0].done()):
            done.append(self._waiting.popleft().result())
        return b"".join(done)


def _deflated(block: bytes) -> bytes:
    """The block as whole bytes of a stream that goes on."""
    compressor = _compressor()
    return compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _compressor() -> isal_zlib.Compress:
    return isal_zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
