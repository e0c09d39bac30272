"""What verification reaches the world through, and the folder in which it unpacks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from backup_pipeline.core.layout import VERIFICATIONS
from backup_pipeline.core.ports import Store
from backup_pipeline.core.progress import Progress
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.operations.verify import VerifyPorts
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import work_dir
from backup_pipeline.wiring.clock import utc_now
from backup_pipeline.wiring.encryption import open_formats
from backup_pipeline.wiring.private import make_folder

_ABANDONED = timedelta(days=2)
"""A verification that was killed leaves its folder; one that lives writes into it all the time."""


def verify_ports(settings: Settings, store: Store, progress: Progress) -> VerifyPorts:
    """The ports of verification; its folder is made when it is needed, and removed at the end."""
    folder = work_dir(settings) / VERIFICATIONS
    return VerifyPorts(store, open_formats(settings), FileDecoder, lambda: _new_folder(folder), progress, utc_now)


@contextmanager
def _new_folder(parent: Path) -> Iterator[Path]:
    make_folder(parent)
    for old in parent.iterdir():
        if time.time() - old.stat().st_mtime > _ABANDONED.total_seconds():
            shutil.rmtree(old, ignore_errors=True)
    with TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)
