"""The shapes in which the sources wrote their own backups: a ZIP of JSON files, one comprehensive document."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from typing import BinaryIO
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa

from backup_pipeline.core.content import communication_metrics, summary_document
from backup_pipeline.core.content.validation import MESSAGES, entry_basis, row_findings, worst_first
from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.legacy import canonical_row, table_hash
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.names import backup_uuid, camel_case
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.formats.bundle import bundle_tables, json_values
from backup_pipeline.formats.parquet import arrow_type

JSON_ZIP_VERSION = "1.0"
QUARANTINE = "quarantine"
_ROWS = 10_000
_SAFE = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exact."""


@dataclass(frozen=True)
class JsonRow:
    """A row as the text of a JSON object, and what of it breaks a rule: column and rule."""

    text: str
    broken: Sequence[tuple[str, str]] = ()


def write_json_zip(target: BinaryIO, manifest: Manifest, bundle: OpenBundle) -> None:
    """Write `<table>.json` for each table, an array of its rows, and `manifest.json` with the source's seven keys.

    Where the catalog quarantines, rows that break a rule are in `quarantine.json` instead. VerificationError where a
    member of the bundle is not what the manifest says.
    """
    local = manifest.snapshot.taken_at.astimezone(ZoneInfo(manifest.timezone))
    entries = {table.name: table for table in manifest.tables}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for rows in bundle_tables(manifest, bundle):
            with archive.open(_member(f"{rows.name}.json", local), "w", force_zip64=True) as file:
                file.writelines(array_chunks(kept_texts(entries[rows.name], rows.pieces)))
        about = json.dumps(json_zip_manifest(manifest), ensure_ascii=False, indent=2)
        archive.writestr(_member("manifest.json", local), about)
        if any(table.validation and table.validation.on_invalid == QUARANTINE for table in manifest.tables):
            with archive.open(_member("quarantine.json", local), "w", force_zip64=True) as file:
                file.writelines(quarantine_chunks(manifest, bundle))


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


def kept_texts(table: TableEntry, pieces: Iterable[pa.Table]) -> Iterator[str]:
    """The rows that belong into a rendering: all, but for those that the catalog quarantines."""
    rule = table.validation
    for row in json_rows(table, pieces, judged=rule is not None and rule.on_invalid == QUARANTINE):
        if not row.broken:
            yield row.text


def json_rows(table: TableEntry, pieces: Iterable[pa.Table], *, judged: bool = False) -> Iterator[JsonRow]:
    """Each row as a JSON object, its keys written as the catalog wants them; with `judged`, what of it breaks a rule.

    Values are those of `download --as json`, but for two: JSON columns are JSON, and whole numbers are numbers where
    every reader keeps them exact.
    """
    raw = [not column.masked and column.pg_type in {"json", "jsonb"} for column in table.columns]
    keys = [json.dumps(json_column(table, column.name), ensure_ascii=False) for column in table.columns]
    for piece in pieces:
        for batch in piece.to_batches(max_chunksize=_ROWS):
            columns = [_texts(column, raw=own) for column, own in zip(batch.columns, raw, strict=True)]
            broken = _broken(table, batch) if judged else repeat(())
            for cells, faults in zip(zip(*columns, strict=True), broken, strict=False):
                text = "{" + ", ".join(f"{key}: {cell}" for key, cell in zip(keys, cells, strict=True)) + "}"
                yield JsonRow(text, faults)


def _broken(table: TableEntry, batch: pa.RecordBatch) -> Iterable[Sequence[tuple[str, str]]]:
    """For each row, what of it breaks a rule."""
    if table.validation is None:
        return repeat(())
    kinds, basis = entry_basis(table.validation, table.snapshot.taken_at.date())
    rows = batch.select(list(kinds)).to_pylist()
    return [tuple(row_findings(kinds, row, basis)) for row in rows]


