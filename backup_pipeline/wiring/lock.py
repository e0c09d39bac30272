"""The lock of a store's objects, as the settings say it."""

from __future__ import annotations

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.stores.lock import Lock, LockMode


def lock_of(prefix: str, mode: str | None, days: int | None, url: str) -> Lock | None:
    """The lock that the variables `prefix`_MODE and `prefix`_DAYS ask for; None when neither is set.

    SettingsError for one without the other, and for a store that is not in S3: nothing else can lock.
    """
    if mode is None and days is None:
        return None
    if mode is None or days is None:
        there, missing = ("DAYS", "MODE") if mode is None else ("MODE", "DAYS")
        message = f"{prefix}_{there} is set, but {prefix}_{missing} is not."
        raise SettingsError(message, do="Set both: a mode, governance or compliance, and a number of days. Or neither.")
    if not url.startswith("s3://"):
        message = f"{prefix}_MODE is set, but only a store in S3 can lock objects; this one is not."
        raise SettingsError(message, do="Use a store such as s3://bucket/prefix, or unset the lock.")
    return Lock(LockMode(mode), days)
