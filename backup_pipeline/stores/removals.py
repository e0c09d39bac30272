"""What a store can remove for good, and what it keeps."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.core.errors import StoreDeniedError, StoreError
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.retention.prune import Left, Removals, Unfinished, Versions, Why
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.files import discard_leftover, explain, leftovers, open_file, opened
from backup_pipeline.stores.keys import STAGING
from backup_pipeline.stores.s3.removals import S3Removals
from backup_pipeline.stores.s3.store import S3Store


def removals_of(store: Store) -> Removals:
    """How objects leave `store`, also when it is wrapped, for retries or else."""
    inner = store
    while not isinstance(inner, DirectoryStore | S3Store) and (wrapped := getattr(inner, "inner", None)) is not None:
        inner = wrapped
    if isinstance(inner, S3Store):
        return S3Removals(inner.bucket, inner.prefix, inner.settings)
    return DirectoryRemovals(store, inner.root) if isinstance(inner, DirectoryStore) else PlainRemovals(store)


@dataclass(frozen=True)
class PlainRemovals:
    """The port `Removals` over a store without locks and versions."""

    store: Store

    def locked(self, keys: Sequence[str]) -> Sequence[Left]:
        """None."""
        return []

    def remove(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        """Delete each object; those that the store would not delete, with its words."""
        return [left for key in keys if (left := self._delete(key)) is not None]

    def hidden(self, prefix: str) -> Iterator[StoredObject]:
        """None: what is deleted is gone."""
        return iter(())

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Nothing: such a store shows no trace of it."""
        return iter(())

    def discard(self, found: Unfinished) -> Left | None:
        """Nothing to do."""
        return None

    def _delete(self, key: str) -> Left | None:
        try:
            self.store.delete([key])
        except StoreError as error:
            if error.transient:
                raise
            why = Why.DENIED if isinstance(error, StoreDeniedError) else Why.FAILED
            return Left(key, why, error.what, error.do)
        return None


@dataclass(frozen=True)
class DirectoryRemovals(PlainRemovals):
    """The port `Removals` over a directory: what dead writers left is in a hidden folder of its own."""

    root: Path

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """The unfinished files that nobody has locked: a writer locks its file for as long as it lives."""
        try:
            with opened(self.root, [STAGING]) as staging:
                begun = {name: since for name in leftovers(staging) if (since := _unlocked_since(staging, name))}
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(error, STAGING, self.root) from error
        for name, since in begun.items():
            yield Unfinished(f"{STAGING}/{name}", since, name)

    def discard(self, found: Unfinished) -> Left | None:
        """Remove the file, unless a writer has it."""
        try:
            with opened(self.root, [STAGING]) as staging:
                removed = discard_leftover(staging, found.token)
        except FileNotFoundError:
            return None
        except OSError as error:
            place = self.root / STAGING / found.token
            return Left(found.key, Why.DENIED, f"{place}: {error.strerror}.", "Let this user remove the file.")
        if removed:
            return None
        return Left(found.key, Why.FAILED, "It is being written at this moment.", "Nothing: it will get its name.")


def _unlocked_since(staging: int, name: str) -> datetime | None:
    """When an unfinished file was written last; None when a writer has it, or it is gone."""
    with suppress(OSError), open(open_file(staging, name, os.O_RDONLY), "rb") as file:  # noqa: PTH123
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    return None
