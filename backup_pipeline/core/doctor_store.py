"""What the doctor asks of an S3 bucket beyond the port `Store`, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from backup_pipeline.core.doctor import Line, ok, warning
from backup_pipeline.core.key_seal import SealKeys

_PROTECT = "Where ransomware is feared, use a bucket with versioning and Object Lock (docs/s3.md)."


@dataclass(frozen=True)
class BucketFacts:
    """A bucket as it may be seen: whether it keeps versions, can lock, and what an object's server side encryption is.

    None is not known: the server does not say, or not to us.
    """

    versioned: bool | None
    lockable: bool | None
    encrypted: str | None


class Bucket(Protocol):
    """A bucket that is examined with small objects. Every failure is a StoreError, but not of what may be unknown."""

    def put_in_parts(self, key: str, data: bytes) -> None:
        """Write a small object by an upload in parts."""

    def refuses(self, key: str) -> bool | None:
        """Whether the server refuses to write over the object at `key` when it is told so; None: not known."""

    def facts(self, key: str) -> BucketFacts:
        """What is to be known of the bucket; of encryption, by the object at `key`."""


def judge_bucket(topic: str, facts: BucketFacts, *, refuses: bool | None, locks: bool) -> Iterator[Line]:
    """A line for each; `locks` is whether the settings ask for Object Lock."""
    yield _refusing(topic, refuses=refuses)
    yield _locking(topic, facts, locks=locks)
    if facts.versioned is None:
        yield warning(topic, "whether the bucket keeps versions is not told", "GRANT s3:GetBucketVersioning to see it.")
    elif facts.versioned:
        yield ok(topic, "the bucket keeps earlier versions: what is deleted is only hidden (`prune --versions`)")
    else:
        yield ok(topic, "the bucket keeps no versions: what is deleted is gone")
    yield ok(topic, f"encryption by the server: {facts.encrypted or 'none'}")


def judge_seals(topic: str, keys: SealKeys) -> Line:
    """Whether manifests are sealed here, and checked."""
    if keys.signing:
        return ok(topic, f"manifests are sealed with key {keys.signing}; seals of {', '.join(keys.accepted)} count")
    if keys.accepted:
        return ok(topic, f"seals of {', '.join(keys.accepted)} count; nothing is sealed here")
    return ok(topic, "manifests are not sealed: the ledger alone tells a forged backup (docs/integrity.md)")


def _refusing(topic: str, *, refuses: bool | None) -> Line:
    if refuses:
        return ok(topic, "it refuses to write over an object (If-None-Match)")
    what = "it does not refuse to write over an object" if refuses is False else "whether it refuses is not told"
    return warning(topic, f"{what}: what is there is looked up before each write", "Use a newer server, if you can.")


def _locking(topic: str, facts: BucketFacts, *, locks: bool) -> Line:
    if facts.lockable is None:
        return warning(topic, "whether the bucket can lock is not told", "GRANT s3:GetBucketObjectLockConfiguration.")
    if locks:
        return ok(topic, "Object Lock: on, and asked for")
    if facts.lockable:
        return warning(
            topic, "the bucket can lock, but backups do not ask for it", "Set BACKUP_S3_LOCK_MODE and _DAYS."
        )
    return ok(topic, f"no Object Lock: whoever has the right deletes. {_PROTECT}")
