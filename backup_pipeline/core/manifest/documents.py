"""What a manifest and the record of a partition say, and how they carry their own SHA-256 as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from backup_pipeline.core.catalog.rules import timezone_name
from backup_pipeline.core.errors import DecryptError, UsageError, VerificationError, wanted
from backup_pipeline.core.names import (
    Kind,
    Trigger,
    bundle_path,
    catalog_folder,
    check_parts,
    file_name,
    parse_backup_id,
    table_folder,
)
from backup_pipeline.core.plans import type_name
from backup_pipeline.core.scope import Purpose, Scope, business_folder, described_scope


def _backup_id(text: str) -> str:
    try:
        return str(parse_backup_id(text))
    except UsageError as error:
        raise ValueError(error.what) from error


def _type(text: str) -> str:
    type_name(text)
    return text


BackupIdText = Annotated[str, AfterValidator(_backup_id)]
CatalogName = Annotated[str, AfterValidator(catalog_folder)]
BusinessKey = Annotated[str, AfterValidator(business_folder)]
TableName = Annotated[str, AfterValidator(table_folder)]
FileName = Annotated[str, AfterValidator(file_name)]
BundlePath = Annotated[str, AfterValidator(bundle_path)]
Timezone = Annotated[str, AfterValidator(timezone_name)]
PgType = Annotated[str, AfterValidator(_type)]


FORMAT_VERSION = "1.8"


class WrittenManifest(BaseModel):
    """Readers ignore fields they do not know: a newer minor version may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class ColumnEntry(WrittenManifest):
    """A column of the Parquet files: PostgreSQL's type, and the Arrow type that holds it."""

    name: str
    pg_type: PgType
    arrow_type: str
    nullable: bool
    masked: bool = False
    generated: bool = False
    identity: bool = False
    nondeterministic: bool = Field(default=False, description="its collation takes different texts for equal")


class ReferenceEntry(WrittenManifest):
    """A foreign key: `columns` refer to `target_columns` of the relation `target` (schema, name).

    `enforced`: the database allows no row without its target. Not so where only the catalog declares it.
    """

    columns: tuple[str, ...]
    target: tuple[str, str]
    target_columns: tuple[str, ...]
    enforced: bool = True


class SequenceEntry(WrittenManifest):
    """A sequence that feeds `column`, (schema, name), as the run saw it: sequences stand outside any snapshot.

    `last_value` is None when it could not be read; when not `is_called`, it is the next value, not the last one.
    """

    sequence: tuple[str, str]
    column: str
    last_value: int | None
    is_called: bool = False


class OtherSequenceEntry(WrittenManifest):
    """A sequence that numbers no column of the catalog's tables; `cycles`: a smaller number may follow a larger one."""

    sequence: tuple[str, str]
    last_value: int | None
    is_called: bool = False
    cycles: bool = False


class StepEntry(WrittenManifest):
    """One hop of a look-up (see core's `plans.Step`)."""

    relation: tuple[str, str]
    columns: tuple[str, ...]
    from_columns: tuple[str, ...]


class SheetColumnEntry(WrittenManifest):
    """A column of the sheet: its title and the table's column it shows or, with `steps`, a value looked up elsewhere.

    `arrow_type` is how a looked-up value came, which decides what its cell looks like.
    """

    title: str
    column: str
    arrow_type: str | None = None
    steps: tuple[StepEntry, ...] = ()
    joined: bool = False


class EncryptionEntry(WrittenManifest):
    """Who can read it: age recipients. Every file is encrypted to each of them."""

    recipients: tuple[str, ...]


class StoredFile(WrittenManifest):
    """A file as it lies in the store: its name there, its bytes, and their SHA-256 and CRC-32."""

    name: FileName
    bytes: int
    sha256: str
    crc32: int


