"""Stores for tests: one in memory, and one that fails on demand around any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from backup_pipeline.core.errors import NotFoundError, RefusedError
from backup_pipeline.core.ports import Clock, Store, StoredObject
from backup_pipeline.core.ports.files import Protection
from backup_pipeline.stores.files import check_key, check_prefix, span, taken

CHUNK = 1 << 20
Operation = Literal["put", "put_file", "get", "stream", "head", "list", "delete", "sign", "check"]
T = TypeVar("T")


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


@dataclass(frozen=True)
class StoreFault:
    """What goes wrong from the `nth` call of an operation on (the first is 1), `times` times; None: for ever.

    `before` is called with the key first. `error` is raised: at once, or `after` chunks or listed objects have passed
    (put, stream, list). `truncate` keeps so many bytes of the object; `flip` turns over one bit of its bytes, counted
    from its start (put, put_file, get, stream).
    """

    nth: int = 1
    times: int | None = 1
    error: BaseException | None = None
    after: int | None = None
    before: Callable[[str], object] | None = None
    truncate: int | None = None
    flip: int | None = None

    def strikes(self, call: int) -> bool:
        """Whether call number `call` goes wrong."""
        return call >= self.nth and (self.times is None or call < self.nth + self.times)

    def corrupt(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """`chunks` as this fault lets them pass."""
        at = 0
        for chunk in chunks:
            passed = self._flipped(chunk, at)
            at += len(chunk)
            if self.truncate is not None and at >= self.truncate:
                yield passed[: len(passed) - (at - self.truncate)]
                return
            yield passed

    def _flipped(self, chunk: bytes, at: int) -> bytes:
        if self.flip is None or not at <= self.flip // 8 < at + len(chunk):
            return chunk
        changed = bytearray(chunk)
        changed[self.flip // 8 - at] ^= 1 << self.flip % 8
        return bytes(changed)


@dataclass
class FaultyStore:
    """`inner`, with the faults planned by `on`. `calls` counts the calls of each operation, failed ones included."""

    inner: Store
    calls: dict[Operation, int] = field(default_factory=dict)
    _faults: dict[Operation, list[StoreFault]] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """That of the inner store."""
        return self.inner.url

    def on(self, operation: Operation, fault: StoreFault) -> FaultyStore:
        """Plan `fault`; calls are counted from now. Returns this store, to plan more."""
        self.calls[operation] = 0
        self._faults.setdefault(operation, []).append(fault)
        return self

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks`, or what the fault makes of them."""
        return self.inner.put(key, self._pass("put", key, chunks))

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path`, or what the fault makes of it."""
        fault = self._meet("put_file", key)
        if fault is None or (fault.truncate is None and fault.flip is None):
            return self.inner.put_file(key, path)
        return self.inner.put(key, fault.corrupt([path.read_bytes()]))

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks`, or what the fault makes of them; its faults are those of `put`."""
        return self.inner.keep(key, self._pass("put", key, chunks), replace=replace)

    def protection(self, key: str) -> Protection:
        """What the inner store says."""
        return self.inner.protection(key)

    def get(self, key: str) -> bytes:
        """The object, or what the fault makes of it."""
        fault = self._meet("get", key)
        content = self.inner.get(key)
        return content if fault is None else b"".join(fault.corrupt([content]))

    def opened(self, key: str, data: bytes) -> bytes:
        """What the inner store makes of it."""
        return self.inner.opened(key, data)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes, or what the fault makes of them."""
        return iter(self._pass("stream", key, self.inner.stream(key, start=start, length=length)))

    def head(self, key: str) -> StoredObject | None:
        """What the inner store says, unless it fails."""
        self._meet("head", key)
        return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """What the inner store lists, until it fails."""
        fault = self._meet("list", prefix)
        yield from _failing(self.inner.list(prefix), fault)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects, unless it fails."""
        self._meet("delete", keys[0] if keys else "")
        self.inner.delete(keys)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """What the inner store signs, unless it fails."""
        self._meet("sign", key)
        return self.inner.sign(key, expires=expires, file_name=file_name)

    def check(self) -> None:
        """What the inner store finds, unless it fails."""
        self._meet("check", "")
        self.inner.check()

    def _pass(self, operation: Operation, key: str, chunks: Iterable[bytes]) -> Iterable[bytes]:
        fault = self._meet(operation, key)
        return chunks if fault is None else _failing(fault.corrupt(chunks), fault)

    def _meet(self, operation: Operation, key: str) -> StoreFault | None:
        """Count the call; do what the fault planned for it does at once; return the fault for the rest."""
        self.calls[operation] = call = self.calls.get(operation, 0) + 1
        fault = next((fault for fault in self._faults.get(operation, ()) if fault.strikes(call)), None)
        if fault is not None and fault.before is not None:
            fault.before(key)
        if fault is not None and fault.error is not None and fault.after is None:
            raise fault.error
        return fault


def _failing(items: Iterable[T], fault: StoreFault | None) -> Iterator[T]:
    """`items`, or as many of them as pass before the fault's error."""
    if fault is None or fault.error is None:
        yield from items
        return
    yield from islice(items, fault.after)
    raise fault.error
