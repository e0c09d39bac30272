"""A table's files, encrypted on this machine as soon as they are whole: only then do they go anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from isal import isal_zlib

from backup_pipeline.core.encryption import Cipher, encrypted_name
from backup_pipeline.core.manifest import FileEntry, StoredFile
from backup_pipeline.core.ports import TableWriter
from backup_pipeline.formats.byte_reader import ByteReader
from backup_pipeline.formats.hashing_file import HashingFile

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 1 << 20
_GZIP = 31  # zlib's number for a gzip header around the largest window; its time is left at 0


class EncryptedWriter:
    """`inner`, whose files are encrypted by `cipher` on `close`. `before` is called while they are still plain."""

    def __init__(self, inner: TableWriter, directory: Path, cipher: Cipher, *, before: Callable[[], None]) -> None:
        self._inner, self._directory, self._cipher, self._before = inner, directory, cipher, before
        self._made: list[HashingFile] = []
        self._closed = False

    @property
    def bytes_written(self) -> int:
        """The bytes of all plain files so far."""
        return self._inner.bytes_written

    def write(self, rows: pa.Table) -> None:
        """Add a page."""
        self._inner.write(rows)

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files, and encrypt them; their entries say both what they were and what they are.

        The plain sheets go at once; the plain Parquet files stay in the folder, for what the run still counts in them.
        """
        plain = self._inner.close()
        self._before()
        entries = tuple(self._encrypt(file) for file in plain)
        self._closed = True
        return entries

    def abort(self) -> None:
        """Remove everything this writer made, unless `close` finished it."""
        self._inner.abort()
        if not self._closed:
            for file in self._made:
                file.abort()

    def _encrypt(self, file: FileEntry) -> FileEntry:
        plain, gzipped = self._directory / file.name, file.format == "csv"
        target = HashingFile(self._directory / encrypted_name(file.name, gzipped=gzipped))
        self._made.append(target)
        with plain.open("rb") as source:
            chunks = _gzipped(source) if gzipped else _chunks(source)
            self._cipher.encrypt(cast(BinaryIO, ByteReader(chunks)), target)
        target.close()
        if gzipped:
            plain.unlink(missing_ok=True)  # large, and of no more use here
        lies = StoredFile(name=target.path.name, bytes=target.bytes, sha256=target.sha256, crc32=target.crc32)
        return file.model_copy(update={"encrypted": lies})


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: source.read(_CHUNK), b"")


def _gzipped(source: BinaryIO) -> Iterator[bytes]:
    packing = isal_zlib.compressobj(wbits=_GZIP)
    for chunk in _chunks(source):
        yield packing.compress(chunk)
    yield packing.flush()
