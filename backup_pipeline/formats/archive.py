"""A ZIP as a stream of bytes: members as they lie, deflated here on several cores, or deflated by somebody already.

The format is PKWARE's APPNOTE.TXT 6.3; ZIP64 where sizes, places or the number of members need it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from isal import isal_zlib

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.keys import GZIPPED
from backup_pipeline.core.layout import GZIP_HEAD, Member, gzip_tail
from backup_pipeline.formats.streams import HashingFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

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

    def compress(self, data: ReadableBuffer) -> bytes:
        """Take `data`; what is ready of the stream, often nothing."""
        if not self._rest and isinstance(data, bytes) and len(data) == BLOCK:
            self._begin(data)  # as files are read: nothing to copy
            return self._ready(_WAITING)
        self._rest += data
        while len(self._rest) >= BLOCK:
            self._begin(bytes(self._rest[:BLOCK]))
            del self._rest[:BLOCK]
        return self._ready(_WAITING)

    def flush(self) -> bytes:
        """The rest of the stream, which ends here; one that is a single block is made at once, by who asks."""
        done = self._ready(0) if self._waiting else b""
        rest = _deflated(bytes(self._rest)) if self._rest else b""
        self._rest.clear()
        return done + rest + _compressor().flush()

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


_THREADS = 8


@cache
def deflate_pool() -> Executor:
    """The threads that deflate, as many as there are cores: for the whole process, whose small files wait for none."""
    return ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "deflate")


class GzippedFile(HashingFile):
    """The file `path`, gzipped as `path`.gz: a HashingFile of that, which is given the plain bytes; `plain` is of them.

    Its DEFLATE stream is the one that the ZIP has of such a file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.with_name(path.name + GZIPPED))
        self.name = path.name
        self.plain_bytes = 0
        self.plain_crc32 = 0
        self._plain_sha256 = hashlib.sha256()
        self._deflate = BlockDeflate(deflate_pool())
        super().write(GZIP_HEAD)

    @property
    def plain_sha256(self) -> str:
        """SHA-256 of the plain bytes so far, in hexadecimal."""
        return self._plain_sha256.hexdigest()

    def write(self, data: ReadableBuffer) -> int:
        """Append plain `data`; dropped after `close` or `abort`."""
        if self.closed:
            return memoryview(data).nbytes
        view = memoryview(data).cast("B")
        self.plain_bytes += len(view)
        self.plain_crc32 = isal_zlib.crc32(view, self.plain_crc32)
        self._plain_sha256.update(view)
        super().write(self._deflate.compress(view))
        return len(view)

    def close(self) -> None:
        """Give it its name; without effect on one that is closed."""
        if not self.closed:
            super().write(self._deflate.flush())
            super().write(gzip_tail(self.plain_crc32, self.plain_bytes))
        super().close()


_MODE = stat.S_IFREG | 0o644
_CHUNK = 1 << 20
_FULL_32, _FULL_16 = 0xFFFF_FFFF, 0xFFFF
_STORED, _DEFLATED = 0, 8
_UTF_8, _SIZES_BEHIND = 1 << 11, 1 << 3
_UNIX = 3
_PLAIN, _ZIP64 = 20, 45
"""Versions of the format that a reader must know."""
_LOCAL = Struct("<4s5H3L2H")
_CENTRAL = Struct("<4s4B4H3L5H2L")
_BEHIND, _BEHIND_64 = Struct("<4s3L"), Struct("<4sL2Q")
_END, _END_64, _LOCATOR = Struct("<4s4H2LH"), Struct("<4sQ2H2L4Q"), Struct("<4sLQL")
_TIME = Struct("<2sHBl")
_SIZES = Struct("<2sH2Q")
_PLACE = Struct("<2sH3Q")


