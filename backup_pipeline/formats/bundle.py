"""The bundle as a stream of bytes: one ZIP, made while its members are read, never held in memory or on disk."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from isal import isal_zlib
from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, ZIP_32, ZIP_64, MemberFile, Method, stream_zip

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.layout import Member
from backup_pipeline.core.names import MOST_DIRECTORY, MOST_DOCUMENT, whole

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


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


_MODE = stat.S_IFREG | 0o644
_CHUNK = 1 << 20
_THREADS = 8
_ZIP32_BYTES = 0xFFFF_FFFF - (64 << 20)
"""Where ZIP64 begins: below the format's limit by more than a directory of 65,535 members takes."""
_ZIP32_MEMBERS = 0xFFFF
_OVERHEAD = 1 << 10
"""More than the headers of a member take besides its path, which stands in the archive twice."""


def bundle_chunks(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of the ZIP, in chunks of at most 1 MiB; the same members give the same bytes.

    ZIP64 where sizes, places or the number of members need it. VerificationError when a member's bytes are not those
    that were stated: the archive is then unfinished, and must be dropped. `Member.modified` must have a timezone; ZIP
    shows its wall clock to people.
    """
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "deflate") as pool:

        def compressor() -> zlib._Compress:
            return cast("zlib._Compress", BlockDeflate(pool))

        yield from stream_zip(_files(members), chunk_size=_CHUNK, get_compressobj=compressor)


def _files(members: Iterable[Member]) -> Iterator[MemberFile]:
    end = 0
    for number, member in enumerate(members, start=1):
        if member.modified.tzinfo is None:
            message = f"The time of {member.path} has no timezone: {member.modified}"
            raise ValueError(message)
        end += _at_most(member)
        large = end > _ZIP32_BYTES or number >= _ZIP32_MEMBERS
        yield member.path, member.modified, _MODE, _method(member, large=large), _checked(member)


def _at_most(member: Member) -> int:
    """More bytes than the member can take in the archive: deflate grows what it can not shrink by up to 1 in 256."""
    data = member.size if member.stored else member.size + (member.size >> 8)
    return data + 2 * len(member.path.encode()) + _OVERHEAD


def _method(member: Member, *, large: bool) -> Method:
    if member.stored:
        return (NO_COMPRESSION_64 if large else NO_COMPRESSION_32)(member.size, member.crc32)
    return ZIP_64 if large else ZIP_32


def _checked(member: Member) -> Iterator[bytes]:
    size, crc32 = 0, 0
    for chunk in member.chunks:
        size += len(chunk)
        crc32 = isal_zlib.crc32(chunk, crc32)
        yield chunk
    if (size, crc32) != (member.size, member.crc32):
        message = (
            f"{member.path} changed before it was bundled: {size:,} bytes with CRC-32 {crc32:08x}, "
            f"where {member.size:,} with {member.crc32:08x} were written."
        )
        raise VerificationError(message, do="Export the table again, then make the bundle again.")


ReadRange = Callable[[int, int], bytes]
"""Gives the bytes from `start`, `length` of them."""

_READ_AHEAD = 1 << 20


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
