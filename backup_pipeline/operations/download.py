"""Taking a backup out of its store: as a file, a URL, a rendering; and whether a key opens it. All are audited."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from backup_pipeline.core.errors import (
    NO_ROOM,
    BackupError,
    DecryptError,
    DiskFullError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from backup_pipeline.core.keys import Cipher, no_key
from backup_pipeline.core.layout import RENDERINGS, Rendering
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.manifest import StoredBundle
from backup_pipeline.core.manifest.outline import Outline, hidden
from backup_pipeline.core.names import MOST_DOCUMENT, whole
from backup_pipeline.core.ports import Clock, Formats, Ledger, Ports, Progress, Silence, StageStarted, Store
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.browse import (
    Ranges,
    bundle_place,
    check_bytes,
    check_unpinned,
    compared,
    opened_backup,
    opened_unread,
)


@dataclass(frozen=True)
class Destination:
    """Where a person wants a file: at `target`, or under the file's own name in the folder `target`.

    What is not there yet is a folder when its name has no ending (`~/backups`, not `~/isp.zip`). A file that is there
    already is overwritten only with `force`.
    """

    target: Path
    force: bool = False

    def path(self, name: str) -> Path:
        """The path of a file called `name`; RefusedError when a file is there that must stay."""
        path = self.target / name if self._is_folder() else self.target
        if not self.force and path.exists():
            raise _file_exists(path)
        return path

    @contextmanager
    def appearing(self, path: Path) -> Iterator[BinaryIO]:
        """A file that gets the name `path` when the context ends well, and leaves nothing behind when it does not.

        Only its owner may read it. A folder that is not there yet is made, and stays. RefusedError when a file came to
        be there meanwhile; DiskFullError; BackupError when it can not be written.
        """
        with _os_errors_explained(path):
            if self._is_folder():
                self.target.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        draft = Path(name)
        try:
            with _os_errors_explained(path):
                with os.fdopen(handle, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                _publish(draft, path, force=self.force)
        finally:
            draft.unlink(missing_ok=True)

    def _is_folder(self) -> bool:
        return self.target.is_dir() or not (self.target.exists() or self.target.suffix)


def _publish(draft: Path, path: Path, *, force: bool) -> None:
    if force:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # unlike a rename, refuses when somebody has made the file meanwhile
    except FileExistsError:
        raise _file_exists(path) from None
    except OSError:
        if path.exists():
            raise _file_exists(path) from None
        draft.rename(path)  # a file system without links


@contextmanager
def _os_errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            message = f"There is no room for {path}: {error.strerror}."
            raise DiskFullError(
                message, do="Make room, also for temporary files (TMPDIR), or choose another place with --to."
            ) from error
        message = f"{path} can not be written: {error.strerror or error}."
        raise BackupError(message, do="Choose a folder that exists and that you may write to, with --to.") from error


def _file_exists(path: Path) -> RefusedError:
    return RefusedError(f"{path} is there already.", do="Choose another name with --to, or overwrite it with --force.")


DEFAULT_EXPIRY = timedelta(hours=1)
LONGEST_EXPIRY = timedelta(days=7)
"""The most that SigV4, the signature of S3's URLs, allows."""


@dataclass(frozen=True)
class AuditTrail:
    """The ledger's audit, as one actor writes to it."""

    ledger: Ledger
    clock: Clock
    actor: Actor

    def note(self, action: str, backup_id: str, **detail: object) -> None:
        """Add a row about a backup: `action` at this moment, with `detail` as JSON."""
        self.ledger.audit(AuditEvent(self.clock(), self.actor, action, backup_id, detail))


def download_bundle(attempt: Attempt, to: Destination, *, store: Store, audit: AuditTrail, progress: Progress) -> Path:
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
        audit.note("download", attempt.backup_id, file_name=bundle.name, bytes=bundle.bytes)
        for chunk in compared(opened, store, progress):
            file.write(chunk)
    return path


def bundle_url(
    attempt: Attempt,
    *,
    store: Store,
    audit: AuditTrail,
    expires: timedelta = DEFAULT_EXPIRY,
    progress: Progress | None = None,
) -> tuple[str, StoredBundle]:
    """A URL that gives the bundle to whoever has it, until it expires; and the bundle, by whose SHA-256 they compare.

    Its bytes are read whole and compared first: nobody compares those that somebody downloads by the URL later.
    UsageError for a time that can not be; RefusedError when the store has no URLs; NotFoundError without a bundle;
    VerificationError when ledger, manifest and bytes contradict each other.
    """
    if not timedelta(seconds=1) <= expires <= LONGEST_EXPIRY:
        message = f"A URL can be good for 1 second to 7 days, not for {_duration_text(expires)}."
        raise UsageError(message, do="Choose a time in between, such as 1h.")
    opened = opened_unread(attempt, store)
    url = store.sign(opened.key, expires=expires, file_name=opened.bundle.name)
    check_bytes(opened, store, progress or Silence())
    audit.note("url", attempt.backup_id, expires_at=(audit.clock() + expires).isoformat(timespec="seconds"))
    return url, opened.bundle


