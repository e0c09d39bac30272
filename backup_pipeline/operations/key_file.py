"""A new private key as a file on this machine: whole, its owner's alone, and never in place of another one."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from backup_pipeline.core.errors import BackupError, RefusedError

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
