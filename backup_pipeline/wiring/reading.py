"""That a backup is read, noted in the ledger for as long as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.readings import LIFE, Reading, renewal_interval
from backup_pipeline.ledger.heartbeat import Heartbeat
from backup_pipeline.wiring.clock import utc_now
from backup_pipeline.wiring.ports import this_owner

logger = logging.getLogger(__name__)


@contextmanager
def reading(backup_id: str, work: str, by: str, ledger: Ledger, *, life: timedelta = LIFE) -> Iterator[None]:
    """Keep `prune` and `delete` from the backup while the context lasts; `work` is what they will name.

    Whoever is killed frees it when `life` is over. A ledger that can not be written keeps nobody from reading.
    """
    try:
        noted = ledger.readings.begin(Reading(backup_id, work, by, this_owner()), life)
    except LedgerError as trouble:
        logger.warning(
            "That %s reads %s is not noted, so a prune may remove it meanwhile: %s", work, backup_id, trouble
        )
        yield
        return
    try:
        with Heartbeat(_Sign(ledger, life), noted.number, clock=utc_now, every=renewal_interval(life)):
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
