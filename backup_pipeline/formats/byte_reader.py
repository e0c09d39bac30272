"""A stream of chunks, read by so many bytes as are wanted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class ByteReader(io.RawIOBase):
    """The bytes of `chunks` as a file that is read from its beginning to its end; holds one chunk at a time."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As many of the next bytes as are at hand and fit; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not self._held and len(view):
            self._held = memoryview(next((chunk for chunk in self._chunks if chunk), b""))
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        parts = bytearray()
        while len(parts) < count and (part := self.read(count - len(parts))):
            parts += part
        return bytes(parts)

    def at_end(self) -> bool:
        """Whether nothing is left. Reads a byte to know: ask last."""
        return not self.exactly(1)
