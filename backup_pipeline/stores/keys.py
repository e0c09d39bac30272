"""What every store asks of a key, a prefix and a range, so that an object can move from any store to any other."""

from __future__ import annotations

from backup_pipeline.core.errors import RefusedError, StoreError
from backup_pipeline.core.names import MOST_DOCUMENT

STAGING = ".partial"
"""The first segment that no key may have: a directory store keeps its unfinished files there."""

MOST_KEY_BYTES = 1024  # Amazon S3's limit of a key
MOST_SEGMENT_BYTES = 255  # the limit of a file name nearly everywhere


def check_key(key: str) -> str:
    """`key` as it is, if every store can hold it; else a StoreError that says what is wrong with it."""
    fault = _fault(key) or ("ends with /" if key.endswith("/") else None)
    if not key or fault:
        what = "key"
        raise _refusal(what, key, fault or "is empty")
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` as it is, if keys can start with it; the empty prefix is that of every key."""
    fault = _fault(prefix)
    if fault:
        what = "prefix"
        raise _refusal(what, prefix, fault)
    return prefix


def span(size: int, start: int, length: int | None) -> tuple[int, int]:
    """The range `[first, end)` of `length` bytes from `start` in an object of `size` bytes; empty past its end."""
    if start < 0 or (length is not None and length < 0):
        what = f"A range can not start at {start} with {length} bytes"
        raise StoreError(what, do="Give a start and a length of zero or more.")
    first = min(start, size)
    return first, size if length is None else min(size, first + length)


def check_document(key: str, size: int, url: str) -> None:
    """StoreError when an object is larger than any document: it is not read into memory whole."""
    if size > MOST_DOCUMENT:
        what = f"{key} in {url} has {size:,} bytes, where a document has at most {MOST_DOCUMENT:,}"
        raise StoreError(what, do="Somebody else made it: use another backup, and find out who can write there.")


def taken(key: str, url: str) -> RefusedError:
    """The error for an object that would be written over one that stays."""
    what = f"{url}/{key} is there already, and was not overwritten."
    return RefusedError(what, do="Backups are never overwritten: run the backup again, it gets a name of its own.")


def _refusal(kind: str, text: str, fault: str) -> StoreError:
    return StoreError(
        f"Not a {kind} of a store: {text!r} {fault}",
        do="Use names separated by single slashes, as docs/format.md lays them out.",
    )


def _fault(text: str) -> str | None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(encoded) > MOST_KEY_BYTES:
        return f"has {len(encoded)} bytes, more than {MOST_KEY_BYTES}"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return "has a control character"
    return next(
        (fault for fault in map(_segment_fault, text.removesuffix("/").split("/")) if fault and text), None
    ) or (f"starts with {STAGING}, which is reserved" if text.split("/")[0] == STAGING else None)


def _segment_fault(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return f"has the segment {segment!r}"
    if len(segment.encode()) > MOST_SEGMENT_BYTES:
        return f"has a segment of more than {MOST_SEGMENT_BYTES} bytes"
    return None
