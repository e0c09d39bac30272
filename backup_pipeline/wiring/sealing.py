"""Seals as the settings say: the keys, and the store that seals and checks with them."""

from __future__ import annotations

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.ports import Store
from backup_pipeline.formats.seal_keys import Ed25519Keys, parse_public_keys, parse_seal_key
from backup_pipeline.settings import Settings
from backup_pipeline.stores.sealed import SealedStore
from backup_pipeline.wiring.key_files import read_key_file

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
