"""The end of an attempt whose work is done and in the store: a ledger that is away for a moment does not undo it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Attempt, Outcome
from backup_pipeline.core.ports import Ledger

AGAIN_AFTER_S: tuple[float, ...] = (1.0, 3.0, 9.0)

logger = logging.getLogger(__name__)


def end_made(
    attempt: Attempt,
    outcome: Outcome,
    ledger: Ledger,
    *,
    again_after: Sequence[float] | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Write `outcome` into the attempt's row, and try again while the ledger can not be reached.

    A row that has this status already was written by a try whose answer got lost. LedgerError when it stays away: the
    row is still `running` then, and whoever finds its process gone ends it as what the store says it is.
    """
    for seconds in (*(AGAIN_AFTER_S if again_after is None else again_after), None):
        try:
            ledger.end(attempt.backup_id, outcome)
        except LedgerError as error:
            if _is_written(attempt, outcome, ledger):
                return
            if seconds is None or not error.transient:
                raise
            logger.warning("Backup %s is made; its row is written again in %g s: %s", attempt.backup_id, seconds, error)
            pause(seconds)
        else:
            return


def _is_written(attempt: Attempt, outcome: Outcome, ledger: Ledger) -> bool:
    try:
        row = ledger.get(attempt.backup_id)
    except LedgerError:
        return False
    return row is not None and (row.status, row.sha256) == (outcome.status, outcome.sha256)
