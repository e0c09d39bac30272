"""A document as JSON that carries its own SHA-256, and shows whether it was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.limits import check_parts
from backup_pipeline.core.manifest.written import FORMAT_VERSION

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
