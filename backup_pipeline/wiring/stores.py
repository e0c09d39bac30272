"""The lock of a store's objects, as the settings say it."""

from __future__ import annotations

import logging
import random
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.keys import Cipher
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Formats, Ledger, Second, Store
from backup_pipeline.core.text import redact_url
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import (
    AgeCipher,
    Ed25519Keys,
    Identity,
    parse_identities,
    parse_public_keys,
    parse_recipients,
    parse_seal_key,
)
from backup_pipeline.settings import Settings
from backup_pipeline.stores import open_store
from backup_pipeline.stores.s3 import Lock, LockMode, S3Settings, ServerSide
from backup_pipeline.stores.wrappers import EncryptedStore, RetryingStore, SealedStore, WrittenOutlines
from backup_pipeline.wiring.addresses import os_user, store_url


def lock_of(prefix: str, mode: str | None, days: int | None, url: str) -> Lock | None:
    """The lock that the variables `prefix`_MODE and `prefix`_DAYS ask for; None when neither is set.

    SettingsError for one without the other, and for a store that is not in S3: nothing else can lock.
    """
    if mode is None and days is None:
        return None
    if mode is None or days is None:
        present, missing = ("DAYS", "MODE") if mode is None else ("MODE", "DAYS")
        message = f"{prefix}_{present} is set, but {prefix}_{missing} is not."
        raise SettingsError(message, do="Set both: a mode, governance or compliance, and a number of days. Or neither.")
    if not url.startswith("s3://"):
        message = f"{prefix}_MODE is set, but only a store in S3 can lock objects; this one is not."
        raise SettingsError(message, do="Use a store such as s3://bucket/prefix, or unset the lock.")
    return Lock(LockMode(mode), days)


T = TypeVar("T")


