"""The port Formats over files: which writer and reader each format has, and the same with encryption around them."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import pyarrow as pa
from isal import isal_zlib
from isal.igzip_lib import IsalError

from backup_pipeline.core.errors import DecryptError, NotFoundError, RefusedError, VerificationError
from backup_pipeline.core.keys import ENCRYPTED, NOTICE_PATH, Cipher, encrypted_name, is_gzipped, no_key, plain_name
from backup_pipeline.core.layout import README_PATH, Member, Rendering, bytes_member
from backup_pipeline.core.manifest import FileEntry, Manifest, StoredFile, TableEntry
from backup_pipeline.core.names import MOST_NOTE, whole
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Formats, OpenBundle, TableWriter
from backup_pipeline.formats.archive import zip_chunks
from backup_pipeline.formats.bundle import (
    BundleReader,
    bundle_sheets,
    bundle_tables,
    combined_csv,
    json_chunks,
)
from backup_pipeline.formats.parquet import ParquetWriter
from backup_pipeline.formats.readme import age_readme, readme_text
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.formats.streams import ByteReader, HashingFile, use_jemalloc
from backup_pipeline.formats.tables import copy_rows, read_rows
from backup_pipeline.lazy import lazily

if TYPE_CHECKING:
    import pyarrow as pa

with lazily():
    from backup_pipeline.formats import documents, xlsx


_PAGES_WAITING = 6
_BYTES_WAITING = 32 << 20
_LARGE_PAGES_WAITING = 2
"""How many pages a writer may be behind: this, and the size of a page, bound the memory.

A row group is compressed in one go: while that lasts, the reader and the other writer are to have something to do.
"""


class FileWriter(Protocol):
    """Writes pages into the files of one format."""

    @property
    def bytes_written(self) -> int:
        """The bytes of its files so far."""

    def write(self, rows: pa.Table) -> None:
        """Add a page."""

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files."""

    def abort(self) -> None:
        """Remove the files."""


