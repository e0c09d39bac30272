"""The port to the leases of a ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.leases import Claim, Lease


class Leases(Protocol):
    """Who may write what, one at a time. A lease that is not renewed ends by itself, by the ledger's own clock.

    Every failure is a LedgerError.
    """

    def acquire(self, claim: Claim, life: timedelta, *, over: int | None = None) -> Lease:
        """Take the lease when it is free, has expired, or is held under the token `over`; the lease as it then is.

        That is the claimant's own, or the one of whoever holds it. Of many that ask at once one gets it.
        """

    def renew(self, lease: Lease, life: timedelta) -> Lease | None:
        """Extend the lease; None when it is another's by now, or nobody's."""

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is another's by now."""

    def get(self, name: str) -> Lease | None:
        """The lease of `name`, also an expired one that nobody took; None when it is nobody's."""
