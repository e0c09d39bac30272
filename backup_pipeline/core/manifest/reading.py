"""Documents written and read: sealed, checked, and taken apart into their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from backup_pipeline.core.errors import DecryptError, VerificationError
from backup_pipeline.core.manifest.documents import Manifest, PartitionRecord, StoredManifest
from backup_pipeline.core.manifest.files import EncryptionEntry
from backup_pipeline.core.manifest.sealing import OTHER_COPY, sealed, unsealed
from backup_pipeline.core.manifest.written import FORMAT_VERSION
from backup_pipeline.core.unforeseen import wanted

CIPHERTEXT = "ciphertext"
"""The field of a document that stands for an encrypted one, which it holds."""
_M = TypeVar("_M", bound=BaseModel)


def seal(manifest: Manifest | PartitionRecord) -> bytes:
    """The manifest as JSON that ends with the SHA-256 of itself (over the same JSON without that field)."""
    return sealed(manifest.model_dump(mode="json"))


def read_manifest(data: bytes, where: str) -> StoredManifest:
    """The manifest stored as `data`; VerificationError, naming `where`, when it was changed or is newer (major).

    DecryptError, naming the recipients, when it is encrypted (see core's `outline`).
    """
    return _readable(StoredManifest, data, where)


def read_inner_manifest(data: bytes, where: str) -> Manifest:
    """The manifest inside a bundle; VerificationError as in `read_manifest`."""
    return _readable(Manifest, data, where)


def read_partition(data: bytes, where: str) -> PartitionRecord:
    """The record of a partition; VerificationError as in `read_manifest`."""
    return _readable(PartitionRecord, data, where)


def _readable(model: type[_M], data: bytes, where: str) -> _M:
    body = unsealed(data, where)
    if CIPHERTEXT in body:
        message = f"{where} is encrypted to {', '.join(_recipients(body))}, and was not decrypted."
        raise DecryptError(message, do="Set BACKUP_AGE_IDENTITY_FILE to the file with the private key.")
    return validated(model, body, where)


def _recipients(body: Mapping[str, object]) -> tuple[str, ...]:
    try:
        return EncryptionEntry.model_validate(body.get("encryption")).recipients
    except ValidationError:
        return ("somebody",)


def validated(model: type[_M], body: Mapping[str, object], where: str) -> _M:
    """The fields of a sealed document as `model` has them; VerificationError, naming the field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"{where} is not a manifest of format {FORMAT_VERSION}: {field} wants {wanted(first)}."
        raise VerificationError(message, do=OTHER_COPY) from error
