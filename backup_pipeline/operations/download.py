"""Download: the bundle as a file on this machine, or as a URL for a while. Both leave an audit row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.core.errors import UsageError, VerificationError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import StoredBundle
from backup_pipeline.core.ports import Clock, Ledger, Store
from backup_pipeline.core.progress import BytesMoved, Progress, StageStarted
from backup_pipeline.operations.browse import bundle_place, stored_bundle
from backup_pipeline.operations.local_file import Destination

DEFAULT_EXPIRY = timedelta(hours=1)
LONGEST_EXPIRY = timedelta(days=7)
"""The most that SigV4, the signature of S3's URLs, allows."""


@dataclass(frozen=True)
class Witness:
    """Where it is written down who took a backup out, and when."""

    ledger: Ledger
    clock: Clock
    actor: str

    def note(self, action: str, attempt: Attempt, **detail: object) -> None:
        """Add the audit row."""
        self.ledger.audit(AuditEvent(self.clock(), self.actor, action, attempt.backup_id, detail))


def download_bundle(attempt: Attempt, to: Destination, *, store: Store, witness: Witness, progress: Progress) -> Path:
    """The bundle of `attempt` as a file at `to`, in a folder under its own name; its path.

    An encrypted bundle comes as it lies in the store; no key is needed for that.

    The file appears when it is whole and its SHA-256 is the manifest's; until then, and after any error, there is
    nothing. Only its owner may read it. RefusedError when a file is there already, unless forced; NotFoundError when
    there is no bundle; VerificationError when the bytes are not the manifest's; DiskFullError.
    """
    bundle = stored_bundle(attempt, store)
    path = to.path(bundle.name)
    progress.tell(StageStarted("download", bundle.bytes))
    key = bundle_place(attempt).bundle(bundle.name)
    with to.appearing(path) as file:
        # The audit comes before the bytes: nobody gets any of which nothing is written down.
        witness.note("download", attempt, file_name=bundle.name, bytes=bundle.bytes)
        _copy(store.stream(key), file, progress, bundle, f"{store.url}/{key}")
    return path


def bundle_url(attempt: Attempt, *, store: Store, witness: Witness, expires: timedelta = DEFAULT_EXPIRY) -> str:
    """A URL that gives the bundle to whoever has it, until it expires.

    UsageError for a time that can not be; RefusedError when the store has no URLs; NotFoundError without a bundle.
    """
    if not timedelta(seconds=1) <= expires <= LONGEST_EXPIRY:
        message = f"A URL can be good for 1 second to 7 days, not for {_spoken(expires)}."
        raise UsageError(message, do="Choose a time in between, such as 1h.")
    name = stored_bundle(attempt, store).name
    url = store.sign(bundle_place(attempt).bundle(name), expires=expires, file_name=name)
    witness.note("url", attempt, expires_at=(witness.clock() + expires).isoformat(timespec="seconds"))
    return url


def _spoken(time: timedelta) -> str:
    """A time as people say it: `9 days`, `8 days, 8:00:00`, `0 seconds`."""
    return str(time).removesuffix(", 0:00:00") if time >= timedelta(days=1) else f"{time.total_seconds():g} seconds"


def _copy(chunks: Iterator[bytes], file: BinaryIO, progress: Progress, bundle: StoredBundle, where: str) -> None:
    seen = hashlib.sha256()
    for chunk in chunks:
        file.write(chunk)
        seen.update(chunk)
        progress.tell(BytesMoved(len(chunk)))
    if seen.hexdigest() != bundle.sha256:
        message = f"{where} is damaged: its SHA-256 is {seen.hexdigest()}, the manifest says {bundle.sha256}."
        raise VerificationError(message, do="Use another backup; `backup-pipeline verify` says what is damaged.")
