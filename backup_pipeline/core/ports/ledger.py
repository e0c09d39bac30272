"""The port to the ledger: `backup_logs`, its audit, and the ports to what else the ledger keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.hold import Hold
    from backup_pipeline.core.ledger import Attempt, AuditEvent, Outcome
    from backup_pipeline.core.ports.copies import Copies
    from backup_pipeline.core.ports.dues import Dues
    from backup_pipeline.core.ports.leases import Leases
    from backup_pipeline.core.ports.outbox import Outbox
    from backup_pipeline.core.ports.readings import Readings
    from backup_pipeline.core.ports.restores import Restores
    from backup_pipeline.core.ports.shapes import Shapes
    from backup_pipeline.core.ports.tallies import Tallies
    from backup_pipeline.core.ports.threads import Threads
    from backup_pipeline.core.statuses import Status
    from backup_pipeline.core.verified import Verified


class Ledger(Protocol):
    """The database that holds `backup_logs`. Every failure is a LedgerError."""

    @property
    def restores(self) -> Restores:
        """The restore requests."""

    @property
    def dues(self) -> Dues:
        """The due times."""

    @property
    def threads(self) -> Threads:
        """The threads of alerts."""

    @property
    def leases(self) -> Leases:
        """Who may write what."""

    @property
    def outbox(self) -> Outbox:
        """The alerts that are to be delivered."""

    @property
    def shapes(self) -> Shapes:
        """What backups looked like."""

    @property
    def copies(self) -> Copies:
        """The copies in other stores."""

    @property
    def readings(self) -> Readings:
        """Who reads which backup."""

    @property
    def tallies(self) -> Tallies:
        """How many attempts ended how."""

    def now(self) -> datetime:
        """The present by the ledger's own clock, in UTC."""

    def begin(self, attempt: Attempt) -> None:
        """Add the attempt's row, `running`, before anything else is touched."""

    def beat(self, backup_id: str, now: datetime) -> None:
        """Say that the attempt's owner is alive."""

    def end(self, backup_id: str, outcome: Outcome) -> None:
        """Close the row, and give its lease back with it. Refuses a move that `statuses` does not allow."""

    def verified(self, backup_id: str, verified: Verified) -> None:
        """Write into the row what a verification came to, in place of what an earlier one did."""

    def hold(self, backup_id: str, hold: Hold | None) -> None:
        """Write into the row who holds the backup, why and until when; None releases it."""

    def expires(self, backup_id: str, at: datetime | None) -> None:
        """Write into the row when the rules let the backup go at the earliest."""

    def get(self, backup_id: str) -> Attempt | None:
        """The row of a backup id."""

    def of_run(self, run_id: str) -> Attempt | None:
        """The newest row that belongs to a Dagster run."""

    def list(
        self,
        *,
        catalog: str | None = None,
        status: Sequence[Status] = (),
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Attempt]:
        """Rows, newest first: of one catalog, with one of `status`, created after `since`, at most `limit`."""

    def last_good(self, catalog: str, before: datetime | None = None) -> Attempt | None:
        """The newest good backup of `catalog` with counted tables, created before `before`: what to compare with.

        Kinds `full` and `selective` only: a `tables` run makes no bundle, so it is no backup.
        """

    def adopt(self, rows: Sequence[Attempt], events: Sequence[AuditEvent]) -> None:
        """Write whole rows as a rebuild has them, in place of those of the same backups, and their audit with them."""

    def audit(self, event: AuditEvent) -> None:
        """Add an audit row."""

    def audits(self, backup_id: str | None = None, *, limit: int | None = None) -> Sequence[AuditEvent]:
        """Audit rows, newest first: of one backup or all."""
