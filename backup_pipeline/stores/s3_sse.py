"""Encryption by the S3 server: what each object is asked to have, and whether it has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backup_pipeline.core.errors import SettingsError, StoreError

ALGORITHMS = ("AES256", "aws:kms", "aws:kms:dsse")


@dataclass(frozen=True)
class ServerSide:
    """How the server encrypts each object: by its own key (AES256), or one in KMS, the account's unless `key_id`."""

    algorithm: str
    key_id: str | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError for an algorithm that is none, or a key that it has no use for."""
        if self.algorithm not in ALGORITHMS:
            what = f"Not an encryption of S3: {self.algorithm!r}"
            raise SettingsError(what, do=f"Use one of {', '.join(ALGORITHMS)}.")
        if self.key_id and self.algorithm == ALGORITHMS[0]:
            what = "A KMS key is named, but the S3 server is to encrypt by its own key (AES256)"
            raise SettingsError(what, do="Use aws:kms, or name no key.")

    def parameters(self) -> Mapping[str, str]:
        """What boto3's requests say that begin an object."""
        key = {"SSEKMSKeyId": self.key_id} if self.key_id else {}
        return {"ServerSideEncryption": self.algorithm, **key}

    def config(self) -> Mapping[str, Any]:
        """What obstore's client says in each such request."""
        key = {"sse_kms_key_id": self.key_id} if self.key_id else {}
        return {"server_side_encryption": self.algorithm, **key}


def check_encrypted(head: Mapping[str, Any], wanted: ServerSide, where: str) -> None:
    """StoreError unless the server says of an object that it is encrypted as it was asked to be."""
    algorithm, key = head.get("ServerSideEncryption"), str(head.get("SSEKMSKeyId") or "")
    if algorithm == wanted.algorithm and _is_key(key, wanted.key_id):
        return
    asked = " ".join(part for part in (wanted.algorithm, wanted.key_id) if part)
    found = " ".join(part for part in (algorithm or "not encrypted", key) if part)
    what = f"{where} was to be encrypted by the server ({asked}), but the server says: {found}"
    do = (
        "Use a store with server-side encryption, and give the writer the right to the key; or unset BACKUP_S3_SSE, "
        "and encrypt by your own key (BACKUP_AGE_RECIPIENTS)."
    )
    raise StoreError(what, do=do)


def _is_key(found: str, wanted: str | None) -> bool:
    """Whether a key's ARN is that of the wanted one; which key an alias stands for is not known here."""
    if not wanted or "alias/" in wanted:
        return True
    return found == wanted or found.rpartition("/")[2] == wanted.rpartition("/")[2]
