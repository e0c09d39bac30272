"""The first step: the backup as it lies in the store, copied to this machine once; everything else reads the copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.limits import MOST_DOCUMENT, whole
from backup_pipeline.core.manifest import read_manifest
from backup_pipeline.core.ports import Store
from backup_pipeline.core.progress import BytesMoved, Progress, StageStarted
from backup_pipeline.operations.drill.asked import Bench


def copy_place(inner: Store, original: Store) -> Store:
    """The store `inner` for what is copied from `original`, as it lies there: it is decrypted as there."""
    return cast(Store, _CopyPlace(inner, original))


class _CopyPlace:
    """`inner`, whose documents `original` opens."""

    def __init__(self, inner: Store, original: Store) -> None:
        self._inner = inner
        self.opened = original.opened

    def get(self, key: str) -> bytes:
        """The whole object; a document decrypted."""
        return self.opened(key, self._inner.get(key))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def copy_backup(bench: Bench) -> None:
    """Copy manifest and bundle, as far as they are there: what is missing or damaged, verifying the copy tells.

    StoreError when the store can not be read, or the copy not be written.
    """
    place, store = bench.request.place, bench.ports.store
    with suppress(NotFoundError, VerificationError):
        data = whole(store.stream(place.manifest), MOST_DOCUMENT, place.manifest)
        bench.copy.put(place.manifest, [data])
        bundle = read_manifest(store.opened(place.manifest, data), place.manifest).bundle
        bench.ports.progress.tell(StageStarted("copying the backup here", bundle.bytes))
        key = place.bundle(bundle.name)
        bench.copy.put(key, _counted(store.stream(key), bench.ports.progress))


def _counted(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        progress.tell(BytesMoved(len(chunk)))
