"""A file as the manifest describes it: what it holds, how it lies in the store, and who can read it."""

from __future__ import annotations

from typing import Literal

from backup_pipeline.core.manifest.names import FileName
from backup_pipeline.core.manifest.written import Written


class EncryptionEntry(Written):
    """Who can read it: age recipients. Every file is encrypted to each of them."""

    recipients: tuple[str, ...]


class StoredFile(Written):
    """A file as it lies in the store: its name there, its bytes, and their SHA-256 and CRC-32."""

    name: FileName
    bytes: int
    sha256: str
    crc32: int


class FileEntry(Written):
    """A file: its rows (records, without the header), its bytes, and their SHA-256 and CRC-32.

    `encrypted` is how it lies in the store, when it is encrypted there; the rest is about the plain file.
    """

    name: FileName
    format: Literal["parquet", "csv"]
    rows: int
    bytes: int
    sha256: str
    crc32: int
    encrypted: StoredFile | None = None

    @property
    def stored(self) -> StoredFile:
        """The file as it lies in the store, encrypted or not."""
        return self.encrypted or StoredFile(name=self.name, bytes=self.bytes, sha256=self.sha256, crc32=self.crc32)
