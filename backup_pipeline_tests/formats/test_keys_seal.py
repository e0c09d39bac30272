"""Keys of seals: made, written, read again, and refused with what is wrong."""

from __future__ import annotations

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.formats.keys import (
    Ed25519Keys,
    key_id,
    new_identity,
    new_seal_key,
    parse_public_keys,
    parse_seal_key,
    public_text,
)


def test_a_key_comes_back_from_its_file_with_the_comments_around_it() -> None:
    secret, public = new_seal_key()
    key = parse_seal_key(f"# created: today\n# public key: {public}\n{secret}\n", where="TEST")
    assert public_text(key.public_key()) == public
    assert len(key_id(key.public_key())) == 16


def test_several_public_keys_are_a_list_of_words() -> None:
    words = [new_seal_key()[1] for _ in range(3)]
    keys = Ed25519Keys(None, parse_public_keys("  ".join(words), setting="TEST"))
    assert [public_text(key) for key in keys.public] == words
    assert len(set(keys.accepted)) == 3


@pytest.mark.parametrize(
    "text",
    ["", "no key", new_identity()[0], "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"],
    ids=["empty", "words", "age", "pem"],
)
def test_what_is_no_private_key_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="/etc/key holds no private key") as caught:
        parse_seal_key(text, where="/etc/key")
    assert "key seal" in caught.value.do
    assert "cryptography.io" not in caught.value.what


@pytest.mark.parametrize("word", ["seal-ed25519:", "seal-ed25519:AAAA", "age1xyz"])
def test_what_is_no_public_key_is_told_with_its_setting(word: str) -> None:
    with pytest.raises(SettingsError, match="BACKUP_SEAL_PUBLIC_KEYS holds"):
        parse_public_keys(word, setting="BACKUP_SEAL_PUBLIC_KEYS")


def test_who_has_no_private_key_can_not_seal() -> None:
    with pytest.raises(SettingsError, match="No key is here"):
        Ed25519Keys(None, parse_public_keys(new_seal_key()[1], setting="TEST")).sign(b"data")