class _Later:
    """Stands in for a port that is made at its first use; what keeps it from being made is raised at every use."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._port: object | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._port is None:
                self._port = self._make()
        return getattr(self._port, name)


def opened_later(make: Callable[[], T]) -> T:
    """What `make` makes, made when it is used: what is not used loads no clients and complains of no settings."""
    return cast(T, _Later(make))


logger = logging.getLogger(__name__)


def read_key_file(path: Path, *, name: str) -> str:
    """What the file `path`, that `name` names, holds; people are told when others may read it."""
    try:
        text, mode = path.read_text(encoding="utf-8"), stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{name} names {path}, which can not be read: {reason}."
        raise SettingsError(message, do="Name the file that holds the private key, and make it readable.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _tell_open(str(path), mode)
    return text


@cache
def _tell_open(path: str, mode: int) -> None:
    logger.warning("The private key in %s is open to others (mode %o): run `chmod 600 %s`.", path, mode, path)


KEY_FILE = "BACKUP_SEAL_KEY_FILE"
PUBLIC_KEYS = "BACKUP_SEAL_PUBLIC_KEYS"


def open_seal_keys(settings: Settings) -> Ed25519Keys:
    """The keys of seals. SettingsError for a file or a word that holds none, and for seals required without any."""
    public = parse_public_keys(settings.seal_public_keys, setting=PUBLIC_KEYS)
    if settings.seal_key_file is None:
        if settings.seal_required and not public:
            message = "BACKUP_SEAL_REQUIRED is set, but no key is: no seal could be checked."
            raise SettingsError(
                message, do=f"Set {KEY_FILE} where backups are made, {PUBLIC_KEYS} where they are read."
            )
        return Ed25519Keys(None, public)
    text = read_key_file(settings.seal_key_file, name=KEY_FILE)
    return Ed25519Keys(parse_seal_key(text, where=str(settings.seal_key_file)), public)


def sealed_store(store: Store, settings: Settings) -> Store:
    """`store`, whose documents are sealed and checked; as it is, where no key is set."""
    keys = open_seal_keys(settings)
    return SealedStore(store, keys, settings.seal_required) if keys.accepted else store


RECIPIENTS = "BACKUP_AGE_RECIPIENTS"
IDENTITY = "BACKUP_AGE_IDENTITY"
IDENTITY_FILE = "BACKUP_AGE_IDENTITY_FILE"

KeyUsed = Callable[[str, str], None]
"""Is told which backup an identity, named by its recipient, has opened."""


def open_cipher(settings: Settings) -> Cipher:
    """The cipher. SettingsError for a recipient or an identity that is none, or a key file that can not be read."""
    recipients = parse_recipients(settings.age_recipients, setting=RECIPIENTS)
    return AgeCipher(recipients, _identities(settings))


def open_formats(settings: Settings) -> Formats:
    """The file formats, encrypted where that is set, and decrypted where they are."""
    return EncryptedFormats(FileFormats(), open_cipher(settings))


def encrypted_store(store: Store, settings: Settings, used: KeyUsed | None = None) -> Store:
    """`store` with its documents encrypted and sealed going in, checked and decrypted coming out.

    `used` is told when a key opened a backup.
    """
    cipher, written = open_cipher(settings), WrittenOutlines(written_dir(settings))
    store = sealed_store(store, settings)
    return EncryptedStore(store, cipher, written, used) if used else EncryptedStore(store, cipher, written)


def sse_of(algorithm: str | None, key_id: str | None) -> ServerSide | None:
    """How an S3 server is to encrypt by itself; SettingsError for what it can not."""
    if algorithm is None and key_id is not None:
        message = "A KMS key is named (BACKUP_S3_SSE_KMS_KEY_ID), but BACKUP_S3_SSE is not set."
        raise SettingsError(message, do="Set it to aws:kms.")
    return ServerSide(algorithm, key_id) if algorithm else None


def check_encryption(settings: Settings) -> None:
    """SettingsError for what can be seen to be wrong before anything runs: a recipient, a key, an algorithm."""
    open_cipher(settings)
    open_seal_keys(settings)
    sse_of(settings.s3_sse, settings.s3_sse_kms_key_id)
    sse_of(settings.second_s3_sse, settings.second_s3_sse_kms_key_id)


def noted_in(ledger: Ledger) -> KeyUsed:
    """Writes the use of a key into the audit of `ledger`, before anything that it opened is given out."""

    def note(backup_id: str, identity: str) -> None:
        ledger.audit(AuditEvent(ledger.now(), os_user(), "key used", backup_id, {"identity": identity}))

    return note


def written_dir(settings: Settings) -> Path:
    """Where this machine keeps the plain text of the manifests and records that it wrote itself."""
    return settings.home / "written"


def _identities(settings: Settings) -> tuple[Identity, ...]:
    identities: tuple[Identity, ...] = ()
    if settings.age_identity_file is not None:
        identities += identities_in(settings.age_identity_file, name=IDENTITY_FILE)
    if settings.age_identity is not None:
        identities += parse_identities(settings.age_identity.get_secret_value(), where=IDENTITY)
    return identities


def identities_in(path: Path, *, name: str) -> tuple[Identity, ...]:
    """The private keys in the file `path`, that `name` names; people are told when others may read it."""
    text = read_key_file(path, name=name)
    return parse_identities(text, where=str(path))


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
    return Second(redact_url(url).rstrip("/"), opened_later(lambda: retrying(plain_second(settings)))) if url else None


def the_second(settings: Settings, used: KeyUsed | None = None) -> Second:
    """The second destination for those who read backups there; SettingsError where none is set.

    `used` is told when a key opened a backup.
    """
    second = open_second(settings)
    if second is None:
        message = "There is no second store: BACKUP_SECOND_STORE is not set."
        raise SettingsError(message, do="Set it to s3://bucket/prefix or file:///path; docs/s3.md says more.")
    return Second(second.url, encrypted_store(second.store, settings, used))


def plain_second(settings: Settings) -> Store:
    """The second store with the bytes as they lie there, asked once. SettingsError where none is set."""
    url = settings.second_store or ""
    lock = lock_of("BACKUP_SECOND_S3_LOCK", settings.second_s3_lock_mode, settings.second_s3_lock_days, url)
    return open_store(url, replace(second_s3_settings(settings), lock=lock))
