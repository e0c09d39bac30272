"""Stores around a store: what passes every call through, what tries again, and what seals and encrypts documents."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from backup_pipeline.core.errors import BackupError, DecryptError, NotFoundError, StoreError, VerificationError
from backup_pipeline.core.keys import ENCRYPTED, Cipher, SealKeys, check_seal, no_key, with_seal
from backup_pipeline.core.layout import MANIFEST_NAME, PARTITION_NAME, is_schema
from backup_pipeline.core.manifest import unsealed
from backup_pipeline.core.manifest.outline import Outline, PartitionOutline, concealed, hidden
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.ports.files import Protection
from backup_pipeline.stores.files import span

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrappedStore:
    """Every call goes to `inner` as it is; a subclass has only those that it changes."""

    inner: Store

    @property
    def url(self) -> str:
        """That of the inner store."""
        return self.inner.url

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """See the port `Store`, as for all calls here."""
        return self.inner.put(key, chunks)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path`."""
        return self.inner.put_file(key, path)

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays."""
        return self.inner.keep(key, chunks, replace=replace)

    def protection(self, key: str) -> Protection:
        """What keeps the object from being changed."""
        return self.inner.protection(key)

    def get(self, key: str) -> bytes:
        """The whole object."""
        return self.inner.get(key)

    def opened(self, key: str, data: bytes) -> bytes:
        """What the inner store's `get` gives when `data` lies under `key`."""
        return self.inner.opened(key, data)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes, as they lie in the store."""
        return self.inner.stream(key, start=start, length=length)

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None."""
        return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key."""
        return self.inner.list(prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; a missing one is no error."""
        self.inner.delete(keys)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """A URL that gives the object, as it lies in the store, until it expires."""
        return self.inner.sign(key, expires=expires, file_name=file_name)

    def check(self) -> None:
        """Raise the error a backup would meet."""
        self.inner.check()


def innermost(store: Store) -> object:
    """The store that no other is in: what `store` wraps in the end, or itself."""
    inner: object = store
    while (wrapped := getattr(inner, "inner", None)) is not None:
        inner = wrapped
    return inner


