"""Encryption as the settings say: the cipher, and the formats and the store that work with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backup_pipeline.core.encryption import Cipher
from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Formats, Ledger, Store
from backup_pipeline.formats.age import AgeCipher
from backup_pipeline.formats.age_keys import Identity, parse_identities, parse_recipients
from backup_pipeline.formats.encrypted import EncryptedFormats
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.settings import Settings
from backup_pipeline.stores.encrypted import EncryptedStore
from backup_pipeline.stores.s3_sse import ServerSide
from backup_pipeline.stores.written import Written
from backup_pipeline.wiring.actor import os_user
from backup_pipeline.wiring.key_files import read_key_file
from backup_pipeline.wiring.sealing import open_seal_keys, sealed_store

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
    cipher, written = open_cipher(settings), Written(written_dir(settings))
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
    found: tuple[Identity, ...] = ()
    if settings.age_identity_file is not None:
        found += identities_in(settings.age_identity_file, name=IDENTITY_FILE)
    if settings.age_identity is not None:
        found += parse_identities(settings.age_identity.get_secret_value(), where=IDENTITY)
    return found


def identities_in(path: Path, *, name: str) -> tuple[Identity, ...]:
    """The private keys in the file `path`, that `name` names; people are told when others may read it."""
    text = read_key_file(path, name=name)
    return parse_identities(text, where=str(path))
