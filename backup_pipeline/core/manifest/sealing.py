"""A document as JSON that carries its own SHA-256, and shows whether it was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from backup_pipeline.core.errors import DecryptError, VerificationError, wanted
from backup_pipeline.core.manifest.documents import (
    FORMAT_VERSION,
    EncryptionEntry,
    Manifest,
    PartitionRecord,
    StoredManifest,
)
from backup_pipeline.core.names import check_parts

_CHECKSUM = "manifest_sha256"
_MAJOR = int(FORMAT_VERSION.partition(".")[0])
OTHER_COPY = "Restore the object from another copy, or use another backup."


def unsealed(data: bytes, where: str) -> dict[str, object]:
    """The fields of a sealed document; VerificationError, naming `where`, when it was changed or is newer (major).

    The version comes first: what a newer one looks like is not ours to judge.
    """
    check_parts(data, where)
    try:
        body = json.loads(data)
        major = int(str(body["format_version"]).partition(".")[0])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{where} is not a manifest: {error!r}"
        raise VerificationError(message, do=OTHER_COPY) from error
    if major != _MAJOR:
        message = f"{where} has format version {body['format_version']}; this program reads {_MAJOR}.x."
        raise VerificationError(message, do="Use a newer backup_pipeline.")
    stated = body.pop(_CHECKSUM, None)
    digest = _digest(body)
    if stated != digest or sealed(body) != data:
        message = f"{where} was changed after it was written: its own SHA-256 is {stated}, its content gives {digest}."
        raise VerificationError(message, do=OTHER_COPY)
    return dict(body)


def sealed(body: Mapping[str, object]) -> bytes:
    """A document as JSON that ends with the SHA-256 of itself (over the same JSON without that field)."""
    return _text({**body, _CHECKSUM: _digest(body)}).encode()


def _digest(body: Mapping[str, object]) -> str:
    return hashlib.sha256(_text(body).encode()).hexdigest()


def _text(body: Mapping[str, object]) -> str:
    return json.dumps(body, ensure_ascii=False, indent=1)


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