@dataclass(frozen=True)
class RetryingStore(WrappedStore):
    """Tries each operation on `inner` up to `attempts` times, as long as its errors are transient.

    Before attempt n + 1 it waits `first * 2**(n - 1)` seconds, at most `longest`, less up to half of that by chance, so
    that many clients do not return together. `wait` takes seconds (`time.sleep`, or the wait of a cancel event),
    `chance` gives numbers in [0, 1) (`random.random`).

    `put` and `keep` are not tried again: their chunks can be read once only. `list` and `stream` go on where they were.
    """

    attempts: int
    wait: Callable[[float], object]
    chance: Callable[[], float]
    first: float = 0.5
    longest: float = 20.0

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path`."""
        return self._try(lambda: self.inner.put_file(key, path))

    def protection(self, key: str) -> Protection:
        """What keeps the object from being changed."""
        return self._try(lambda: self.inner.protection(key))

    def get(self, key: str) -> bytes:
        """The whole object."""
        return self._try(lambda: self.inner.get(key))

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`. StoreError when another object takes the key between two attempts."""
        about = self.head(key)
        if about is None:
            what = f"There is no object {key} in {self.url}"
            raise NotFoundError(what, do="List what is there.")
        return self._stream(about, start, length)

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None."""
        return self._try(lambda: self.inner.head(key))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key, each once."""
        last, attempt = "", 0
        while True:
            try:
                for stored in self.inner.list(prefix):
                    if stored.key > last:
                        last, attempt = stored.key, 0
                        yield stored
            except BackupError as error:
                attempt += 1
                self._pause(error, attempt)
            else:
                return

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; a missing one is no error."""
        self._try(lambda: self.inner.delete(keys))

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """A URL that gives the object until it expires."""
        return self._try(lambda: self.inner.sign(key, expires=expires, file_name=file_name))

    def check(self) -> None:
        """Raise the error a backup would meet."""
        self._try(self.inner.check)

    def _try(self, operation: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                return operation()
            except BackupError as error:
                attempt += 1
                self._pause(error, attempt)

    def _stream(self, about: StoredObject, start: int, length: int | None) -> Iterator[bytes]:
        position, end = span(about.size, start, length)
        attempt = 0
        while position < end:
            try:
                for chunk in self.inner.stream(about.key, start=position, length=end - position):
                    yield chunk
                    position, attempt = position + len(chunk), 0
                    if position >= end:
                        return
            except BackupError as error:
                attempt += 1
                self._pause(error, attempt)
                self._check_unchanged(about)
            else:
                self._check_unchanged(about)
                what = f"{about.key} in {self.url} ended at byte {position} of {end}"
                raise StoreError(what, do="Verify this backup.")

    def _check_unchanged(self, about: StoredObject) -> None:
        if self.head(about.key) != about:
            what = f"{about.key} in {self.url} was replaced while it was read"
            raise StoreError(what, do="Read it again from its start.")

    def _pause(self, error: BackupError, attempt: int) -> None:
        """Wait before the next attempt, or raise `error` when there is none."""
        if not error.transient or attempt >= self.attempts:
            raise error
        seconds = min(self.longest, self.first * 2.0 ** (attempt - 1)) * (1 - self.chance() / 2)
        log.warning("Attempt %d of %d failed, the next is in %.1f s: %s", attempt, self.attempts, seconds, error.what)
        self.wait(seconds)


_RECORD = f"/{PARTITION_NAME}"
_DOCUMENTS = (f"/{MANIFEST_NAME}", _RECORD)
_WRITTEN_FOR = timedelta(days=40)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SealedStore(WrappedStore):
    """`inner`; whoever reads a manifest or a record through here gets one whose seal counts, or a VerificationError.

    A document without a seal is older than the key, or somebody took it off: of a backup the ledger decides, unless
    seals are `required`. A record, which no ledger knows, must have one wherever records are sealed.
    """

    keys: SealKeys
    required: bool = False

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object; a document sealed."""
        return self.inner.put(key, self._sealed(key, chunks))

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays; a document sealed."""
        return self.inner.keep(key, self._sealed(key, chunks), replace=replace)

    def get(self, key: str) -> bytes:
        """The whole object; a document, once its seal is checked."""
        return self._checked(key, self.inner.get(key)) if key.endswith(_DOCUMENTS) else self.inner.get(key)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes; those of a document once its seal is checked, which is over all of it."""
        if not key.endswith(_DOCUMENTS):
            return self.inner.stream(key, start=start, length=length)
        data = self._checked(key, b"".join(self.inner.stream(key)))
        return iter([data[start : None if length is None else start + length]])

    def _sealed(self, key: str, chunks: Iterable[bytes]) -> Iterable[bytes]:
        if self.keys.signing is None or not key.endswith(_DOCUMENTS):
            return chunks
        return [with_seal(b"".join(chunks), f"{self.url}/{key}", self.keys)]

    def _checked(self, key: str, data: bytes) -> bytes:
        """`data`, whose seal counts. Whether it is a document at all its reader finds out."""
        where = f"{self.url}/{key}"
        try:
            unsealed(data, where)
        except VerificationError:
            return data
        required = self.required or (key.endswith(_RECORD) and self.keys.signing is not None)
        check_seal(data, where, self.keys, required=required)
        return data


@dataclass(frozen=True)
class WrittenOutlines:
    """The plain documents that this machine wrote, in `folder`, for their owner's eyes and 40 days; None: none is kept.

    They describe tables, and have no row of them. A file's name is the SHA-256 of the encrypted bytes in the store, so
    that it counts only for exactly what this machine wrote. They spare a key; losing them costs no backup.
    """

    folder: Path | None

    def remember(self, encrypted: bytes, plain: bytes) -> None:
        """Keep `plain`, of which `encrypted` goes into the store."""
        if self.folder is None:
            return
        try:
            self._write(self.folder, self._place(self.folder, encrypted), plain)
            self._forget(self.folder)
        except OSError as error:
            logger.warning("What this machine wrote is not remembered in %s (%s): it needs a key.", self.folder, error)

    def recall(self, encrypted: bytes) -> bytes | None:
        """The plain text of `encrypted`; None when it is not known here."""
        if self.folder is None:
            return None
        try:
            return self._place(self.folder, encrypted).read_bytes()
        except OSError:
            return None

    @staticmethod
    def _write(folder: Path, place: Path, plain: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")  # which only its owner may read
        with os.fdopen(handle, "wb") as file:
            file.write(plain)
        Path(name).replace(place)

    @staticmethod
    def _place(folder: Path, encrypted: bytes) -> Path:
        return folder / hashlib.sha256(encrypted).hexdigest()

    @staticmethod
    def _forget(folder: Path) -> None:
        for old in folder.iterdir():
            with suppress(FileNotFoundError):  # another process forgets it too
                if time.time() - old.stat().st_mtime > _WRITTEN_FOR.total_seconds():
                    old.unlink()


def _unreported(backup_id: str, identity: str) -> None:
    """A key was used, and nobody wants to know."""


@dataclass(frozen=True)
class EncryptedStore(WrappedStore):
    """`inner`; `put`, `keep` and `get` encrypt and decrypt documents, everything else is about what lies there.

    `stream` of a manifest gives what anybody may read, `get` the whole one: DecryptError, naming the recipients, when
    no identity opens it and this machine did not write it (`written`). Without recipients nothing is encrypted. `used`
    is told which backup an identity was used for, before anything of it is given out.
    """

    cipher: Cipher
    written: WrittenOutlines
    used: Callable[[str, str], None] = _unreported
    _reported: set[str] = field(default_factory=set, repr=False, compare=False)

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object; a document encrypted."""
        if not self.cipher.recipients or not (key.endswith(_DOCUMENTS) or is_schema(key)):
            return self.inner.put(key, chunks)
        data = b"".join(chunks)
        if is_schema(key):
            return self._put_schema(key, data)
        return self.inner.put(key, [self._concealed(key, data)])

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays; a document encrypted."""
        if self.cipher.recipients and key.endswith(_DOCUMENTS):
            chunks = [self._concealed(key, b"".join(chunks))]
        return self.inner.keep(key, chunks, replace=replace)

    def get(self, key: str) -> bytes:
        """The whole object; a document decrypted."""
        if is_schema(key):
            return self._get_schema(key)
        return self.opened(key, self.inner.get(key))

    def opened(self, key: str, data: bytes) -> bytes:
        """The document in `data`, decrypted."""
        outline = _outline_in(data, key) if key.endswith(_DOCUMENTS) else None
        return data if outline is None else self._decrypted(key, outline)

    def _concealed(self, key: str, data: bytes) -> bytes:
        """The document with everything in it encrypted that is not for everybody; as it is, when it came so."""
        where = f"{self.url}/{key}"
        if _outline_in(data, key) is not None:
            return data
        ciphertext = self.cipher.armored(data)
        self.written.remember(ciphertext.encode(), data)
        return concealed(data, where, self.cipher.recipients, ciphertext)

    def _decrypted(self, key: str, outline: Outline | PartitionOutline) -> bytes:
        """The document of which `outline` is the readable part.

        Where a private key is set a manifest is opened by it although this machine wrote it: the use is audited.
        """
        ciphertext, where = outline.ciphertext.encode(), f"{self.url}/{key}"
        by_key = self.cipher.holders and isinstance(outline, Outline)
        written = None if by_key else self.written.recall(ciphertext)
        if written is not None:
            return written
        try:
            plain, identity = self.cipher.opened(ciphertext, where)
        except DecryptError as error:
            raise no_key(where, outline.encryption.recipients, self.cipher.holders) from error
        if isinstance(outline, Outline) and outline.backup_id not in self._reported:
            self.used(outline.backup_id, identity)
            self._reported.add(outline.backup_id)
        return plain

    def _put_schema(self, key: str, data: bytes) -> StoredObject:
        """The schema as an age file; a readable one that lies there from before is removed."""
        encrypted = self.cipher.encrypted(data)
        self.written.remember(encrypted, data)
        stored = self.inner.put(key + ENCRYPTED, [encrypted])
        if self.inner.head(key) is not None:
            self.inner.delete([key])
        return stored

    def _get_schema(self, key: str) -> bytes:
        """The schema, encrypted or not: the kind that is written now comes first."""
        current, former = (key + ENCRYPTED, key) if self.cipher.recipients else (key, key + ENCRYPTED)
        try:
            return self._schema_at(current)
        except NotFoundError:
            if self.inner.head(former) is None:
                raise
            return self._schema_at(former)

    def _schema_at(self, key: str) -> bytes:
        data = self.inner.get(key)
        if not key.endswith(ENCRYPTED):
            return data
        written = self.written.recall(data)
        return self.cipher.opened(data, f"{self.url}/{key}")[0] if written is None else written


def _outline_in(data: bytes, key: str) -> Outline | PartitionOutline | None:
    """The outline in `data`; None for anything else, damaged documents too: their reader says so."""
    try:
        return hidden(data, key)
    except VerificationError:
        return None
