"""The store of an installation."""

from __future__ import annotations

import random
import time
from dataclasses import replace

from backup_pipeline.core.ports import Store
from backup_pipeline.settings import Settings
from backup_pipeline.stores.open import open_store
from backup_pipeline.stores.retrying import RetryingStore
from backup_pipeline.stores.s3_settings import S3Settings
from backup_pipeline.wiring.addresses import store_url
from backup_pipeline.wiring.encryption import KeyUsed, encrypted_store, sse_of
from backup_pipeline.wiring.lock import lock_of

_STORE_ATTEMPTS = 5


def s3_settings(settings: Settings) -> S3Settings:
    """How S3 is reached: our endpoint and region, the credentials from the usual AWS chain."""
    return S3Settings(endpoint_url=settings.s3_endpoint_url, region=settings.s3_region)


def open_settings_store(settings: Settings, s3: S3Settings | None = None, used: KeyUsed | None = None) -> Store:
    """The store, with retries, and encryption where that is set; `used` is told when a key opened a backup."""
    return encrypted_store(retrying(plain_store(settings, s3)), settings, used)


def plain_store(settings: Settings, s3: S3Settings | None = None) -> Store:
    """The store with the bytes as they lie there, asked once."""
    url = store_url(settings)
    lock = lock_of("BACKUP_S3_LOCK", settings.s3_lock_mode, settings.s3_lock_days, url)
    sse = sse_of(settings.s3_sse, settings.s3_sse_kms_key_id)
    return open_store(url, replace(s3 or s3_settings(settings), sse=sse, lock=lock))


def retrying(store: Store) -> Store:
    """`store`, asked again where that helps."""
    return RetryingStore(store, _STORE_ATTEMPTS, wait=time.sleep, chance=random.random)
