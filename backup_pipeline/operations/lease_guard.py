"""Ports under a lease: nothing is published, and reading stops, once the lease is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from backup_pipeline.core.errors import CanceledError
from backup_pipeline.core.ports import Ports, Snapshot, Source, Store, StoredObject
from backup_pipeline.core.progress import Progress
from backup_pipeline.operations.lease import HeldLease


def guarded(ports: Ports, lease: HeldLease) -> Ports:
    """`ports` whose store is written, and whose source is read, only as long as `lease` is ours."""
    return replace(
        ports,
        store=cast(Store, _GuardedStore(ports.store, lease)),
        source=cast(Source, _GuardedSource(ports.source, lease)),
    )


class _GuardedStore:
    """Asks the lease before each change; the ledger too for what makes something visible: a record, a manifest."""

    def __init__(self, inner: Store, lease: HeldLease) -> None:
        self._inner = inner
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        self._lease.check(ask=True)
        return self._inner.put(key, self._watched(chunks))

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        self._lease.check(ask=True)
        return self._inner.keep(key, self._watched(chunks), replace=replace)

    def put_file(self, key: str, path: Path) -> StoredObject:
        self._lease.check()
        return self._inner.put_file(key, path)

    def delete(self, keys: Sequence[str]) -> None:
        self._lease.check()
        self._inner.delete(keys)

    def _watched(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """What is at hand already as it is; what is still being made stops when the lease is lost."""
        return chunks if isinstance(chunks, Sequence) else self._stopped(chunks)

    def _stopped(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._lease.check()
            yield chunk


class _GuardedSource:
    """Cancels the queries of a snapshot when the lease is lost, and then says why they were canceled."""

    def __init__(self, inner: Source, lease: HeldLease) -> None:
        self._inner = inner
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def snapshot(self, progress: Progress | None = None, *, lock_timeout_s: float | None = None) -> Iterator[Snapshot]:
        opening = self._inner.snapshot(progress, lock_timeout_s=lock_timeout_s)
        with opening as snapshot, self._lease.stopping(snapshot.cancel):
            try:
                yield snapshot
            except CanceledError:
                self._lease.check()
                raise
