"""Download: the bundle as a file on this machine, or as a URL for a while. Both leave an audit row."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.core.errors import BackupError, DiskFullError, RefusedError, UsageError, VerificationError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import StoredBundle
from backup_pipeline.core.ports import Clock, Ledger, Store
from backup_pipeline.core.progress import BytesMoved, Progress, StageStarted
from backup_pipeline.operations.browse import bundle_place, stored_manifest

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


def download_bundle(
    attempt: Attempt, target: Path, *, store: Store, witness: Witness, progress: Progress, force: bool = False
) -> Path:
    """The bundle of `attempt` as the file `target` (or under its own name in the folder `target`); its path.

    The file appears when it is whole and its SHA-256 is the manifest's; until then, and after any error, there is
    nothing. Only its owner may read it. RefusedError when a file is there already, unless `force`; NotFoundError when
    there is no bundle; VerificationError when the bytes are not the manifest's; DiskFullError.
    """
    manifest = stored_manifest(attempt, store)
    path = target / manifest.bundle.name if target.is_dir() else target
    if not force and path.exists():
        raise _there_already(path)
    progress.tell(StageStarted("download", manifest.bundle.bytes))
    key = bundle_place(attempt).bundle(manifest.bundle.name)
    with _appearing(path, force=force) as file:
        # The audit comes before the bytes: nobody gets any of which nothing is written down.
        witness.note("download", attempt, file_name=manifest.bundle.name, bytes=manifest.bundle.bytes)
        _copy(store.stream(key), file, progress, manifest.bundle, f"{store.url}/{key}")
    return path


def bundle_url(attempt: Attempt, *, store: Store, witness: Witness, expires: timedelta = DEFAULT_EXPIRY) -> str:
    """A URL that gives the bundle to whoever has it, until it expires.

    UsageError for a time that can not be; RefusedError when the store has no URLs; NotFoundError without a bundle.
    """
    if not timedelta(seconds=1) <= expires <= LONGEST_EXPIRY:
        message = f"A URL can be good for 1 second to 7 days, not for {expires}."
        raise UsageError(message, do="Choose a time in between, such as 1h.")
    manifest = stored_manifest(attempt, store)
    key = bundle_place(attempt).bundle(manifest.bundle.name)
    url = store.sign(key, expires=expires, file_name=manifest.bundle.name)
    witness.note("url", attempt, expires_at=(witness.clock() + expires).isoformat(timespec="seconds"))
    return url


def _copy(chunks: Iterator[bytes], file: BinaryIO, progress: Progress, bundle: StoredBundle, where: str) -> None:
    seen = hashlib.sha256()
    for chunk in chunks:
        file.write(chunk)
        seen.update(chunk)
        progress.tell(BytesMoved(len(chunk)))
    if seen.hexdigest() != bundle.sha256:
        message = f"{where} is damaged: its SHA-256 is {seen.hexdigest()}, the manifest says {bundle.sha256}."
        raise VerificationError(message, do="Use another backup; `backup-pipeline verify` says what is damaged.")


@contextmanager
def _appearing(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that gets the name `path` when the context ends well, and leaves nothing behind when it does not."""
    with _told_as_backup_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    draft = Path(name)
    try:
        with _told_as_backup_errors(path):
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, path, force=force)
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path, *, force: bool) -> None:
    if force:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # unlike a rename, refuses when somebody has made the file meanwhile
    except FileExistsError:
        raise _there_already(path) from None
    except OSError:
        if path.exists():
            raise _there_already(path) from None
        draft.rename(path)  # a file system without links


@contextmanager
def _told_as_backup_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = f"There is no room for {path}: {error.strerror}."
            raise DiskFullError(message, do="Make room, or choose another place with --to.") from error
        message = f"{path} can not be written: {error.strerror or error}."
        raise BackupError(message, do="Choose a folder that exists and that you may write to, with --to.") from error


def _there_already(path: Path) -> RefusedError:
    return RefusedError(f"{path} is there already.", do="Choose another name with --to, or overwrite it with --force.")
