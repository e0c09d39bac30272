"""A store in S3: how it is reached, locks and encrypts, as checked values. The clients are in the modules here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from backup_pipeline.core.errors import SettingsError, StoreError
from backup_pipeline.core.text import redact_url

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
    expected = " ".join(part for part in (wanted.algorithm, wanted.key_id) if part)
    actual = " ".join(part for part in (algorithm or "not encrypted", key) if part)
    what = f"{where} was to be encrypted by the server ({expected}), but the server says: {actual}"
    do = (
        "Use a store with server-side encryption, and give the writer the right to the key; or unset BACKUP_S3_SSE, "
        "and encrypt by your own key (BACKUP_AGE_RECIPIENTS)."
    )
    raise StoreError(what, do=do)


def _is_key(arn: str, key_id: str | None) -> bool:
    """Whether a key's ARN is that of the wanted one; which key an alias stands for is not known here."""
    if not key_id or "alias/" in key_id:
        return True
    return arn == key_id or arn.rpartition("/")[2] == key_id.rpartition("/")[2]


class LockMode(StrEnum):
    """Who may lift a lock: with `governance` whoever has a right of its own for that, with `compliance` nobody."""

    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


@dataclass(frozen=True)
class Lock:
    """How the objects that stay are locked: in which mode, for how many days from when they are written."""

    mode: LockMode
    days: int

    def until(self, now: datetime) -> datetime:
        """Until when an object written `now` is locked, in whole seconds."""
        return (now + timedelta(days=self.days)).astimezone(UTC).replace(microsecond=0)

    def parameters(self, now: datetime) -> Mapping[str, Any]:
        """What a request says that begins an object."""
        return {"ObjectLockMode": self.mode.upper(), "ObjectLockRetainUntilDate": self.until(now)}


@dataclass(frozen=True)
class S3Settings:
    """How to reach S3. What is None comes from the usual AWS chain: environment, profile, SSO, instance role.

    `connect_timeout` bounds one connection attempt, `transfer_timeout` one request that moves a part (16 MiB: two
    minutes ask for 4.5 Mbit/s, as four move at once), `answer_timeout` one request that moves nothing, `retry_for` the
    time in which a failing request is tried again. So a dead endpoint fails within about `retry_for + connect_timeout`.
    `lock` is what objects that stay are locked with, `sse` how the server encrypts every object.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    connect_timeout: timedelta = timedelta(seconds=5)
    answer_timeout: timedelta = timedelta(seconds=10)
    transfer_timeout: timedelta = timedelta(minutes=2)
    retry_for: timedelta = timedelta(seconds=8)
    lock: Lock | None = None
    sse: ServerSide | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError for an endpoint that is no URL, or half of a pair of keys."""
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)
        if (self.access_key_id is None) != (self.secret_access_key is None):
            what = "Only one of the S3 access key id and the S3 secret access key is set"
            raise SettingsError(what, do="Set both, or neither to use the usual AWS chain.")


def is_aws(endpoint: str) -> bool:
    """Whether `endpoint` is Amazon's own."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        what = f"Not an S3 endpoint: {redact_url(endpoint)!r}"
        raise SettingsError(
            what,
            do="Give a URL such as https://s3.example.com or http://127.0.0.1:9000, without user, password or query.",
        )