class SideBySideWriter:
    """The port `TableWriter`: hands each page to every writer and goes on; a writer's error comes with a later call."""

    def __init__(self, *writers: FileWriter) -> None:
        self._lanes = [_Lane(writer) for writer in writers]
        self._closed = False

    @property
    def bytes_written(self) -> int:
        """The bytes of all files so far."""
        return sum(lane.bytes_written for lane in self._lanes)

    def write(self, rows: pa.Table) -> None:
        """Hand a page to every writer; waits while one of them is too far behind."""
        for lane in self._lanes:
            lane.write(rows)

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files, when every page is in them."""
        entries = tuple(entry for lane in self._lanes for entry in lane.close())
        self._closed = True
        return entries

    def abort(self) -> None:
        """Remove the files, unless `close` finished them."""
        if not self._closed:
            for lane in self._lanes:
                lane.abort()


class _Lane:
    """One writer and its thread, which starts with the first page: small tables should cost no thread for nothing."""

    def __init__(self, writer: FileWriter) -> None:
        self._writer = writer
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[tuple[Future[None], int]] = deque()

    @property
    def bytes_written(self) -> int:
        return self._writer.bytes_written

    def write(self, rows: pa.Table) -> None:
        self._pool = self._pool or ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        while self._is_behind():
            self._pending.popleft()[0].result()
        self._pending.append((self._pool.submit(self._writer.write, rows), rows.nbytes))

    def close(self) -> tuple[FileEntry, ...]:
        while self._pending:
            self._pending.popleft()[0].result()
        self._end()
        return self._writer.close()

    def abort(self) -> None:
        for future, _ in self._pending:
            future.cancel()
        self._end()
        self._writer.abort()

    def _is_behind(self) -> bool:
        waiting = len(self._pending)
        if waiting < _LARGE_PAGES_WAITING:
            return False
        return waiting >= _PAGES_WAITING or sum(size for _, size in self._pending) > _BYTES_WAITING

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)


class FileFormats:
    """The file formats of format version 1 (docs/format.md)."""

    def __init__(self) -> None:
        """Choose the allocator, for the whole process."""
        use_jemalloc()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Nobody in particular: the files are not encrypted."""
        return ()

    def passage(self) -> tuple[Formats, str] | None:
        """None: everybody can read everything."""
        return None

    def also_to(self, recipient: str) -> Formats:
        """RefusedError: who wants to be encrypted to thinks that the files are."""
        message = f"The files are not encrypted here, but are to be readable by {recipient}."
        raise RefusedError(message, do="Give every host the same BACKUP_AGE_RECIPIENTS.")

    def concealed(self, document: bytes) -> str:
        """The document as it is."""
        return document.decode()

    def revealed(self, text: str, what: str) -> bytes:
        """The document as it is."""
        del what
        return text.encode()

    def writer(self, plan: TablePlan, directory: Path, timezone: str, *, sheets: bool = True) -> TableWriter:
        """A writer of `plan`'s Parquet and CSV files into `directory`; sheet times in `timezone`, `sheets` or none."""
        parquet = ParquetWriter(directory, plan)
        if not sheets:
            return parquet
        return SideBySideWriter(parquet, SheetWriter(directory, plan.sheet, timezone, first=plan.first_part))

    def bundle(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members as the bytes of one ZIP, streamed."""
        return zip_chunks(members)

    def open_bundle(self, read_range: Callable[[int, int], bytes], size: int) -> OpenBundle:
        """The bundle of `size` bytes that `read_range(start, length)` reads."""
        return BundleReader(read_range, size)

    def readme(self, manifest: Manifest, schema: str) -> str:
        """The README of a bundle whose DDL is `schema`."""
        return readme_text(manifest, schema)

    def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
        """Write the backup that `manifest` describes and `bundle` holds into `target`, in the form `kind`."""
        match kind:
            case Rendering.XLSX:
                xlsx.write_xlsx(target, bundle_sheets(manifest, bundle))
            case Rendering.CSV:
                target.writelines(combined_csv(bundle_sheets(manifest, bundle)))
            case Rendering.JSON:
                target.writelines(json_chunks(manifest.model_dump(mode="json"), bundle_tables(manifest, bundle)))
            case Rendering.JSON_ZIP:
                documents.write_json_zip(target, manifest, bundle)
            case Rendering.COMPREHENSIVE:
                target.writelines(documents.comprehensive_chunks(manifest, bundle))
            case Rendering.QUARANTINE:
                target.writelines(documents.quarantine_chunks(manifest, bundle))

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        """The rows of the Parquet file at `file` as CSV for PostgreSQL's COPY, `columns` in this order."""
        return copy_rows(file, columns, binary)

    def decrypted(self, chunks: Iterable[bytes], what: str, recipients: Sequence[str]) -> Iterator[bytes]:
        """Nothing is decrypted here: DecryptError."""
        raise no_key(what, recipients, ())

    def rows(self, files: Iterable[tuple[FileEntry, bytes]], table: TableEntry, where: str) -> pa.Table:
        """The rows of the plain Parquet `files` of `table`, as they were written."""
        return read_rows(files, table, where)


_CHUNK = 1 << 20
_GZIP = 31  # zlib's number for a gzip header around the largest window; its time is left at 0


class EncryptedWriter:
    """`inner`, whose files are encrypted by `cipher` on `close`."""

    def __init__(self, inner: TableWriter, directory: Path, cipher: Cipher) -> None:
        self._inner, self._directory, self._cipher = inner, directory, cipher
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
        source, is_sheet = self._directory / file.stored.name, file.format == "csv"
        target = HashingFile(self._directory / encrypted_name(file.name, gzipped=is_sheet))
        self._made.append(target)
        with source.open("rb") as opened:
            chunks = _gzipped(opened) if is_sheet and file.gzipped is None else _chunks(opened)
            self._cipher.encrypt(cast(BinaryIO, ByteReader(chunks)), target)
        target.close()
        if is_sheet:
            source.unlink(missing_ok=True)  # large, and of no more use here
        lies = StoredFile(name=target.path.name, bytes=target.bytes, sha256=target.sha256, crc32=target.crc32)
        return file.model_copy(update={"encrypted": lies, "gzipped": None})


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: source.read(_CHUNK), b"")


def _gzipped(source: BinaryIO) -> Iterator[bytes]:
    packing = isal_zlib.compressobj(wbits=_GZIP)
    for chunk in _chunks(source):
        yield packing.compress(chunk)
    yield packing.flush()


def encrypted_members(members: Iterable[Member], cipher: Cipher) -> Iterator[Member]:
    """The members, those encrypted that are not, and before them what may be read without a key: how to decrypt."""
    first = True
    for member in members:
        if first:
            yield from _readable(member, cipher.recipients)
            first = False
        yield member if member.path.endswith(ENCRYPTED) else _encrypted(member, cipher)


def _readable(first: Member, recipients: Sequence[str]) -> Iterator[Member]:
    notice = json.dumps({"format": "age-encryption.org/v1", "recipients": list(recipients)}, indent=1)
    yield bytes_member(README_PATH, first.modified, age_readme(recipients).encode())
    yield bytes_member(NOTICE_PATH, first.modified, notice.encode())


def _encrypted(member: Member, cipher: Cipher) -> Member:
    """A small member (manifest, README, schema), encrypted in memory."""
    content = cipher.encrypted(b"".join(member.chunks))
    return replace(bytes_member(encrypted_name(member.path, gzipped=False), member.modified, content), stored=True)


