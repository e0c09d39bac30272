"""A store whose documents (manifests, records of partitions, schemas) are encrypted going in, and decrypted coming out.

The files of a backup come here encrypted already; they pass as they are.
"""

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

from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.keys import ENCRYPTED, Cipher, no_key
from backup_pipeline.core.layout import MANIFEST_NAME, PARTITION_NAME, is_schema
from backup_pipeline.core.manifest.outline import Outline, PartitionOutline, concealed, hidden
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.ports.store import Protection

_KEPT = timedelta(days=40)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenOutlines:
    """Documents in `folder`, readable by their owner only, for 40 days; None: nothing is remembered.

    They tell about tables, never a row of them. They stand under the SHA-256 of what lies in the store, so that one is
    found only for exactly what this machine wrote. That they are there is a convenience: losing them costs no backup.
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
                if time.time() - old.stat().st_mtime > _KEPT.total_seconds():
                    old.unlink()


_OUTLINED = (f"/{MANIFEST_NAME}", f"/{PARTITION_NAME}")


def _nobody(backup_id: str, identity: str) -> None:
    """Nobody is told that a key was used."""


@dataclass(frozen=True)
class EncryptedStore:
    """`inner`; `put`, `keep` and `get` encrypt and decrypt documents, everything else is about what lies there.

    `stream` of a manifest gives what anybody may read, `get` the whole one: DecryptError, naming the recipients, when
    no identity opens it and this machine did not write it (`written`). Without recipients nothing is encrypted. `used`
    is told which backup an identity was used for, before anything of it is given out.
    """

    inner: Store
    cipher: Cipher
    written: WrittenOutlines
    used: Callable[[str, str], None] = _nobody
    _told: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def url(self) -> str:
        """That of the inner store."""
        return self.inner.url

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object; a document encrypted."""
        if not self.cipher.recipients or not _is_document(key):
            return self.inner.put(key, chunks)
        data = b"".join(chunks)
        if is_schema(key):
            return self._put_schema(key, data)
        return self.inner.put(key, [self._concealed(key, data)])

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays; a document encrypted."""
        if self.cipher.recipients and key.endswith(_OUTLINED):
            chunks = [self._concealed(key, b"".join(chunks))]
        return self.inner.keep(key, chunks, replace=replace)

    def protection(self, key: str) -> Protection:
        """What keeps the object from being changed."""
        return self.inner.protection(key)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path`, as it is."""
        return self.inner.put_file(key, path)

    def get(self, key: str) -> bytes:
        """The whole object; a document decrypted."""
        if is_schema(key):
            return self._get_schema(key)
        return self.opened(key, self.inner.get(key))

    def opened(self, key: str, data: bytes) -> bytes:
        """The document in `data`, decrypted."""
        found = _outline_in(data, key) if key.endswith(_OUTLINED) else None
        return data if found is None else self._opened(key, found)

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
        """Remove these objects."""
        self.inner.delete(keys)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """A URL that gives the object, as it lies in the store."""
        return self.inner.sign(key, expires=expires, file_name=file_name)

    def check(self) -> None:
        """Raise the error a backup would meet."""
        self.inner.check()

    def _concealed(self, key: str, data: bytes) -> bytes:
        """The document with everything in it encrypted that is not for everybody; as it is, when it came so."""
        where = f"{self.url}/{key}"
        if _outline_in(data, key) is not None:
            return data
        ciphertext = self.cipher.armored(data)
        self.written.remember(ciphertext.encode(), data)
        return concealed(data, where, self.cipher.recipients, ciphertext)

    def _opened(self, key: str, found: Outline | PartitionOutline) -> bytes:
        """The document that `found` stands for.

        With a key a manifest is always opened by it, so that its use is written down, whoever wrote the manifest.
        """
        data, where = found.ciphertext.encode(), f"{self.url}/{key}"
        by_key = self.cipher.holders and isinstance(found, Outline)
        mine = None if by_key else self.written.recall(data)
        if mine is not None:
            return mine
        try:
            plain, identity = self.cipher.opened(data, where)
        except DecryptError as error:
            raise no_key(where, found.encryption.recipients, self.cipher.holders) from error
        if isinstance(found, Outline):
            self._tell(found.backup_id, identity)
        return plain

    def _tell(self, backup_id: str, identity: str) -> None:
        if backup_id not in self._told:
            self.used(backup_id, identity)
            self._told.add(backup_id)

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
        first, then = (key + ENCRYPTED, key) if self.cipher.recipients else (key, key + ENCRYPTED)
        try:
            return self._schema_at(first)
        except NotFoundError:
            if self.inner.head(then) is None:
                raise
            return self._schema_at(then)

    def _schema_at(self, key: str) -> bytes:
        data = self.inner.get(key)
        if not key.endswith(ENCRYPTED):
            return data
        mine = self.written.recall(data)
        return self.cipher.opened(data, f"{self.url}/{key}")[0] if mine is None else mine


def _is_document(key: str) -> bool:
    return key.endswith(_OUTLINED) or is_schema(key)


def _outline_in(data: bytes, key: str) -> Outline | PartitionOutline | None:
    """The outline in `data`, when it is one; what is damaged is for the reader to say."""
    try:
        return hidden(data, key)
    except VerificationError:
        return None
