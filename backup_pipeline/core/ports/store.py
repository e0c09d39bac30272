"""The port to a store: where bundles and partitions live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Protection:
    """How an object that is meant to stay is protected by its store.

    `refuses` says whether the store itself refuses to write over it (None: not known): where it does not, only a look
    beforehand keeps a backup from being overwritten, and two writers at once are not told apart. `mode` and `until` are
    those of its lock; None without one.
    """

    refuses: bool | None = None
    mode: str | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        lock = "not locked"
        if self.mode is not None and self.until is not None:
            lock = f"locked ({self.mode.lower()}) until {self.until:%Y-%m-%d %H:%M} UTC"
        if self.refuses:
            return f"{lock}; the store refuses to overwrite it"
        return f"{lock}; the store does not refuse to overwrite it: what is there is looked up first"

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        until = self.until.isoformat(timespec="seconds") if self.until else None
        return {"protection": str(self), "mode": self.mode, "until": until, "refuses": self.refuses}

    @property
    def notable(self) -> bool:
        """Whether there is something about it that people should read in the audit."""
        return self.mode is not None or self.refuses is False


@dataclass(frozen=True)
class StoredObject:
    """An object in a store: its key, its size in bytes, and when it was last written."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Where bundles and partitions live. Keys are relative, `/`-separated, never starting with `/`.

    Where backups are encrypted, `put`, `keep` and `get` encrypt and decrypt manifests, records of partitions and
    schemas: DecryptError when no key opens one. Everything else, `stream` too, is about the bytes as they lie there.
    Every failure is a StoreError; StoreUnavailableError when waiting can help; NotFoundError for a missing key.
    """

    @property
    def url(self) -> str:
        """Where it is, fit for people: `s3://bucket/prefix`, `file:///var/backups`."""

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object. It is visible whole or not at all, and durable on return."""

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path` as one object, with the promises of `put`; may be retried.

        Nobody may write into that file any more: a store beside it may keep the very same bytes.
        """

    def get(self, key: str) -> bytes:
        """The whole object."""

    def opened(self, key: str, data: bytes) -> bytes:
        """What `get` gives when `data`, as `stream` reads it, lies under `key`: decrypted, where it is encrypted."""

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, `length` of them or to the end, in chunks."""

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays: as `put`, and locked where the store's settings say so.

        RefusedError when the key is taken, and nothing is changed then; unless it is meant to `replace` what is there.
        """

    def protection(self, key: str) -> Protection:
        """What keeps an object written by `keep` from being changed."""

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; a missing one is no error."""

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """A URL that gives the object to whoever has it until it expires, downloaded as `file_name`."""

    def check(self) -> None:
        """Raise the error a backup would meet: not there, not reachable, not writable. Leaves nothing behind."""


@dataclass(frozen=True)
class Second:
    """The second destination: its URL as it is written in the ledger, and the store there, bytes as they lie there."""

    url: str
    store: Store
