"""The port to the due times of a ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.due import Known, Settlement
    from backup_pipeline.core.ledger import Attempt


class Dues(Protocol):
    """The due times of a ledger: one row each, of `backup_logs`. Every failure is a LedgerError."""

    def settle(
        self, catalog: str, decide: Callable[[Known], Settlement], *, since: datetime, now: datetime
    ) -> Settlement:
        """Account for the due times up to `now`: `decide` is shown what is known at least since `since`, alone.

        What of its answer was really written: two that settle at once never write, or get back, the same row.
        """

    def abandon(self, catalog: str, why: str, *, idle_since: datetime, now: datetime) -> Sequence[Attempt]:
        """Cancel what is expected of a catalog that nobody has accounted for since `idle_since`; the rows, once."""

    def take(self, attempt: Attempt) -> Attempt:
        """Begin the attempt as `Ledger.begin` does, in the row of its due time where no other has begun; as it began.

        Without a due time when that one is another's, or was missed. What a clock that was ahead wrote down as missed,
        later than now, was not.
        """

    def since(self, catalog: str, at: datetime) -> Sequence[Attempt]:
        """The rows of `catalog` that were created, or due, at `at` or later, newest first."""

    def newest_good(self, catalog: str, now: datetime) -> Attempt | None:
        """The newest good full backup of `catalog` that is not of the future (`core.clocks`)."""
