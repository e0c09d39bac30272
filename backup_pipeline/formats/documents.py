"""The shapes in which the sources wrote their own backups: a ZIP of one JSON file a table."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO
from zoneinfo import ZoneInfo

import pyarrow as pa

from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.names import backup_uuid
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.formats.bundle import bundle_tables, json_values

JSON_ZIP_VERSION = "1.0"
_ROWS = 10_000
_SAFE = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exact."""


def write_json_zip(target: BinaryIO, manifest: Manifest, bundle: OpenBundle) -> None:
    """Write `<table>.json` for each table, an array of its rows, and `manifest.json` with the source's seven keys.

    VerificationError where a member of the bundle is not what the manifest says.
    """
    local = manifest.snapshot.taken_at.astimezone(ZoneInfo(manifest.timezone))
    entries = {table.name: table for table in manifest.tables}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for rows in bundle_tables(manifest, bundle):
            with archive.open(_member(f"{rows.name}.json", local), "w", force_zip64=True) as file:
                file.writelines(array_chunks(row_texts(entries[rows.name], rows.pieces)))
        about = json.dumps(json_zip_manifest(manifest), ensure_ascii=False, indent=2)
        archive.writestr(_member("manifest.json", local), about)


def json_zip_manifest(manifest: Manifest) -> dict[str, object]:
    """What `manifest.json` says, in the order of the source."""
    return {
        "backup_id": str(backup_uuid(manifest.backup_id)),
        "created_at": instant(manifest.started_at),
        "type": str(manifest.type),
        "tables_backed_up": len(manifest.tables),
        "total_rows": manifest.totals.rows,
        "backup_version": JSON_ZIP_VERSION,
        "platform": manifest.title,
    }


def instant(at: datetime) -> str:
    """A moment as the sources write it: `2025-01-11T20:00:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def array_chunks(texts: Iterable[str]) -> Iterator[bytes]:
    """A JSON array, a value a line."""
    comma = "[\n"
    for text in texts:
        yield (comma + text).encode()
        comma = ",\n"
    yield b"[]" if comma == "[\n" else b"\n]"


def row_texts(table: TableEntry, pieces: Iterable[pa.Table], names: Sequence[str] = ()) -> Iterator[str]:
    """Each row as the text of a JSON object, its keys `names` (else the columns' own).

    Values are those of `download --as json`, but for two: JSON columns are JSON, and whole numbers are numbers where
    every reader keeps them exact.
    """
    raw = [not column.masked and column.pg_type in {"json", "jsonb"} for column in table.columns]
    keys = [json.dumps(name, ensure_ascii=False) for name in names or [column.name for column in table.columns]]
    for piece in pieces:
        for batch in piece.to_batches(max_chunksize=_ROWS):
            columns = [_texts(column, raw=own) for column, own in zip(batch.columns, raw, strict=True)]
            for cells in zip(*columns, strict=True):
                yield "{" + ", ".join(f"{key}: {cell}" for key, cell in zip(keys, cells, strict=True)) + "}"


def _texts(column: pa.Array, *, raw: bool) -> list[str]:
    if raw:
        return ["null" if value is None else value for value in column.to_pylist()]
    if pa.types.is_int64(column.type):
        return ["null" if value is None else _whole(value) for value in column.to_pylist()]
    return [json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) for value in json_values(column)]


def _whole(value: int) -> str:
    return str(value) if -_SAFE <= value <= _SAFE else f'"{value}"'


def _member(name: str, local: datetime) -> zipfile.ZipInfo:
    """A member with the backup's own time, so that the same backup gives the same file."""
    moment = (max(local.year, 1980), local.month, local.day, local.hour, local.minute, local.second)
    info = zipfile.ZipInfo(name, moment)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return info