@dataclass(frozen=True)
class EncryptedBundle:
    """The members of the encrypted bundle `inner` under the names, and with the bytes, that they had before.

    What may be read without a key, and was not in the backup, is not among them.
    """

    inner: OpenBundle
    cipher: Cipher

    def names(self) -> tuple[str, ...]:
        """The paths of its members."""
        names = self.inner.names()
        encrypted = {plain_name(name) for name in names if name.endswith(ENCRYPTED)}
        hidden = {NOTICE_PATH, *encrypted}
        return tuple(plain_name(name) for name in names if name.endswith(ENCRYPTED) or name not in hidden)

    def stream(self, name: str) -> Iterator[bytes]:
        """The plain bytes of a member; DecryptError, naming the recipients, when no identity opens it."""
        path = next(
            (path for path in self.inner.names() if path.endswith(ENCRYPTED) and plain_name(path) == name), None
        )
        if path is None:
            yield from self.inner.stream(name)
            return
        what = f"Member {path} of the bundle"
        try:
            plain = self.cipher.decrypt(self.inner.stream(path), what)
            yield from _unzipped(plain, what) if is_gzipped(path) else plain
        except DecryptError as error:
            raise no_key(what, self._recipients(), self.cipher.holders) from error

    def _recipients(self) -> tuple[str, ...]:
        try:
            notice = json.loads(whole(self.inner.stream(NOTICE_PATH), MOST_NOTE, NOTICE_PATH))
            return tuple(str(name) for name in notice["recipients"])
        except (NotFoundError, VerificationError, ValueError, KeyError, TypeError, RecursionError):
            return ()


def _unzipped(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    unpacking = isal_zlib.decompressobj(wbits=_GZIP)
    try:
        for chunk in chunks:
            if data := unpacking.decompress(chunk):
                yield data
        if data := unpacking.flush():
            yield data
    except (IsalError, zlib.error, EOFError) as error:  # type: ignore[misc]  # its stub takes the class for a value
        raise _damaged(what, str(error)) from error
    if not unpacking.eof:
        raise _damaged(what, "it ends too early")


def _damaged(what: str, why: str) -> VerificationError:
    return VerificationError(f"{what} is damaged: {why}.", do="Use another copy of it, or another backup.")


class EncryptedFormats:
    """`inner`, with everything that goes to the store encrypted by `cipher`, and decrypted when it comes back.

    Without recipients nothing is encrypted; without identities encrypted bundles can be listed, not read.
    """

    def __init__(self, inner: Formats, cipher: Cipher) -> None:
        self._inner, self._cipher = inner, cipher

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who can read the files; empty when anybody can."""
        return self._cipher.recipients

    def passage(self) -> tuple[Formats, str] | None:
        """These formats with a new key that is nowhere but in memory, and its public key; None without encryption."""
        if not self._cipher.recipients:
            return None
        cipher, recipient = self._cipher.passage()
        return EncryptedFormats(self._inner, cipher), recipient

    def also_to(self, recipient: str) -> Formats:
        """These formats, whose files `recipient` can read too."""
        if not self._cipher.recipients:
            return self._inner.also_to(recipient)
        return EncryptedFormats(self._inner, self._cipher.also_to(recipient))

    def concealed(self, document: bytes) -> str:
        """The document, encrypted where files are."""
        return self._cipher.armored(document) if self._cipher.recipients else self._inner.concealed(document)

    def revealed(self, text: str, what: str) -> bytes:
        """The document in `text`; DecryptError when no identity opens it."""
        if not self._cipher.recipients:
            return self._inner.revealed(text, what)
        return self._cipher.opened(text.encode(), what)[0]

    def writer(self, plan: TablePlan, directory: Path, timezone: str, *, sheets: bool = True) -> TableWriter:
        """A writer whose files are encrypted when it closes."""
        inner = self._inner.writer(plan, directory, timezone, sheets=sheets)
        return EncryptedWriter(inner, directory, self._cipher) if self._cipher.recipients else inner

    def bundle(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members as one ZIP, each encrypted; files that are encrypted already go in as they are."""
        return self._inner.bundle(encrypted_members(members, self._cipher) if self._cipher.recipients else members)

    def open_bundle(self, read_range: Callable[[int, int], bytes], size: int) -> OpenBundle:
        """The bundle, its members decrypted as they are read; DecryptError when no identity opens one."""
        bundle = self._inner.open_bundle(read_range, size)
        encrypted = any(name.endswith(ENCRYPTED) for name in bundle.names())
        return EncryptedBundle(bundle, self._cipher) if encrypted else bundle

    def readme(self, manifest: Manifest, schema: str) -> str:
        """The README of a bundle, once it is decrypted."""
        return self._inner.readme(manifest, schema)

    def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
        """As the inner formats do; `bundle` decrypts itself."""
        self._inner.render(kind, manifest, bundle, target)

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        """As the inner formats do; `file` is plain."""
        return self._inner.copy_rows(file, columns, binary)

    def decrypted(self, chunks: Iterable[bytes], what: str, recipients: Sequence[str]) -> Iterator[bytes]:
        """The plain bytes of a file; DecryptError, naming its recipients, when no identity opens it."""
        try:
            yield from self._cipher.decrypt(chunks, what)
        except DecryptError as error:
            raise no_key(what, recipients, self._cipher.holders) from error

    def rows(self, files: Iterable[tuple[FileEntry, bytes]], table: TableEntry, where: str) -> pa.Table:
        """As the inner formats do; `files` are plain."""
        return self._inner.rows(files, table, where)
