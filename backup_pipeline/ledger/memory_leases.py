"""The leases of the ledger in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup_pipeline.core.leases import Claim, Lease
from backup_pipeline.core.ports import Clock


class MemoryLeases:
    """The port `Leases` over a dictionary; safe from any thread. `clock` is the ledger's own."""

    def __init__(self, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._held: dict[str, Lease] = {}
        self._tokens: dict[str, int] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def acquire(self, claim: Claim, life: timedelta, *, over: int | None = None) -> Lease:
        """Take the lease when it is free, has expired, or is held under the token `over`; the lease as it then is."""
        with self._lock:
            now = self._clock()
            held = self._held.get(claim.name)
            if held is not None and held.expires_at > now and held.token != over:
                return held
            token = self._tokens[claim.name] = self._tokens.get(claim.name, 0) + 1
            self._held[claim.name] = Lease(claim, token, now, now, now + life)
            return self._held[claim.name]

    def renew(self, lease: Lease, life: timedelta) -> Lease | None:
        """Extend the lease; None when it is another's by now, or nobody's."""
        with self._lock:
            held = self._held.get(lease.claim.name)
            if held is None or held.token != lease.token:
                return None
            now = self._clock()
            self._held[lease.claim.name] = renewed = replace(held, heartbeat_at=now, expires_at=now + life)
            return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is another's by now."""
        with self._lock:
            held = self._held.get(lease.claim.name)
            if held is not None and held.token == lease.token:
                del self._held[lease.claim.name]

    def get(self, name: str) -> Lease | None:
        """The lease of `name`, also an expired one that nobody took; None when it is nobody's."""
        return self._held.get(name)

    def release_of(self, holder: str) -> None:
        """Give back what the work `holder` holds."""
        with self._lock:
            self._held = {name: held for name, held in self._held.items() if held.claim.holder != holder}
