"""A bundle read by ranges: its members one by one, without fetching the rest of the ZIP."""

from __future__ import annotations

import errno
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.limits import MOST_DIRECTORY, MOST_DOCUMENT, whole

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ReadRange = Callable[[int, int], bytes]
"""Gives the bytes from `start`, `length` of them."""

_READ_AHEAD = 1 << 20
_CHUNK = 1 << 20


class _BeforeStartError(OSError):
    """A place before the first byte: zipfile looks there in archives that are too short, and expects an OSError."""


_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, _BeforeStartError)


class BundleReader:
    """The members of the ZIP of `size` bytes behind `read_range`; VerificationError when it is damaged.

    Errors of `read_range` itself pass through. Streams of several members may be read at the same time.
    """

    def __init__(self, read_range: ReadRange, size: int) -> None:
        ranges = _Ranges(read_range, size, MOST_DIRECTORY + 2 * _READ_AHEAD)
        with _damage("The bundle"):
            self._zip = zipfile.ZipFile(io.BufferedReader(ranges, _READ_AHEAD))
        ranges.most = None
        self._counts = Counter(self._zip.namelist())

    def names(self) -> tuple[str, ...]:
        """The members' paths, in the order of the archive."""
        return tuple(self._zip.namelist())

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a member in chunks; VerificationError, at the latest at its end, when its CRC-32 is wrong."""
        info = self._info(name)
        with _damage(f"Member {name} of the bundle"), self._zip.open(info) as member:
            while chunk := member.read(_CHUNK):
                yield chunk

    def read(self, name: str) -> bytes:
        """A whole member, as `stream` gives it: for the manifest, the schema, the README."""
        return whole(self.stream(name), MOST_DOCUMENT, f"Member {name} of the bundle")

    def _info(self, name: str) -> zipfile.ZipInfo:
        if self._counts[name] > 1:
            message = f"The bundle has {self._counts[name]} members {name}: which one is meant?"
            raise VerificationError(message, do="Restore the bundle from another copy, or use another backup.")
        try:
            return self._zip.getinfo(name)
        except KeyError as error:
            message = f"The bundle has no member {name}."
            raise NotFoundError(message, do=f"It has: {', '.join(self.names())}.") from error


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        message = f"{what} is damaged: {error or type(error).__name__}."
        raise VerificationError(message, do="Restore the bundle from another copy, or use another backup.") from error


class _Ranges(io.RawIOBase):
    """A file made of ranges, as zipfile wants it."""

    def __init__(self, read_range: ReadRange, size: int, most: int | None) -> None:
        """With `most`: no more bytes than that are read, until it is None."""
        super().__init__()
        self.most = most
        self._taken = 0
        self._read_range = read_range
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise _BeforeStartError(errno.EINVAL, f"place {base + offset} lies before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(self._size - self._at, 0))
        self._taken += wanted
        if self.most is not None and self._taken > self.most:
            message = f"its directory has more than the {MOST_DIRECTORY:,} bytes that are read"
            raise zipfile.BadZipFile(message)
        data = self._read_range(self._at, wanted) if wanted else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
