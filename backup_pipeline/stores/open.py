"""From a store's URL to the store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from backup_pipeline.core.errors import SettingsError, StoreDeniedError, StoreError
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.retention.prune import Left, Removals, Unfinished, Versions, Why
from backup_pipeline.core.secrets import redact_url
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.files import discard_leftover, explain, leftovers, open_file, opened
from backup_pipeline.stores.keys import STAGING, check_key
from backup_pipeline.stores.s3.clients import S3Settings
from backup_pipeline.stores.s3.removals import S3Removals
from backup_pipeline.stores.s3.store import S3Store

ALLOWED = "file:///absolute/path or s3://bucket/prefix"


def open_store(url: str, s3: S3Settings) -> Store:
    """The store at `url`, without touching it: `file:///path` or `s3://bucket/prefix`.

    `s3` counts for S3 only. SettingsError for any other URL.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case _ if parts.query or parts.fragment or parts.username or parts.password:
            raise _refusal(url, "it has a user, a query or a fragment")
        case "file":
            return DirectoryStore(_path(url))
        case "s3":
            from backup_pipeline.stores.s3.store import S3Store

            return S3Store(parts.netloc, _prefix(url), s3)
    raise _refusal(url, f"the scheme {parts.scheme!r} is unknown" if parts.scheme else "it has no scheme")


def _path(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or ".." in path.parts or path == Path("/"):
        raise _refusal(url, "a directory needs three slashes and an absolute path below /")
    return path


def _prefix(url: str) -> str:
    prefix = unquote(urlsplit(url).path).strip("/")
    try:
        return check_key(prefix) if prefix else ""
    except StoreError as error:
        raise _refusal(url, error.what) from error


def _refusal(url: str, reason: str) -> SettingsError:
    return SettingsError(f"Not the URL of a store: {redact_url(url)!r}, {reason}", do=f"Use {ALLOWED}.")


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
