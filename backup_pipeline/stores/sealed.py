"""A store whose manifests and records of partitions are sealed going in, and whose seals are checked coming out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.keys import SealKeys, check_seal, with_seal
from backup_pipeline.core.layout import MANIFEST_NAME, PARTITION_NAME
from backup_pipeline.core.manifest import unsealed
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.ports.store import Protection

_MANIFEST, _RECORD = f"/{MANIFEST_NAME}", f"/{PARTITION_NAME}"


@dataclass(frozen=True)
class SealedStore:
    """`inner`; whoever reads a manifest or a record through here gets one whose seal counts, or a VerificationError.

    A document without a seal is older than the key, or somebody took it off: of a backup the ledger decides, unless
    seals are `required`. A record, which no ledger knows, must have one wherever records are sealed.
    """

    inner: Store
    keys: SealKeys
    required: bool = False

    @property
    def url(self) -> str:
        """That of the inner store."""
        return self.inner.url

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object; a document sealed."""
        return self.inner.put(key, self._sealed(key, chunks))

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays; a document sealed."""
        return self.inner.keep(key, self._sealed(key, chunks), replace=replace)

    def protection(self, key: str) -> Protection:
        """What keeps the object from being changed."""
        return self.inner.protection(key)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path`, as it is."""
        return self.inner.put_file(key, path)

    def get(self, key: str) -> bytes:
        """The whole object; a document, once its seal is checked."""
        return self._checked(key, self.inner.get(key)) if _is_document(key) else self.inner.get(key)

    def opened(self, key: str, data: bytes) -> bytes:
        """What the inner store makes of it."""
        return self.inner.opened(key, data)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes; those of a document once its seal is checked, which is over all of it."""
        if not _is_document(key):
            return self.inner.stream(key, start=start, length=length)
        data = self._checked(key, b"".join(self.inner.stream(key)))
        return iter([data[start : None if length is None else start + length]])

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
        """A URL that gives the object."""
        return self.inner.sign(key, expires=expires, file_name=file_name)

    def check(self) -> None:
        """Raise the error a backup would meet."""
        self.inner.check()

    def _sealed(self, key: str, chunks: Iterable[bytes]) -> Iterable[bytes]:
        if self.keys.signing is None or not _is_document(key):
            return chunks
        return [with_seal(b"".join(chunks), f"{self.url}/{key}", self.keys)]

    def _checked(self, key: str, data: bytes) -> bytes:
        """`data`; that it is damaged, or no document at all, is for its reader to say."""
        where = f"{self.url}/{key}"
        try:
            unsealed(data, where)
        except VerificationError:
            return data
        required = self.required or (key.endswith(_RECORD) and self.keys.signing is not None)
        check_seal(data, where, self.keys, required=required)
        return data


def _is_document(key: str) -> bool:
    return key.endswith((_MANIFEST, _RECORD))