def json_column(table: TableEntry, name: str) -> str:
    """How the name of a column is written in the document."""
    return camel_case(name) if table.json_case == "camel" else name


def quarantine_chunks(manifest: Manifest, bundle: OpenBundle) -> Iterator[bytes]:
    """The rows that break a rule, by table, each with what is wrong: `{"tables": {"leads": [{"row", "findings"}]}}`."""
    yield f'{{"backupId": {json.dumps(manifest.backup_id)}, "tables": {{'.encode()
    comma = "\n"
    entries = {table.name: table for table in manifest.tables}
    for rows in bundle_tables(manifest, bundle):
        table = entries[rows.name]
        if table.validation is None or not table.validation.invalid:
            continue
        yield f"{comma}{json.dumps(table.json_name or table.name)}: ".encode()
        comma = ",\n"
        yield from array_chunks(
            _quarantined(table, row) for row in json_rows(table, rows.pieces, judged=True) if row.broken
        )
    yield b"\n}}\n"


def _quarantined(table: TableEntry, row: JsonRow) -> str:
    findings = [
        {"column": json_column(table, column), "rule": rule, "message": MESSAGES[rule]} for column, rule in row.broken
    ]
    return f'{{"row": {row.text}, "findings": {json.dumps(findings, ensure_ascii=False)}}}'


COMPREHENSIVE_VERSION = "3.0.0"


class _TableHash:
    """SHA-256 over the sorted SHA-256 of each row in canonical form: any changed cell changes it, no order does."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []

    def add(self, text: str) -> None:
        self._rows.append(hashlib.sha256(canonical_row(json.loads(text, parse_float=str))).digest())

    def hexdigest(self) -> str:
        return table_hash(self._rows)


def comprehensive_chunks(manifest: Manifest, bundle: OpenBundle) -> Iterator[bytes]:
    """The document that the sales portal writes, version 3.0.0, its keys in their order, as UTF-8, a row a line."""
    head = {
        "timestamp": milliseconds(manifest.snapshot.taken_at),
        "version": COMPREHENSIVE_VERSION,
        "backupType": "comprehensive",
        "createdBy": manifest.created_by,
        "reason": manifest.reason,
    }
    body = _Tables(manifest, bundle)
    yield (json.dumps(head, ensure_ascii=False, indent=2).removesuffix("\n}") + ',\n  "tables": {').encode()
    yield from body.chunks()
    yield b'\n  },\n  "metadata": '
    metadata = json.dumps(body.metadata(), ensure_ascii=False, indent=2).replace("\n", "\n  ")
    yield f"{metadata}\n}}\n".encode()


class _Tables:
    """The tables of a comprehensive document, written once; what was counted on the way is its metadata."""

    def __init__(self, manifest: Manifest, bundle: OpenBundle) -> None:
        self._manifest, self._bundle = manifest, bundle
        self._hashes: dict[str, str] = {}
        self._downloads: dict[str, int] | None = None
        self._records = self._bytes = 0

    def chunks(self) -> Iterator[bytes]:
        entries = {table.name: table for table in self._manifest.tables}
        comma = "\n"
        for rows in bundle_tables(self._manifest, self._bundle):
            table = entries[rows.name]
            key = table.json_name or table.name
            yield self._counted(f"{comma}    {json.dumps(key, ensure_ascii=False)}: ".encode())
            comma = ",\n"
            hashed = _TableHash()
            for chunk in array_chunks(self._hashed(table, rows.pieces, hashed)):
                yield self._counted(chunk)
            self._hashes[key] = hashed.hexdigest()

    def _hashed(self, table: TableEntry, pieces: Iterable[pa.Table], hashed: _TableHash) -> Iterator[str]:
        for text in kept_texts(table, self._with_downloads(table, pieces)):
            hashed.add(text)
            self._records += 1
            yield text

    def _with_downloads(self, table: TableEntry, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The pieces, as they are; how often each document was downloaded is counted as they pass."""
        entry = next((entry for entry in table.communication if entry.document and entry.download_column), None)
        if entry is not None:
            self._downloads = {}
        for piece in pieces:
            if entry is not None and self._downloads is not None:
                columns = [piece.column(name).to_pylist() for name in (entry.document, entry.download_column)]
                for name, count in zip(*columns, strict=True):
                    self._downloads[str(name)] = self._downloads.get(str(name), 0) + (count or 0)
            yield piece

    def _counted(self, chunk: bytes) -> bytes:
        self._bytes += len(chunk)
        return chunk

    def metadata(self) -> Mapping[str, object]:
        metrics = communication_metrics(self._manifest.tables)
        return {
            "totalRecords": self._records,
            "backupSize": size_text(self._bytes),
            "communicationSummary": summary_document(metrics, self._downloads),
            "dataIntegrityHashes": self._hashes,
            "relationships": list(_relationships(self._manifest)),
            "validation": {
                table.json_name or table.name: _validation(table)
                for table in self._manifest.tables
                if table.validation is not None
            },
        }


