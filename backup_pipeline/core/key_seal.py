"""The seal: a signature in a manifest or a partition's record, made with a key that does not lie in the store.

It is over everything the document says, where it belongs (catalog, date, backup id) and every hash in it included. Who
can write to the store and has no key can neither change a document, nor make one, nor put one in another one's place.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Protocol

from pydantic import ValidationError

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.manifest import sealed, unsealed
from backup_pipeline.core.manifest.written import Written

SEAL = "seal"
"""The field of a document that holds its seal."""
_PREFIX = b"backup_pipeline seal 1\n"
_FORGED = (
    "Do not use it: it was not written by whoever has the key. Use another backup, or its copy (`--store second`), and "
    "see who can write to the store."
)


class KeySeal(Written):
    """Which key sealed a document (the id of the key), and its Ed25519 signature in base64."""

    key: str
    signature: str


class SealKeys(Protocol):
    """The keys of an installation: one that seals, where it is here, and those whose seals count."""

    @property
    def signing(self) -> str | None:
        """The id of the key that seals here; None where nothing is sealed."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The ids of the keys whose seals count; empty where no seal can be checked."""

    def sign(self, data: bytes) -> bytes:
        """The signature of `data` with the key that seals here."""

    def is_right(self, key: str, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is that of `data` with the accepted key `key`."""


def with_seal(data: bytes, where: str, keys: SealKeys) -> bytes:
    """The document in `data` with the seal of the key that seals here, in place of any other."""
    body = unsealed(data, where)
    body.pop(SEAL, None)
    signature = base64.b64encode(keys.sign(_signed(body))).decode()
    return sealed({**body, SEAL: {"key": keys.signing, "signature": signature}})


def seal_in(data: bytes, where: str) -> KeySeal | None:
    """The seal of the document in `data`, unchecked; None without one. VerificationError for a damaged document."""
    found = unsealed(data, where).get(SEAL)
    if found is None:
        return None
    try:
        return KeySeal.model_validate(found)
    except ValidationError as error:
        message = f"{where} has a seal that is none."
        raise VerificationError(message, do=_FORGED) from error


def check_seal(data: bytes, where: str, keys: SealKeys, *, required: bool) -> None:
    """Raise VerificationError unless the seal of the document in `data` counts; without one, only when `required`.

    Where no key is known, a seal can not be checked, and nothing is raised.
    """
    seal = seal_in(data, where)
    if seal is None:
        if required:
            message = f"{where} has no seal, and one is required: nothing says who wrote it."
            raise VerificationError(message, do=_FORGED)
        return
    if not keys.accepted:
        return
    if seal.key not in keys.accepted:
        message = (
            f"{where} is sealed with key {seal.key}, which is none of those that count: {', '.join(keys.accepted)}."
        )
        do = f"If that key is yours, add its public key to BACKUP_SEAL_PUBLIC_KEYS. Else: {_FORGED}"
        raise VerificationError(message, do=do)
    body = {name: value for name, value in unsealed(data, where).items() if name != SEAL}
    if not keys.is_right(seal.key, _signature(seal), _signed(body)):
        message = f"{where} was changed after it was sealed with key {seal.key}: its signature is not right."
        raise VerificationError(message, do=_FORGED)


def _signature(seal: KeySeal) -> bytes:
    try:
        return base64.b64decode(seal.signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _signed(body: dict[str, object]) -> bytes:
    return _PREFIX + json.dumps(body, ensure_ascii=False, indent=1).encode()
