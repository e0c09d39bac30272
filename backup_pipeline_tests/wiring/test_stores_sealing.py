"""Seals as the settings have them: a file, public keys, and what is wrong with either said before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.formats.keys import new_seal_key
from backup_pipeline.settings import Settings
from backup_pipeline.stores.wrappers import SealedStore
from backup_pipeline.wiring.stores import check_encryption, open_seal_keys, sealed_store
from backup_pipeline_tests.doubles.stores import MemoryStore


def key_file(folder: Path) -> tuple[Path, str]:
    secret, public = new_seal_key()
    path = folder / "seal.pem"
    path.write_text(secret)
    path.chmod(0o600)
    return path, public


def test_without_a_key_nothing_is_sealed() -> None:
    store = MemoryStore()
    assert sealed_store(store, Settings()) is store


def test_the_file_seals_and_its_public_key_counts(tmp_path: Path) -> None:
    path, public = key_file(tmp_path)
    keys = open_seal_keys(Settings(seal_key_file=path))
    assert (keys.signing,) == keys.accepted == open_seal_keys(Settings(seal_public_keys=public)).accepted
    store = sealed_store(MemoryStore(), Settings(seal_public_keys=public, seal_required=True))
    assert isinstance(store, SealedStore)
    assert (store.keys.signing, store.required) == (None, True)


def test_seals_required_without_a_key_are_refused() -> None:
    with pytest.raises(SettingsError, match="BACKUP_SEAL_REQUIRED is set, but no key is"):
        open_seal_keys(Settings(seal_required=True))


def test_a_file_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BACKUP_SEAL_KEY_FILE names .* which can not be read"):
        check_encryption(Settings(seal_key_file=tmp_path / "none"))
