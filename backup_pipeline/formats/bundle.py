"""The bundle as a stream of bytes: one ZIP, made while its members are read, never held in memory or on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from isal import isal_zlib
from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, ZIP_32, ZIP_64, MemberFile, Method, stream_zip

from backup_pipeline.core.bundle import Member
from backup_pipeline.core.errors import VerificationError
from backup_pipeline.formats.deflate import BlockDeflate

if TYPE_CHECKING:
    import zlib

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