def _relationships(manifest: Manifest) -> Iterator[Mapping[str, object]]:
    """Every reference between tables of the document."""
    by_relation = {table.relation_id: table for table in manifest.tables if table.relation_id}
    for table in manifest.tables:
        for reference in table.references:
            if target := by_relation.get(reference.target):
                yield {
                    "table": table.json_name or table.name,
                    "columns": [json_column(table, name) for name in reference.columns],
                    "references": target.json_name or target.name,
                    "referencedColumns": [json_column(target, name) for name in reference.target_columns],
                    "enforced": reference.enforced,
                }


def _validation(table: TableEntry) -> Mapping[str, object]:
    entry = table.validation
    if entry is None:
        return {}
    return {
        "rows": entry.rows,
        "invalid": entry.invalid,
        "leftOut": entry.invalid if entry.on_invalid == QUARANTINE else 0,
        "rules": [
            {"column": json_column(table, each.column), "rule": each.rule, "rows": each.rows}
            for each in worst_first(entry)
        ],
    }


def milliseconds(at: datetime) -> str:
    """A moment as JavaScript writes it: `2026-01-25T14:30:45.123Z`."""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def size_text(size: int) -> str:
    """A number of bytes as the source writes it: `8.5MB`."""
    for unit, one in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= one / 10:
            return f"{size / one:.1f}{unit}"
    return f"{size}B"


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


def typed_rows(rows: Sequence[Mapping[str, object]], plan: TablePlan, names: Mapping[str, str]) -> pa.Table:
    """The rows as a page of `plan`; `names` are the keys of its columns in the document.

    What a row has not is NULL. VerificationError, naming the column, for a value that is none of its type.
    """
    arrays: dict[str, pa.Array] = {}
    for column in plan.columns:
        values = [_as_postgres(row.get(names[column.name])) for row in rows]
        wanted = arrow_type(column.arrow_type)
        try:
            arrays[column.name] = _typed_array(values, wanted)
        except ValueError as error:  # Arrow's own are such, too
            message = f"Column {column.name} of {plan.name} has a value that is no {column.column.pg_type}: {error}"
            raise VerificationError(message, do="The file does not fit the table as it is now.") from error
    return pa.table(arrays)


def _typed_array(values: Sequence[str | None], wanted: pa.DataType) -> pa.Array:
    if wanted == pa.uuid():
        storage = pa.array([None if value is None else UUID(value).bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(wanted, storage)
    if pa.types.is_binary(wanted):  # a bytea, as PostgreSQL writes it
        return pa.array(
            [None if value is None else bytes.fromhex(value.removeprefix("\\x")) for value in values], wanted
        )
    return pa.array(values, pa.string()).cast(wanted)


def _as_postgres(value: object) -> str | None:
    """A value of the document as PostgreSQL writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
