"""Files that hold a private key."""

from __future__ import annotations

import logging
import stat
from functools import cache
from pathlib import Path

from backup_pipeline.core.errors import SettingsError

logger = logging.getLogger(__name__)


def read_key_file(path: Path, *, name: str) -> str:
    """What the file `path`, that `name` names, holds; people are told when others may read it."""
    try:
        text, mode = path.read_text(encoding="utf-8"), stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{name} names {path}, which can not be read: {reason}."
        raise SettingsError(message, do="Name the file that holds the private key, and make it readable.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _tell_open(str(path), mode)
    return text


@cache
def _tell_open(path: str, mode: int) -> None:
    logger.warning("The private key in %s is open to others (mode %o): run `chmod 600 %s`.", path, mode, path)
