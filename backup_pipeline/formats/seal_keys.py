"""The keys of seals: Ed25519, the private one as PEM (PKCS #8), the public one as a word for a setting."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from backup_pipeline.core.errors import SettingsError

_PUBLIC = "seal-ed25519:"


@dataclass(frozen=True)
class Ed25519Keys:
    """The port `SealKeys`: `private` seals, where it is here; its seals and those of `public` count."""

    private: Ed25519PrivateKey | None = field(default=None, repr=False)
    public: tuple[Ed25519PublicKey, ...] = ()

    @property
    def signing(self) -> str | None:
        """The id of the key that seals here."""
        return key_id(self.private.public_key()) if self.private is not None else None

    @property
    def accepted(self) -> tuple[str, ...]:
        """The ids of the keys whose seals count."""
        return tuple(self._known())

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`; SettingsError without a key that seals."""
        if self.private is None:
            message = "No key is here that could seal."
            raise SettingsError(message, do="Set BACKUP_SEAL_KEY_FILE.")
        return self.private.sign(data)

    def is_right(self, key: str, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is that of `data` with the accepted key `key`."""
        try:
            self._known()[key].verify(signature, data)
        except (KeyError, InvalidSignature):
            return False
        return True

    def _known(self) -> dict[str, Ed25519PublicKey]:
        own = (self.private.public_key(),) if self.private is not None else ()
        return {key_id(key): key for key in (*own, *self.public)}


def new_seal_key() -> tuple[str, str]:
    """A new key: the private one as PEM, and its public one."""
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()
    return secret, public_text(key.public_key())


def key_id(key: Ed25519PublicKey) -> str:
    """What a seal calls a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def public_text(key: Ed25519PublicKey) -> str:
    """The public key as a word: `seal-ed25519:` and base64."""
    return _PUBLIC + base64.b64encode(key.public_bytes_raw()).decode()


def parse_seal_key(text: str, *, where: str) -> Ed25519PrivateKey:
    """The private key in `text`, what stands around it aside; SettingsError, naming `where`, when there is none."""
    try:
        found = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"{where} holds no private key that can seal: nothing in it is an unencrypted PEM key."
        raise SettingsError(message, do="Name a file that `backup-pipeline key seal` made.") from None
    if not isinstance(found, Ed25519PrivateKey):
        message = f"{where} holds a private key of another kind than Ed25519."
        raise SettingsError(message, do="Name a file that `backup-pipeline key seal` made.")
    return found


def parse_public_keys(text: str, *, setting: str) -> tuple[Ed25519PublicKey, ...]:
    """The public keys in `text`, separated by spaces; SettingsError, naming `setting`, for a word that is none."""
    return tuple(_parse_public(word, setting) for word in text.split())


def _parse_public(word: str, setting: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(word.removeprefix(_PUBLIC), validate=True))
    except (ValueError, binascii.Error):
        message = f"{setting} holds {word!r}, which is no public key of a seal."
        raise SettingsError(message, do=f"It begins with {_PUBLIC}; `backup-pipeline key seal` prints it.") from None
