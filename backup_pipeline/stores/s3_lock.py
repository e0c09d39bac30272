"""S3 Object Lock: an object that stays can not be deleted or changed before its time, by anybody the mode names."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from backup_pipeline.core.errors import SettingsError, StoreError
from backup_pipeline.core.protection import Protection
from backup_pipeline.stores.lock import Lock
from backup_pipeline.stores.s3_errors import reply_of

NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed", "NoSuchLockConfig"})
"""What stores answer for a bucket without Object Lock, or when they have none at all."""

NO_RETENTION = NO_LOCK | {"NoSuchObjectLockConfiguration", "InvalidRequest"}
"""What they answer for an object that nothing keeps."""

_TOLERANCE = timedelta(seconds=2)
"""Stores keep times in whole seconds or milliseconds."""


def check_lockable(admin: Any, bucket: str) -> bool:
    """Whether the bucket is known to lock; SettingsError when it can not. Whoever may not ask learns it from a HEAD."""
    try:
        found = admin.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        reply = reply_of(error)
        if reply is None or reply.code not in NO_LOCK:
            if reply is not None and reply.status == 403:
                return False
            raise
        found = {}
    if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        what = f"BACKUP_S3_LOCK_MODE is set, but bucket {bucket} has no Object Lock"
        do = (
            "Create a bucket with Object Lock (versioning comes with it) and name that one, or unset "
            "BACKUP_S3_LOCK_MODE and BACKUP_S3_LOCK_DAYS. docs/s3.md shows how."
        )
        raise SettingsError(what, do=do)
    return True


def retention(admin: Any, bucket: str, full: str) -> Protection:
    """How the newest version of an object is locked; not at all where the store has no locks.

    A HEAD tells it to whoever may know; where it says nothing the store is asked in so many words. Only of a bucket
    that is known to lock: other stores may answer with the object itself.
    """
    seen = shown_retention(admin, bucket, full)
    if seen.mode is not None:
        return seen
    try:
        found = admin.get_object_retention(Bucket=bucket, Key=full).get("Retention", {})
    except ClientError as error:
        reply = reply_of(error)
        if reply is None or (reply.code not in NO_RETENTION and reply.status not in {404, 501}):
            raise
        found = {}
    return _protection(found.get("Mode"), found.get("RetainUntilDate"))


def shown_retention(admin: Any, bucket: str, full: str) -> Protection:
    """How the object is locked as a HEAD shows it."""
    about = admin.head_object(Bucket=bucket, Key=full)
    return _protection(about.get("ObjectLockMode"), about.get("ObjectLockRetainUntilDate"))


def _protection(mode: str | None, until: datetime | None) -> Protection:
    return Protection(mode=mode, until=until) if mode and until else Protection()


def ensure_locked(place: tuple[Any, str, str], lock: Lock, begun: datetime, *, known: bool) -> None:
    """StoreError unless an object that was begun at `begun` is locked; `place` is the client, the bucket, the key.

    Some stores forget the lock that an upload in parts was begun with: those are told it once more. Not so where the
    bucket is not `known` to lock: a store without locks would write what it is told in place of the object.
    """
    admin, bucket, full = place
    found = shown_retention(admin, bucket, full)
    if known and not _is_locked(found, lock, begun):
        wanted = {"Mode": lock.mode.upper(), "RetainUntilDate": lock.until(begun)}
        with suppress(ClientError):  # what the object then has is looked up all the same
            admin.put_object_retention(Bucket=bucket, Key=full, Retention=wanted)
        found = retention(admin, bucket, full)
    if _is_locked(found, lock, begun):
        return
    until = f"{lock.until(begun):%Y-%m-%d %H:%M}"
    what = f"s3://{bucket}/{full} was to be locked ({lock.mode}) until {until} UTC, but the store says: {found}"
    do = "Use a store with S3 Object Lock and a bucket that has it enabled, or unset BACKUP_S3_LOCK_MODE."
    raise StoreError(what, do=do)


def _is_locked(found: Protection, lock: Lock, begun: datetime) -> bool:
    until = lock.until(begun) - _TOLERANCE
    return found.mode == lock.mode.upper() and found.until is not None and found.until >= until
