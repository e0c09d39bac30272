"""Backup files of the programs before this one: what they are called, and what can be said of one by its bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

LEGACY = "legacy:"
"""How the name of such a file begins where a backup id could stand."""
MOST_LEGACY = 256 << 20
"""Bytes of a file that are looked into: JSON takes ten times as much memory as it has bytes."""
_NAME = re.compile(
    r"(?P<kind>comprehensive|database|sales)-backup-"
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})T(?P<hour>[0-9]{2})-(?P<minute>[0-9]{2})-(?P<second>[0-9]{2})-"
    r"(?P<milliseconds>[0-9]{3})Z\.json"
)
_KNOWN_MAJORS = {"1", "2", "3"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class LegacyState(StrEnum):
    """What the bytes of a file say. All but `good` are corrupted: downloaded they can be, restored never."""

    GOOD = "good"
    HASH_DIFFERS = "hash differs"
    COUNT_DIFFERS = "count differs"
    TRUNCATED = "truncated"
    NOT_JSON = "not JSON"
    EMPTY = "empty"
    UNKNOWN_VERSION = "unknown version"
    TOO_LARGE = "too large"


@dataclass(frozen=True)
class LegacyFile:
    """A file under one of the catalog's `legacy` prefixes.

    `kind` and `at` are of its name, None where that is another one; `records` are rows by table, as counted.
    """

    key: str
    size: int
    state: LegacyState
    message: str
    kind: str | None = None
    at: datetime | None = None
    version: str | None = None
    records: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Its name without the folders."""
        return self.key.rpartition("/")[2]


def canonical_row(row: Mapping[str, object]) -> bytes:
    """A row in the one form that is hashed: keys sorted, no blanks, UTF-8.

    It is read with `parse_float=str`, so that a number with a fraction counts as it is written.
    """
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def table_hash(rows: Sequence[bytes]) -> str:
    """The hash of a table: SHA-256 over the sorted SHA-256 digests of its rows (docs/systems.md)."""
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def parse_legacy_name(name: str) -> tuple[str, datetime] | None:
    """Kind and moment of a name such as `sales-backup-2026-01-25T14-30-45-123Z.json`; None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    text = f"{match['day']}T{match['hour']}:{match['minute']}:{match['second']}.{match['milliseconds']}+00:00"
    try:
        return match["kind"], datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def judge_legacy(key: str, data: bytes) -> LegacyFile:
    """What the bytes of the file under `key` say."""
    kind, at = parse_legacy_name(key.rpartition("/")[2]) or (None, None)
    state, message, document = _read(data)
    version, records = None, {}
    if document is not None:
        version = str(document["version"]) if "version" in document else None
        tables = _tables(document)
        records = {name: len(rows) for name, rows in tables.items()}
        state, message = _judged(document, version, tables)
    return LegacyFile(
        key, len(data), state, message, kind, at, version, records, sha256=hashlib.sha256(data).hexdigest()
    )


def too_large(key: str, size: int, most: int = MOST_LEGACY) -> LegacyFile:
    """A file that is not looked into, as it has more than `most` bytes."""
    kind, at = parse_legacy_name(key.rpartition("/")[2]) or (None, None)
    message = f"It has {size:,} bytes, more than the {most:,} that are looked into."
    return LegacyFile(key, size, LegacyState.TOO_LARGE, message, kind, at)


def _read(data: bytes) -> tuple[LegacyState, str, dict[str, object] | None]:
    """The document; or what is wrong with the bytes."""
    if not data.strip():
        return LegacyState.EMPTY, "It has no bytes." if not data else "It has blanks alone.", None
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_float=str)
    except (ValueError, RecursionError) as error:
        return *_unreadable(data, error), None
    if not isinstance(document, dict):
        return LegacyState.NOT_JSON, "It is JSON, but no document of a backup.", None
    return LegacyState.GOOD, "", document


def _unreadable(data: bytes, error: Exception) -> tuple[LegacyState, str]:
    match error:
        case UnicodeDecodeError() if error.end >= len(data) and "unexpected end" in error.reason:
            return LegacyState.TRUNCATED, "It ends within a letter."
        case UnicodeDecodeError():
            return LegacyState.NOT_JSON, f"Byte {error.start:,} is not UTF-8."
        case json.JSONDecodeError() if _is_cut_off(error.doc, error):
            return LegacyState.TRUNCATED, f"It ends after {len(data):,} bytes, in the middle of the document."
        case json.JSONDecodeError():
            return LegacyState.NOT_JSON, f"It is not JSON from line {error.lineno:,} on: {error.msg}."
    return LegacyState.NOT_JSON, "It is nested too deep, or has a number too long."


def _is_cut_off(text: str, error: json.JSONDecodeError) -> bool:
    """Whether what was read so far begins a document, and only its end is missing."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")


def _tables(document: Mapping[str, object]) -> dict[str, list[object]]:
    tables = document.get("tables")
    return {name: rows for name, rows in tables.items() if isinstance(rows, list)} if isinstance(tables, dict) else {}


def _judged(
    document: Mapping[str, object], version: str | None, tables: Mapping[str, list[object]]
) -> tuple[LegacyState, str]:
    if version is None or version.partition(".")[0] not in _KNOWN_MAJORS:
        return LegacyState.UNKNOWN_VERSION, f"Version {version or 'none'}: known are 1, 2 and 3."
    if not tables:
        return LegacyState.EMPTY, "It has no tables."
    metadata = document.get("metadata")
    stated = metadata if isinstance(metadata, dict) else {}
    hashes = stated.get("dataIntegrityHashes")
    if faults := list(_differing(tables, hashes if isinstance(hashes, dict) else {})):
        return LegacyState.HASH_DIFFERS, "; ".join(faults) + "."
    records = sum(map(len, tables.values()))
    if stated.get("totalRecords", records) != records:
        message = f"It says {stated['totalRecords']} records in all, and has {records:,}."
        return LegacyState.COUNT_DIFFERS, message
    if not _comparable(hashes):
        return LegacyState.GOOD, "Its hashes are of the earlier program, and can not be made again."
    return LegacyState.GOOD, "Every table has the hash that it states."


def _comparable(hashes: object) -> bool:
    """Whether the hashes are whole ones: those of six digits say too little, and nobody knows of what."""
    return isinstance(hashes, dict) and any(_SHA256.fullmatch(str(digest)) for digest in hashes.values())


def _differing(tables: Mapping[str, list[object]], hashes: Mapping[str, object]) -> Iterator[str]:
    """A sentence's part for each table that is not as its hash states."""
    if not _comparable(hashes):
        return
    for name, digest in hashes.items():
        if name not in tables:
            yield f"table {name} is missing"
        elif _hash_of(tables[name]) != digest:
            yield f"table {name} was changed after it was written"
    for name in tables:
        if name not in hashes:
            yield f"table {name} was added"


def _hash_of(rows: Sequence[object]) -> str:
    lines = (canonical_row(row if isinstance(row, dict) else {"": row}) for row in rows)
    return table_hash([hashlib.sha256(line).digest() for line in lines])
