"""The second destination of an installation, and every store that holds its backups."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.ports import Second, Store
from backup_pipeline.core.secrets import redact_url
from backup_pipeline.settings import Settings
from backup_pipeline.stores.open import open_store
from backup_pipeline.stores.s3_settings import S3Settings
from backup_pipeline.wiring.encryption import KeyUsed, encrypted_store, sse_of
from backup_pipeline.wiring.lock import lock_of
from backup_pipeline.wiring.store import open_settings_store, retrying
from backup_pipeline.wiring.unusable import usable_later


def second_s3_settings(settings: Settings) -> S3Settings:
    """How the second store is reached, where it is in S3: nothing of the first one's settings counts for it."""
    return S3Settings(
        endpoint_url=settings.second_s3_endpoint_url,
        region=settings.second_s3_region,
        profile=settings.second_s3_profile,
        sse=sse_of(settings.second_s3_sse, settings.second_s3_sse_kms_key_id),
    )


def open_second(settings: Settings) -> Second | None:
    """The second destination, None where none is set, with the bytes as they lie there: encrypted ones stay so.

    One whose settings are wrong says so when it is used.
    """
    url = settings.second_store
    return Second(redact_url(url).rstrip("/"), usable_later(lambda: retrying(plain_second(settings)))) if url else None


def the_second(settings: Settings, used: KeyUsed | None = None) -> Second:
    """The second destination for those who read backups there; SettingsError where none is set.

    `used` is told when a key opened a backup.
    """
    second = open_second(settings)
    if second is None:
        message = "There is no second store: BACKUP_SECOND_STORE is not set."
        raise SettingsError(message, do="Set it to s3://bucket/prefix or file:///path; docs/s3.md says more.")
    return Second(second.url, encrypted_store(second.store, settings, used))


def stores_of(settings: Settings) -> tuple[Store, ...]:
    """Every store that holds backups of this installation, the first one first."""
    first = open_settings_store(settings)
    return (first, the_second(settings).store) if settings.second_store else (first,)


def plain_second(settings: Settings) -> Store:
    """The second store with the bytes as they lie there, asked once. SettingsError where none is set."""
    url = settings.second_store or ""
    lock = lock_of("BACKUP_SECOND_S3_LOCK", settings.second_s3_lock_mode, settings.second_s3_lock_days, url)
    return open_store(url, replace(second_s3_settings(settings), lock=lock))