class FileEntry(WrittenManifest):
    """A file: its rows (records, without the header), its bytes, and their SHA-256 and CRC-32.

    `encrypted` and `gzipped` are how it lies in the store, when it is that there; the rest is about the plain file.
    """

    name: FileName
    format: Literal["parquet", "csv"]
    rows: int
    bytes: int
    sha256: str
    crc32: int
    encrypted: StoredFile | None = None
    gzipped: StoredFile | None = None

    @property
    def stored(self) -> StoredFile:
        """The file as it lies in the store, encrypted, gzipped or neither."""
        lies = self.encrypted or self.gzipped
        return lies or StoredFile(name=self.name, bytes=self.bytes, sha256=self.sha256, crc32=self.crc32)


class SnapshotEntry(WrittenManifest):
    """One consistent read view: PostgreSQL's snapshot id, when it was taken, the WAL position, the server."""

    id: str
    taken_at: datetime
    lsn: str
    server_version: str
    database: str


class CheckEntry(WrittenManifest):
    """The outcome of a check."""

    name: str
    passed: bool
    message: str


class AnomalyEntry(WrittenManifest):
    """Something unusual about a table (or, of `kind` orphans, one of its references) against earlier good backups.

    `message` says what is now, what is usual, and the change; `do` what to do next. `held` is the last good backup that
    shows how it was. `standing`: an earlier backup told it already, and nobody has released `held` since.
    """

    table: str
    kind: str
    subject: str = Field(default="", description="the column or the reference, where it is about one")
    now: int | str | None = None
    usual: int | str | None = None
    change: str
    message: str
    do: str
    severity: Literal["info", "warning"] = "warning"
    held: str | None = None
    standing: bool = False


class CommunicationEntry(WrittenManifest):
    """What the rows of a table say of communication, of one `kind`: sms, email, documents or channels.

    `statuses` are rows by status (of channels: by channel); `document` and `download_column` name columns.
    """

    kind: str
    total: int
    succeeded: int = 0
    statuses: Mapping[str, int] = {}
    opens: int | None = None
    clicks: int | None = None
    bounces: int | None = None
    downloads: int | None = None
    templates: Mapping[str, int] = {}
    document: str | None = None
    download_column: str | None = None


class FindingEntry(WrittenManifest):
    """How many rows break a rule in a column."""

    column: str
    rule: str
    rows: int


class ValidationEntry(WrittenManifest):
    """What the rules about customers' data found: `invalid` of `rows` break at least one; by what they were judged."""

    rows: int
    invalid: int
    findings: tuple[FindingEntry, ...] = ()
    columns: Mapping[str, str]
    region: str | None = None
    on_invalid: Literal["report", "quarantine"] = "report"


