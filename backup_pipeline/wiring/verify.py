"""What a verification reaches the world through, and the note that a backup is being read."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from backup_pipeline.core.actor import Actor
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.layout import VERIFICATIONS
from backup_pipeline.core.leases import LIFE, Reading, reading_renewal_interval
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.ports.people import Progress
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.ledger.connect import this_owner
from backup_pipeline.ledger.leases import Heartbeat
from backup_pipeline.operations.verify import VerifyPorts
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import (
    utc_now,
    work_dir,
)
from backup_pipeline.wiring.private import make_folder
from backup_pipeline.wiring.stores import (
    open_formats,
)

logger = logging.getLogger(__name__)

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


@contextmanager
def reading(backup_id: str, work: str, actor: Actor, ledger: Ledger, *, life: timedelta = LIFE) -> Iterator[None]:
    """Keep `prune` and `delete` from the backup while the context lasts; `work` is what they will name.

    Whoever is killed frees it when `life` is over. A ledger that can not be written keeps nobody from reading.
    """
    try:
        noted = ledger.readings.begin(Reading(backup_id, work, actor, this_owner()), life)
    except LedgerError as trouble:
        logger.warning(
            "That %s reads %s is not noted, so a prune may remove it meanwhile: %s", work, backup_id, trouble
        )
        yield
        return
    try:
        with Heartbeat(_Sign(ledger, life), noted.number, clock=utc_now, every=reading_renewal_interval(life)):
            yield
    finally:
        with suppress(LedgerError):  # it ends by itself
            ledger.readings.end(noted.number)


class _Sign:
    """What the heartbeat of a reading does."""

    def __init__(self, ledger: Ledger, life: timedelta) -> None:
        self._ledger = ledger
        self._life = life

    def beat(self, of: int, now: datetime, /) -> None:
        """Extend it, by the ledger's clock."""
        self._ledger.readings.renew(of, self._life)
