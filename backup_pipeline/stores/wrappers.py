"""Stores around a store: what passes every call through, and what tries a call again when waiting can help."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from backup_pipeline.core.errors import BackupError, NotFoundError, StoreError
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.ports.store import Protection
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
