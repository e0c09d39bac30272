"""How much of what somebody else may have written is read: bounds that hold before memory is taken for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backup_pipeline.core.errors import VerificationError

MB = 1 << 20
MOST_DOCUMENT = 64 * MB
"""Bytes of a manifest, a record, an outline: ten thousand tables with twenty columns each take half of it."""
MOST_PARTS = 4_000_000
"""Values of such a document: each takes some room in memory, however short it is."""
MOST_SCHEMA = 64 * MB
"""Bytes of schema.sql that a restore reads; a backup warns of a larger one."""
MOST_TOKENS = 3_000_000
"""Of schema.sql, likewise."""
MOST_NOTE = MB
"""Bytes of a hold, or of what an encrypted bundle tells those without a key."""
MOST_DIRECTORY = 24 * MB
"""Bytes of the directory of a ZIP: some 150,000 members."""
_DO = "Somebody else made it: use another copy, or another backup."


def bounded(chunks: Iterable[bytes], most: int, what: str) -> Iterator[bytes]:
    """`chunks`; VerificationError, naming `what`, as soon as there are more than `most` bytes."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            message = f"{what} has more bytes than the {most:,} that it may have."
            raise VerificationError(message, do=_DO)
        yield chunk


def whole(chunks: Iterable[bytes], most: int, what: str) -> bytes:
    """The bytes of `chunks` together; VerificationError as `bounded` has it."""
    return b"".join(bounded(chunks, most, what))


def check_parts(document: bytes, where: str) -> None:
    """VerificationError when a JSON document is so large, or has so many values, that to read it would take all."""
    whole([document], MOST_DOCUMENT, where)
    parts = sum(document.count(sign) for sign in (b",", b"[", b"{"))
    if parts > MOST_PARTS:
        message = f"{where} has {parts:,} values, more than the {MOST_PARTS:,} that are read."
        raise VerificationError(message, do=_DO)
