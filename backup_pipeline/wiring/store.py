"""The store of an installation."""

from __future__ import annotations

import random
import time

from backup_pipeline.core.ports import Store
from backup_pipeline.settings import Settings
from backup_pipeline.stores.open import open_store
from backup_pipeline.stores.retrying import RetryingStore
from backup_pipeline.stores.s3_settings import S3Settings
from backup_pipeline.wiring.addresses import store_url

_STORE_ATTEMPTS = 5


def s3_settings(settings: Settings) -> S3Settings:
    """How S3 is reached: our endpoint and region, the credentials from the usual AWS chain."""
    return S3Settings(endpoint_url=settings.s3_endpoint_url, region=settings.s3_region)


def open_settings_store(settings: Settings, s3: S3Settings | None = None) -> Store:
    """The store, with retries."""
    inner = open_store(store_url(settings), s3 or s3_settings(settings))
    return RetryingStore(inner, _STORE_ATTEMPTS, wait=time.sleep, chance=random.random)
