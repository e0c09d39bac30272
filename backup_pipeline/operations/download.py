"""Download: the bundle as a file on this machine, or as a URL for a while. Both leave an audit row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import StoredBundle
from backup_pipeline.core.ports import Clock, Ledger, Store
from backup_pipeline.core.progress import Progress, Silence, StageStarted
from backup_pipeline.operations.browse import opened_unread
from backup_pipeline.operations.local_file import Destination
from backup_pipeline.operations.open_backup import check_bytes, compared

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

    The file appears when it is whole and its SHA-256 is that of manifest and ledger; until then, and after any error,
    there is nothing. Only its owner may read it. RefusedError when a file is there already, unless forced;
    NotFoundError when there is no bundle; VerificationError when ledger, manifest and bytes contradict each other;
    DiskFullError.
    """
    opened = opened_unread(attempt, store)
    bundle = opened.bundle
    path = to.path(bundle.name)
    progress.tell(StageStarted("download", bundle.bytes))
    with to.appearing(path) as file:
        # The audit comes before the bytes: nobody gets any of which nothing is written down.
        witness.note("download", attempt, file_name=bundle.name, bytes=bundle.bytes)
        for chunk in compared(opened, store, progress):
            file.write(chunk)
    return path


def bundle_url(
    attempt: Attempt,
    *,
    store: Store,
    witness: Witness,
    expires: timedelta = DEFAULT_EXPIRY,
    progress: Progress | None = None,
) -> tuple[str, StoredBundle]:
    """A URL that gives the bundle to whoever has it, until it expires; and the bundle, by whose SHA-256 they compare.

    Its bytes are read whole and compared first: nobody compares those that somebody downloads by the URL later.
    UsageError for a time that can not be; RefusedError when the store has no URLs; NotFoundError without a bundle;
    VerificationError when ledger, manifest and bytes contradict each other.
    """
    if not timedelta(seconds=1) <= expires <= LONGEST_EXPIRY:
        message = f"A URL can be good for 1 second to 7 days, not for {_spoken(expires)}."
        raise UsageError(message, do="Choose a time in between, such as 1h.")
    opened = opened_unread(attempt, store)
    url = store.sign(opened.key, expires=expires, file_name=opened.bundle.name)
    check_bytes(opened, store, progress or Silence())
    witness.note("url", attempt, expires_at=(witness.clock() + expires).isoformat(timespec="seconds"))
    return url, opened.bundle


def _spoken(time: timedelta) -> str:
    """A time as people say it: `9 days`, `8 days, 8:00:00`, `0 seconds`."""
    return str(time).removesuffix(", 0:00:00") if time >= timedelta(days=1) else f"{time.total_seconds():g} seconds"