class TableEntry(WrittenManifest):
    """One table: where it came from, at which instant, what was written."""

    name: TableName
    relation: str
    sheet: str
    key: tuple[str, ...]
    order: str
    row_count: int
    snapshot: SnapshotEntry
    exported_by: str = Field(description="the backup id of the run that exported it")
    columns: tuple[ColumnEntry, ...]
    sheet_columns: tuple[str, ...]
    relation_id: tuple[str, str] | None = Field(default=None, description="schema and name; None before 1.1")
    relation_kind: str | None = Field(default=None, description="table, partitioned table, view, …; None before 1.1")
    inherited: bool = Field(default=False, description="whether other tables inherit from it; their rows are not here")
    extension: str = Field(default="", description="the extension that it belongs to; empty before 1.3")
    covers: tuple[tuple[str, str], ...] = Field(default=(), description="base tables that the relation stands for")
    references: tuple[ReferenceEntry, ...] = ()
    sequences: tuple[SequenceEntry, ...] = ()
    sheet_sources: tuple[SheetColumnEntry, ...] = Field(default=(), description="as sheet_columns; empty before 1.1")
    excluded_columns: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    checks: tuple[CheckEntry, ...] = ()
    anomalies: tuple[AnomalyEntry, ...] = ()
    json_name: str | None = Field(default=None, description="in the sources' JSON; None: the table's. Since 1.6")
    json_case: Literal["plain", "camel"] = Field(default="plain", description="of its columns there; since 1.6")
    communication: tuple[CommunicationEntry, ...] = Field(default=(), description="since 1.6")
    validation: ValidationEntry | None = Field(default=None, description="since 1.6")
    sensitive: tuple[str, ...] = Field(default=(), description="columns that viewers see masked; since 1.6")
    files: tuple[FileEntry, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        """The bytes of all its files."""
        return sum(file.bytes for file in self.files)


class NotHeldEntry(WrittenManifest):
    """Something that is not in the backup although somebody may think so; `severity` info where it is decided about."""

    about: str
    message: str
    do: str = ""
    severity: Literal["info", "warning"] = "warning"


class PartitionRecord(WrittenManifest):
    """What lies beside a partition's files: the partition exists when this does."""

    format_version: str = FORMAT_VERSION
    catalog: CatalogName
    business: BusinessKey | None = Field(default=None, description="whose rows alone it has; since 1.5")
    purpose: Purpose = Field(default=Purpose.BACKUP, description="since 1.5")
    partition_date: date
    late: bool = False
    sheet_file: FileName | None = None
    table: TableEntry
    unlisted: tuple[str, ...] = ()
    excluded: Mapping[str, str] = {}
    sequences: tuple[OtherSequenceEntry, ...] = ()
    not_held: tuple[NotHeldEntry, ...] = ()
    encryption: EncryptionEntry | None = None
    schema_sha256: str | None = Field(default=None, description="of the schema.sql of its run; None before 1.4")

    @property
    def scope(self) -> Scope:
        """What it is a partition of."""
        return described_scope(self.catalog, self.business, self.purpose)


class Totals(WrittenManifest):
    """Sums over the tables."""

    tables: int
    rows: int
    files: int
    bytes: int


class ChangesEntry(WrittenManifest):
    """Of a table: rows new or changed, keys of deleted ones; `replaced`: without a key, its rows are all there are."""

    rows: int
    deleted: FileEntry | None = None
    replaced: bool = False


class ChainEntry(WrittenManifest):
    """What an incremental backup goes on from: its full, the one before it, and how many came in between."""

    base: BackupIdText
    previous: BackupIdText
    number: int = Field(description="1 for the first after the full")
    tables: Mapping[TableName, ChangesEntry]


class ExcludedEntry(WrittenManifest):
    """A table that is left out on purpose."""

    table: str
    reason: str


class Manifest(WrittenManifest):
    """The description of a bundle. `consistent` says whether all tables show the same instant."""

    format_version: str = FORMAT_VERSION
    backup_id: BackupIdText
    catalog: CatalogName
    business: BusinessKey | None = Field(default=None, description="whose rows alone it has; since 1.5")
    purpose: Purpose = Field(default=Purpose.BACKUP, description="since 1.5")
    title: str = ""
    kind: Kind
    type: Trigger
    created_by: str
    reason: str = ""
    status: str
    consistent: bool
    late: bool = False
    partition_date: date
    timezone: Timezone
    started_at: datetime
    finished_at: datetime
    snapshot: SnapshotEntry
    tables: tuple[TableEntry, ...]
    excluded: tuple[ExcludedEntry, ...] = ()
    unlisted: tuple[str, ...] = ()
    sequences: tuple[OtherSequenceEntry, ...] = Field(default=(), description="those that number no table's column")
    not_held: tuple[NotHeldEntry, ...] = Field(default=(), description="what somebody may think is in it, and is not")
    warnings: tuple[str, ...] = ()
    anomalies: tuple[AnomalyEntry, ...] = Field(default=(), description="those that no table's own entry tells")
    orphans: Mapping[str, int] = Field(default={}, description="reference -> rows that it leads nowhere, as counted")
    broken: Mapping[str, int] = Field(default={}, description="enforced reference -> rows that break it in the source")
    chain: ChainEntry | None = Field(default=None, description="of an incremental backup; since 1.7")
    totals: Totals
    bundle_name: FileName
    entries: Mapping[BundlePath, str] = Field(description="path in the bundle -> SHA-256 of its bytes, decrypted")
    encryption: EncryptionEntry | None = None
    pipeline_version: str
    run_id: str | None = None

    @property
    def scope(self) -> Scope:
        """What it is a backup of."""
        return described_scope(self.catalog, self.business, self.purpose)

    @property
    def findings(self) -> tuple[AnomalyEntry, ...]:
        """Everything unusual about the backup: its tables' anomalies, and its own."""
        return (*(entry for table in self.tables for entry in table.anomalies), *self.anomalies)


class StoredBundle(WrittenManifest):
    """What the manifest beside the bundle adds: the bundle's own bytes."""

    name: FileName
    bytes: int
    sha256: str


class StoredManifest(Manifest):
    """The manifest beside the bundle: the one inside, and the size and SHA-256 of the bundle itself."""

    bundle: StoredBundle


_CHECKSUM = "manifest_sha256"
_MAJOR = int(FORMAT_VERSION.partition(".")[0])
OTHER_COPY = "Restore the object from another copy, or use another backup."


def unsealed(data: bytes, where: str) -> dict[str, object]:
    """The fields of a sealed document; VerificationError, naming `where`, when it was changed or is newer (major).

    The version comes first: what a newer one looks like is not ours to judge.
    """
    check_parts(data, where)
    try:
        body = json.loads(data)
        major = int(str(body["format_version"]).partition(".")[0])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{where} is not a manifest: {error!r}"
        raise VerificationError(message, do=OTHER_COPY) from error
    if major != _MAJOR:
        message = f"{where} has format version {body['format_version']}; this program reads {_MAJOR}.x."
        raise VerificationError(message, do="Use a newer backup_pipeline.")
    stated = body.pop(_CHECKSUM, None)
    if sealed(body) != data:
        digest = hashlib.sha256(_text(body).encode()).hexdigest()
        message = f"{where} was changed after it was written: its own SHA-256 is {stated}, its content gives {digest}."
        raise VerificationError(message, do=OTHER_COPY)
    return dict(body)


def sealed(body: Mapping[str, object]) -> bytes:
    """A document as JSON that ends with the SHA-256 of itself (over the same JSON without that field)."""
    text = _text(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-2]},\n "{_CHECKSUM}": "{digest}"\n}}'.encode()


