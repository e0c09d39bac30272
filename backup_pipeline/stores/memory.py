"""A store in memory: for tests, and for trying a pipeline without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_pipeline.core.errors import NotFoundError, RefusedError
from backup_pipeline.core.ports import Clock, StoredObject
from backup_pipeline.core.ports.store import Protection
from backup_pipeline.stores.keys import check_key, check_prefix, span, taken

CHUNK = 1 << 20


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class MemoryStore:
    """A dictionary with the contract of a store. Its objects live as long as it does."""

    clock: Clock = _now
    url: str = "memory://"
    _objects: dict[str, tuple[StoredObject, bytes]] = field(default_factory=dict, repr=False)

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Keep `chunks` as one object, once all of them are there."""
        check_key(key)
        content = b"".join(chunks)
        stored = StoredObject(key, len(content), self.clock())
        self._objects[key] = (stored, content)
        return stored

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Keep the content of the file at `path`."""
        return self.put(key, [path.read_bytes()])

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Keep `chunks` as one object, unless there is one and it is not meant to be replaced."""
        if not replace and self.head(key) is not None:
            raise taken(key, self.url)
        return self.put(key, chunks)

    def protection(self, key: str) -> Protection:
        """It refuses to overwrite; there are no locks."""
        return Protection(refuses=True)

    def get(self, key: str) -> bytes:
        """The whole object."""
        return self._find(key)[1]

    def opened(self, key: str, data: bytes) -> bytes:
        """As it is: nothing is encrypted here."""
        return data

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`; a missing key raises at the call."""
        content = self._find(key)[1]
        first, end = span(len(content), start, length)
        return (content[at : min(at + CHUNK, end)] for at in range(first, end, CHUNK))

    def head(self, key: str) -> StoredObject | None:
        """What is kept under `key`, or None."""
        found = self._objects.get(check_key(key))
        return found[0] if found else None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key, as of now."""
        check_prefix(prefix)
        return iter([self._objects[key][0] for key in sorted(self._objects) if key.startswith(prefix)])

    def delete(self, keys: Sequence[str]) -> None:
        """Forget these objects; a missing one is no error."""
        for key in keys:
            self._objects.pop(check_key(key), None)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """Refused: memory has no URLs."""
        what = f"A store in memory has no URL for {key}"
        raise RefusedError(what, do="Use an S3 store, or `backup-pipeline download`.")

    def check(self) -> None:
        """Memory is always there."""

    def _find(self, key: str) -> tuple[StoredObject, bytes]:
        try:
            return self._objects[check_key(key)]
        except KeyError:
            what = f"There is no object {key} in {self.url}"
            raise NotFoundError(what, do="List what is there.") from None
