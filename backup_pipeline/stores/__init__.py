"""Where bundles and partitions live, S3 or a directory: a URL becomes the store, a store's administration is found."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from backup_pipeline.core.doctor import Bucket
from backup_pipeline.core.errors import SettingsError, StoreError
from backup_pipeline.core.ports import Store
from backup_pipeline.core.retention.prune import Removals
from backup_pipeline.core.text import redact_url
from backup_pipeline.lazy import lazily
from backup_pipeline.stores.directory import DirectoryRemovals, DirectoryStore, PlainRemovals
from backup_pipeline.stores.files import check_key
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.stores.wrappers import innermost

with lazily():
    from backup_pipeline.stores.s3 import administration
    from backup_pipeline.stores.s3 import store as s3_store


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
            return s3_store.S3Store(parts.netloc, _prefix(url), s3)
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
    """How objects leave `store`; one that is wrapped is still asked for its deletes, so that they are retried."""
    inner = innermost(store)
    if isinstance(inner, DirectoryStore):
        return DirectoryRemovals(store, inner.root)
    if isinstance(inner, s3_store.S3Store):
        return administration.S3Removals(inner.bucket, inner.prefix, inner.settings)
    return PlainRemovals(store)


def bucket_of(store: Store) -> Bucket | None:
    """How the bucket behind `store` is examined; None where there is no bucket."""
    inner = innermost(store)
    return administration.ExaminedBucket(inner) if isinstance(inner, s3_store.S3Store) else None


def folder_of(store: Store) -> str | None:
    """The directory behind `store`; None where there is none."""
    inner = innermost(store)
    return str(inner.root) if isinstance(inner, DirectoryStore) else None