def _text(body: Mapping[str, object]) -> str:
    return json.dumps(body, ensure_ascii=False, indent=1)


CIPHERTEXT = "ciphertext"
"""The field of a document that stands for an encrypted one, which it holds."""
_M = TypeVar("_M", bound=BaseModel)


def seal(manifest: Manifest | PartitionRecord) -> bytes:
    """The manifest as JSON that ends with the SHA-256 of itself (over the same JSON without that field)."""
    return sealed(manifest.model_dump(mode="json"))


def read_manifest(data: bytes, where: str) -> StoredManifest:
    """The manifest stored as `data`; VerificationError, naming `where`, when it was changed or is newer (major).

    DecryptError, naming the recipients, when it is encrypted (see core's `outline`).
    """
    return _readable(StoredManifest, data, where)


def read_inner_manifest(data: bytes, where: str) -> Manifest:
    """The manifest inside a bundle; VerificationError as in `read_manifest`."""
    return _readable(Manifest, data, where)


def read_partition(data: bytes, where: str) -> PartitionRecord:
    """The record of a partition; VerificationError as in `read_manifest`."""
    return _readable(PartitionRecord, data, where)


def _readable(model: type[_M], data: bytes, where: str) -> _M:
    body = unsealed(data, where)
    if CIPHERTEXT in body:
        message = f"{where} is encrypted to {', '.join(_recipients(body))}, and was not decrypted."
        raise DecryptError(message, do="Set BACKUP_AGE_IDENTITY_FILE to the file with the private key.")
    return validated(model, body, where)


def _recipients(body: Mapping[str, object]) -> tuple[str, ...]:
    try:
        return EncryptionEntry.model_validate(body.get("encryption")).recipients
    except ValidationError:
        return ("somebody",)


def validated(model: type[_M], body: Mapping[str, object], where: str) -> _M:
    """The fields of a sealed document as `model` has them; VerificationError, naming the field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"{where} is not a manifest of format {FORMAT_VERSION}: {field} wants {wanted(first)}."
        raise VerificationError(message, do=OTHER_COPY) from error