def _duration_text(time: timedelta) -> str:
    """A duration for people: `9 days`, `8 days, 8:00:00`, `0 seconds`."""
    return str(time).removesuffix(", 0:00:00") if time >= timedelta(days=1) else f"{time.total_seconds():g} seconds"


def render_backup(
    attempt: Attempt,
    kind: Rendering,
    to: Destination,
    *,
    store: Store,
    formats: Formats,
    audit: AuditTrail,
    progress: Progress,
) -> Path:
    """The backup of `attempt` in the form `kind` as a file at `to`, in a folder called as the bundle; its path.

    The bundle is read by ranges, only the members that `kind` is made of, each compared with its SHA-256. The file
    appears when it is whole; until then, and after any error, there is nothing. Only its owner may read it.
    RefusedError when a file is there already, unless forced; NotFoundError when there is no bundle; VerificationError
    when it is damaged, or ledger and manifest contradict each other; DiskFullError.
    """
    opened = opened_backup(attempt, store)
    size = opened.bundle.bytes
    name = kind.file_name(opened.bundle.name)
    path = to.path(name)
    with to.appearing(path) as file:
        # The audit comes before the bytes, and names the deed as `download` does: data left the store.
        audit.note("download", attempt.backup_id, file_name=name, rendering=str(kind))
        check_unpinned(opened, store, formats, progress)
        progress.tell(StageStarted("render", size))
        bundle = formats.open_bundle(Ranges(store, opened.key, size, progress).read, size)
        formats.render(kind, opened.manifest, bundle, file)
    return path


RENDERING_KEPT = timedelta(hours=1)
"""How long a rendering that was made for a download stays on this machine."""


def render_for(request: str, attempt: Attempt, kind: Rendering, ports: Ports, actor: Actor) -> dict[str, object]:
    """Make a rendering for whoever asked for it: its file's name, bytes, SHA-256, until when it is there, and where.

    It lies in a folder of the request's under the spool; what is older there goes. Raises what `render_backup` raises.
    """
    now = ports.clock()
    sweep_renderings(ports.spool, now)
    folder = ports.spool / RENDERINGS / request
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    audit = AuditTrail(ports.ledger, ports.clock, actor)
    to = Destination(folder, force=True)
    path = render_backup(
        attempt, kind, to, store=ports.store, formats=ports.formats, audit=audit, progress=ports.progress
    )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    until = (ports.clock() + RENDERING_KEPT).isoformat()
    size, host = path.stat().st_size, ports.owner.host
    return {"file": path.name, "bytes": size, "sha256": sha256, "expires_at": until, "host": host}


def rendered_file(spool: Path, request: UUID, now: datetime) -> Path:
    """The rendering that was made for a request; NotFoundError when it is gone, or was made on another machine."""
    folder = spool / RENDERINGS / str(request)
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not files or _is_old(folder, now):
        message = f"The rendering of request {request} is not on this machine any more: it is kept for an hour."
        raise NotFoundError(message, do="Ask for it again.")
    return files[0]


def sweep_renderings(spool: Path, now: datetime) -> int:
    """Remove renderings that were there for their hour; how many."""
    folders = [folder for folder in (spool / RENDERINGS).glob("*") if folder.is_dir() and _is_old(folder, now)]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)


def _is_old(folder: Path, now: datetime) -> bool:
    return now.timestamp() - folder.stat().st_mtime > RENDERING_KEPT.total_seconds()


@dataclass(frozen=True)
class KeyCheck:
    """The recipients a backup is encrypted to (none: anybody can read it), and the key that opened it, if one did."""

    backup_id: str
    recipients: tuple[str, ...]
    opened_by: str | None


def check_key(attempt: Attempt, store: Store, cipher: Cipher, audit: AuditTrail) -> KeyCheck:
    """Open the manifest of `attempt` with the keys of `cipher`; the audit says that one was used.

    DecryptError, naming the recipients, when none opens it; NotFoundError when there is no backup.
    """
    place = bundle_place(attempt)
    where = f"{store.url}/{place.manifest}"
    outline = hidden(whole(store.stream(place.manifest), MOST_DOCUMENT, where), where)
    if not isinstance(outline, Outline):
        return KeyCheck(attempt.backup_id, (), None)
    try:
        _, identity = cipher.opened(outline.ciphertext.encode(), where)
    except DecryptError as error:
        what = f"Backup {attempt.backup_id}"
        raise no_key(what, outline.encryption.recipients, cipher.holders) from error
    audit.note("key used", attempt.backup_id, identity=identity, reason="key check")
    return KeyCheck(attempt.backup_id, outline.encryption.recipients, identity)


_MODE = 0o600


def write_key(path: Path, secret: str, recipient: str, now: datetime) -> None:
    """Write the key as age-keygen does. RefusedError when a file is there; BackupError when it can not be written."""
    text = f"# created: {now.isoformat(timespec='seconds')}\n# public key: {recipient}\n{secret}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        message = f"{path} is there already; a key is never overwritten."
        raise RefusedError(message, do="Choose another name with --to.") from error
    except OSError as error:
        message = f"The key can not be written to {path}: {error.strerror or error}."
        raise BackupError(message, do="Choose a folder that exists and that you may write to, with --to.") from error
