"""Leases in use: taken before anything is written, renewed meanwhile, and heard of when they are lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from backup_pipeline.core import ledger as rules
from backup_pipeline.core.copies import GIVEN_UP_AFTER, CopyStatus
from backup_pipeline.core.errors import CanceledError, LeaseLostError, LedgerError
from backup_pipeline.core.ledger import (
    STALE_AFTER,
    Attempt,
    Claim,
    Lease,
    LeaseStep,
    Reading,
    decide,
    described,
    held_error,
    lost_error,
)
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.ports import Leases, Ledger, Ports, Progress, Snapshot, Source, Store, StoredObject
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.background import Heartbeat

LOOK_EVERY_S = 2.0

logger = logging.getLogger(__name__)


def take(
    claim: Claim,
    ports: Ports,
    *,
    waiting: Callable[[], None] = lambda: None,
    pause: Callable[[float], object] = time.sleep,
) -> Lease:
    """Take the lease, at once from a holder that is dead; LeaseHeldError, naming the holder, when it lives.

    A holder on another host may be dead without anybody seeing it: then this waits, at most a lease's life, until it
    gives a sign of life or its lease has expired, and says so with `waiting` at each look.
    """
    leases = ports.ledger.leases
    held = first = leases.acquire(claim, rules.LIFE)
    while True:
        decision = decide(claim, held, first, alive=ports.alive)
        if decision.step is LeaseStep.WRITE:
            return held
        if decision.step is LeaseStep.REFUSE:
            raise held_error(held)
        logger.warning("Catalog %s is leased to %s. %s", claim.scope, described(held), decision.reason)
        if decision.step is LeaseStep.WAIT:
            waiting()
            pause(LOOK_EVERY_S)
        held = leases.acquire(claim, rules.LIFE, over=held.token if decision.step is LeaseStep.TAKE else None)


def take_for(attempt: Attempt, ports: Ports) -> Lease:
    """Take the lease of the attempt's catalog; while this waits, the attempt's row shows that its owner is alive."""
    claim = Claim(attempt.scope, attempt.backup_id, attempt.actor, ports.owner, attempt.run_id)
    return take(claim, ports, waiting=lambda: ports.ledger.beat(attempt.backup_id, ports.clock()))


class HeldLease:
    """A lease that its holder writes under: `beat` renews it, `check` is asked before anything is published.

    Once it is lost it stays lost: whoever reads or writes is stopped, and `check` raises. Safe from any thread.
    """

    def __init__(
        self,
        lease: Lease,
        leases: Leases,
        *,
        life: timedelta | None = None,
        seconds: Callable[[], float] = time.monotonic,
        trusted_s: float = 0.0,
    ) -> None:
        self.lease = lease
        self._trusted_s = trusted_s
        self._leases = leases
        self._life = life or rules.LIFE
        self._seconds = seconds
        self._renewed = seconds()
        self._lost: str | None = None
        self._stops: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    @property
    def every(self) -> timedelta:
        """How often it is to be renewed."""
        return rules.renewal_interval(self._life)

    def beat(self) -> None:
        """Renew it. LeaseLostError when it is another's, or could not be renewed for longer than its life."""
        asked_at = self._seconds()
        try:
            renewed = self._leases.renew(self.lease, self._life)
        except LedgerError as error:
            if not self._over():
                raise
            why = f"its lease could not be renewed for {self._life.total_seconds():g} s. {error.what}"
            raise self._lose(why) from error
        if renewed is None:
            raise self._lose(self._taken())
        self._renewed = asked_at

    def check(self, *, ask: bool = False) -> None:
        """Raise LeaseLostError unless the lease is ours: by what we know, or, with `ask`, by the ledger.

        As long as its life is not over since it was renewed last, nobody else can have it: then a ledger that is away
        stops nobody. For so many seconds after an answer (`trusted_s`) it is not asked again.
        """
        if self._lost is not None:
            raise lost_error(self.lease, self._lost)
        if (ask and self._seconds() - self._renewed >= self._trusted_s) or self._over():
            try:
                self.beat()
            except LedgerError as error:
                logger.warning("The lease of catalog %s is taken for ours: %s", self.lease.claim.scope, error)

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop`, from whichever thread notices, when the lease is lost while the context lasts."""
        with self._lock:
            self._stops.append(stop)
        try:
            if self._lost is not None:
                stop()
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)

    def _over(self) -> bool:
        return self._seconds() - self._renewed >= self._life.total_seconds()

    def _taken(self) -> str:
        try:
            now = self._leases.get(self.lease.claim.scope)
        except LedgerError:
            now = None
        return f"its lease was taken over by {described(now)}." if now else "its lease was not renewed in time."

    def _lose(self, why: str) -> LeaseLostError:
        with self._lock:
            stops = [] if self._lost is not None else list(self._stops)
            self._lost = self._lost or why
        for stop in stops:
            try:
                stop()
            except Exception:  # what can not be stopped still can not publish
                logger.exception("Catalog %s: reading could not be stopped.", self.lease.claim.scope)
        return lost_error(self.lease, self._lost)


def lease_of(attempt: Attempt, ledger: Ledger) -> HeldLease:
    """The lease that the attempt was begun under; LeaseLostError when it does not hold it any more."""
    lease = ledger.leases.get(attempt.scope)
    if lease is None or lease.claim.holder != attempt.backup_id:
        by = f" {described(lease)} has it." if lease else ""
        message = f"{attempt.backup_id} may not write catalog {attempt.scope} any more: it has no lease.{by}"
        raise LeaseLostError(message, do="Run the backup again, once nobody else writes the catalog.")
    return HeldLease(lease, ledger.leases)


class GuestLease(HeldLease):
    """The lease of somebody else, for whom the guest works: it is looked at, never renewed.

    Without a further sign of its holder it is lost to the guest, too, when its life is over.
    """

    def __init__(self, lease: Lease, ledger: Ledger, *, trusted_s: float = 0.0) -> None:
        super().__init__(lease, ledger.leases, trusted_s=trusted_s)
        self._ledger = ledger

    def beat(self) -> None:
        """Look whether the holder still has it. LeaseLostError when not."""
        asked_at = self._seconds()
        now = self._leases.get(self.lease.claim.scope)
        why = ""
        if now is None or now.token != self.lease.token:
            why = "the run that it was done for has ended."
        elif now.expires_at < self._ledger.now():
            why = f"the run that it was done for has given no sign since {now.heartbeat_at:%H:%M:%S} UTC."
        if why:
            raise self._lose(why)
        self._renewed = asked_at


def guest_lease_of(attempt: Attempt, ledger: Ledger) -> GuestLease:
    """The lease under which an attempt writes, for another run that does a part of it; LeaseLostError without one."""
    return GuestLease(lease_of(attempt, ledger).lease, ledger)


@contextmanager
def leased(claim: Claim, ports: Ports, *, trusted_s: float = 0.0) -> Iterator[HeldLease]:
    """The lease of a catalog for work that has no row in the ledger, such as a prune; given back at the end."""
    lease = take(claim, ports)
    held = HeldLease(lease, ports.ledger.leases, trusted_s=trusted_s)
    try:
        with Heartbeat(held.beat, claim.holder, every=held.every):
            yield held
    finally:
        ports.ledger.leases.release(lease)


@contextmanager
def reading(backup_id: str, work: str, actor: Actor, ports: Ports, *, life: timedelta = rules.LIFE) -> Iterator[None]:
    """Keep `prune` and `delete` from the backup while the context lasts; `work` is what they will name.

    Whoever is killed frees it when `life` is over. A ledger that can not be written keeps nobody from reading.
    """
    readings = ports.ledger.readings
    try:
        noted = readings.begin(Reading(backup_id, work, actor, ports.owner), life)
    except LedgerError as error:
        logger.warning("That %s reads %s is not noted, so a prune may remove it meanwhile: %s", work, backup_id, error)
        yield
        return
    every = rules.reading_renewal_interval(life)
    try:
        with Heartbeat(lambda: readings.renew(noted.number, life), f"reading {noted.number}", every=every):
            yield
    finally:
        with suppress(LedgerError):  # it ends by itself
            readings.end(noted.number)


def guarded(ports: Ports, lease: HeldLease) -> Ports:
    """`ports` whose store is written, and whose source is read, only as long as `lease` is ours."""
    return replace(
        ports,
        store=cast(Store, _GuardedStore(ports.store, lease)),
        source=cast(Source, _GuardedSource(ports.source, lease)),
    )


class _GuardedStore:
    """Asks the lease before each change; the ledger too for what makes something visible: a record, a manifest."""

    def __init__(self, inner: Store, lease: HeldLease) -> None:
        self._inner = inner
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        self._lease.check(ask=True)
        return self._inner.put(key, self._watched(chunks))

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        self._lease.check(ask=True)
        return self._inner.keep(key, self._watched(chunks), replace=replace)

    def put_file(self, key: str, path: Path) -> StoredObject:
        self._lease.check()
        return self._inner.put_file(key, path)

    def delete(self, keys: Sequence[str]) -> None:
        self._lease.check()
        self._inner.delete(keys)

    def _watched(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """What is at hand already as it is; what is still being made stops when the lease is lost."""
        return chunks if isinstance(chunks, Sequence) else self._stopped(chunks)

    def _stopped(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._lease.check()
            yield chunk


class _GuardedSource:
    """Cancels the queries of a snapshot when the lease is lost, and then says why they were canceled."""

    def __init__(self, inner: Source, lease: HeldLease) -> None:
        self._inner = inner
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def snapshot(
        self, progress: Progress | None = None, *, lock_timeout_s: float | None = None
    ) -> AbstractContextManager[Snapshot]:
        return self._stopped(self._inner.snapshot(progress, lock_timeout_s=lock_timeout_s))

    def joined(self, entry: SnapshotEntry, progress: Progress | None = None) -> AbstractContextManager[Snapshot]:
        return self._stopped(self._inner.joined(entry, progress))

    @contextmanager
    def _stopped(self, opening: AbstractContextManager[Snapshot]) -> Iterator[Snapshot]:
        with opening as snapshot, self._lease.stopping(snapshot.cancel):
            try:
                yield snapshot
            except CanceledError:
                self._lease.check()
                raise


_WAITING = (RestoreStatus.REQUESTED, RestoreStatus.APPROVED)


def claims(ports: Ports) -> Mapping[str, str]:
    """What to say of each backup that something reads, or that a restore request waits for."""
    waiting = ports.ledger.restores.list(status=_WAITING)
    waiting_for = {row.backup_id: f"restore request {row.id} is {row.status}: it reads this backup" for row in waiting}
    return {**waiting_for, **readers(ports)}


def readers(ports: Ports) -> Mapping[str, str]:
    """What to say of each backup that is being read: by a restore, a copy, a verification, a drill, a download.

    Whoever has given no sign of life for a while reads no more.
    """
    now, ledger = ports.clock(), ports.ledger
    copying = ledger.copies.list(status=CopyStatus.COPYING)
    running = ledger.restores.list(status=[RestoreStatus.RUNNING])
    living = [row for row in running if now - row.last_sign <= STALE_AFTER]
    return {
        **{copy.backup_id: f"it is being copied to {copy.store}" for copy in copying if now - copy.at < GIVEN_UP_AFTER},
        **{row.backup_id: f"restore request {row.id} is running: it reads this backup" for row in living},
        **{reading.backup_id: f"it is being read by {reading}" for reading in ledger.readings.list()},
    }