def zip_chunks(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of the ZIP, in chunks of at most 1 MiB; the same members give the same bytes.

    VerificationError when a member's bytes are not those that were stated: the archive is then unfinished, and must be
    dropped. `Member.modified` must have a timezone; ZIP shows its wall clock to people.
    """
    return _gathered(_Archive(deflate_pool()).pieces(members))


@dataclass(frozen=True)
class _Listed:
    """A member as the directory lists it."""

    member: Member
    packed: int
    start: int
    flags: int

    @property
    def large(self) -> bool:
        """Whether one of its numbers needs 64 bits."""
        return max(self.member.size, self.packed, self.start) >= _FULL_32


class _Archive:
    """Counts the bytes, which say where each member begins."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._at = 0

    def pieces(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members, each with what stands before and behind it; then the directory."""
        listed: list[_Listed] = []
        for member in members:
            listed += [(yield from self._member(member))]
        start = self._at
        for each in listed:
            yield self._passing(_entry(each))
        yield _end(len(listed), self._at - start, start)

    def _member(self, member: Member) -> Generator[bytes, None, _Listed]:
        if member.modified.tzinfo is None:
            message = f"The time of {member.path} has no timezone: {member.modified}"
            raise ValueError(message)
        known = member.size if member.stored else member.packed
        flags = _UTF_8 if known is not None else _UTF_8 | _SIZES_BEHIND
        # Deflate grows what it can not shrink by up to 1 in 256.
        large = max(member.size + (member.size >> 8), known or 0) >= _FULL_32
        start = self._at
        yield self._passing(_head(member, known, flags, large=large))
        data = self._at
        for chunk in self._deflated(member) if known is None else _as_they_are(member):
            yield self._passing(chunk)
        packed = self._at - data
        if known is None:
            behind = _BEHIND_64 if large else _BEHIND
            yield self._passing(behind.pack(b"PK\x07\x08", member.crc32, packed, member.size))
        return _Listed(member, packed, start, flags)

    def _deflated(self, member: Member) -> Iterator[bytes]:
        deflate = BlockDeflate(self._pool)
        for chunk in _checked(member):
            yield deflate.compress(chunk)
        yield deflate.flush()

    def _passing(self, data: bytes) -> bytes:
        self._at += len(data)
        return data


def _head(member: Member, packed: int | None, flags: int, *, large: bool) -> bytes:
    """The member's local header; the numbers are in it when they are known."""
    name, known = member.path.encode(), packed is not None
    sizes = _SIZES.pack(b"\1\0", 16, member.size if known else 0, packed or 0) if large else b""
    narrow = (_FULL_32, _FULL_32) if large else (packed or 0, member.size if known else 0)
    extra = sizes + _timestamp(member)
    head = _LOCAL.pack(
        b"PK\3\4",
        _ZIP64 if large else _PLAIN,
        flags,
        _STORED if member.stored else _DEFLATED,
        *_wall_clock(member),
        member.crc32 if known else 0,
        *narrow,
        len(name),
        len(extra),
    )
    return head + name + extra


def _entry(listed: _Listed) -> bytes:
    """The member in the directory."""
    member, large = listed.member, listed.large
    name = member.path.encode()
    wide = _PLACE.pack(b"\1\0", 24, member.size, listed.packed, listed.start) if large else b""
    extra = wide + _timestamp(member)
    version = _ZIP64 if large else _PLAIN
    entry = _CENTRAL.pack(
        b"PK\1\2",
        version,
        _UNIX,
        version,
        0,
        listed.flags,
        _STORED if member.stored else _DEFLATED,
        *_wall_clock(member),
        member.crc32,
        *((_FULL_32, _FULL_32) if large else (listed.packed, member.size)),
        len(name),
        len(extra),
        0,
        0,
        0,
        _MODE << 16,
        _FULL_32 if large else listed.start,
    )
    return entry + name + extra


def _end(members: int, directory: int, start: int) -> bytes:
    """What stands behind the directory of so many bytes, which begins at `start`."""
    wide = b""
    if members >= _FULL_16 or directory >= _FULL_32 or start >= _FULL_32:
        rest = (_ZIP64, _ZIP64, 0, 0, members, members, directory, start)
        wide = _END_64.pack(b"PK\6\6", _END_64.size - 12, *rest)
        wide += _LOCATOR.pack(b"PK\6\7", 0, start + directory, 1)
    count = min(members, _FULL_16)
    return wide + _END.pack(b"PK\5\6", 0, 0, count, count, min(directory, _FULL_32), min(start, _FULL_32), 0)


def _timestamp(member: Member) -> bytes:
    """The member's instant, for those who want more than a wall clock without a zone (Info-ZIP's `UT`)."""
    seconds = int(member.modified.timestamp())
    return _TIME.pack(b"UT", 5, 1, seconds) if -(1 << 31) <= seconds < 1 << 31 else b""


def _wall_clock(member: Member) -> tuple[int, int]:
    """Time and date as MS-DOS has them, from 1980 to 2107, in steps of two seconds."""
    at = member.modified
    if not 1980 <= at.year <= 2107:
        return 0, 0x21 if at.year < 1980 else 0xFF9F
    return at.hour << 11 | at.minute << 5 | at.second >> 1, at.year - 1980 << 9 | at.month << 5 | at.day


def _as_they_are(member: Member) -> Iterator[bytes]:
    """The chunks; VerificationError when they are not what was stated."""
    if member.packed is None:
        yield from _checked(member)
        return
    packed = 0
    for chunk in member.chunks:
        packed += len(chunk)
        yield chunk
    if packed != member.packed:
        raise _changed(member, f"{packed:,} packed bytes, where {member.packed:,}")


def _checked(member: Member) -> Iterator[bytes]:
    size, crc32 = 0, 0
    for chunk in member.chunks:
        size += len(chunk)
        crc32 = isal_zlib.crc32(chunk, crc32)
        yield chunk
    if (size, crc32) != (member.size, member.crc32):
        stated = f"where {member.size:,} with {member.crc32:08x}"
        raise _changed(member, f"{size:,} bytes with CRC-32 {crc32:08x}, {stated}")


def _changed(member: Member, difference: str) -> VerificationError:
    message = f"{member.path} changed before it was bundled: {difference} were written."
    return VerificationError(message, do="Export the table again, then make the bundle again.")


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, small ones together, large ones cut."""
    small: list[bytes] = []
    held = 0
    for piece in pieces:
        if held + len(piece) > _CHUNK and small:
            yield b"".join(small)
            small, held = [], 0
        if len(piece) >= _CHUNK:
            yield from (piece[start : start + _CHUNK] for start in range(0, len(piece), _CHUNK))
        else:
            small.append(piece)
            held += len(piece)
    if small:
        yield b"".join(small)
