"""Check a key: does it open a backup? Nothing of the backup is given out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup_pipeline.core.errors import BackupError, DecryptError, RefusedError
from backup_pipeline.core.keys import Cipher, no_key
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest.outline import Outline, hidden
from backup_pipeline.core.names import MOST_DOCUMENT, whole
from backup_pipeline.core.ports import Store
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.download import Witness


@dataclass(frozen=True)
class KeyCheck:
    """What came out: to whom the backup is encrypted (to nobody: anybody can read it), and which key opened it."""

    backup_id: str
    recipients: tuple[str, ...]
    opened_by: str | None


def check_key(attempt: Attempt, store: Store, cipher: Cipher, witness: Witness) -> KeyCheck:
    """Open the manifest of `attempt` with the keys of `cipher`; the audit says that one was used.

    DecryptError, naming the recipients, when none opens it; NotFoundError when there is no backup.
    """
    place = bundle_place(attempt)
    where = f"{store.url}/{place.manifest}"
    found = hidden(whole(store.stream(place.manifest), MOST_DOCUMENT, where), where)
    if not isinstance(found, Outline):
        return KeyCheck(attempt.backup_id, (), None)
    try:
        _, identity = cipher.opened(found.ciphertext.encode(), where)
    except DecryptError as error:
        what = f"Backup {attempt.backup_id}"
        raise no_key(what, found.encryption.recipients, cipher.holders) from error
    witness.note("key used", attempt, identity=identity, reason="key check")
    return KeyCheck(attempt.backup_id, found.encryption.recipients, identity)


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
