"""The port to the ledger: `backup_logs`, its audit, and the ports to what else the ledger keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.access.downloads import DownloadLink
    from backup_pipeline.core.access.sessions import PersonIdentity
    from backup_pipeline.core.alerts import Alert, OutboxEntry, Thread, ThreadStep
    from backup_pipeline.core.anomalies import Shape
    from backup_pipeline.core.copies import Copy, CopyStatus
    from backup_pipeline.core.due import KnownDues, Settlement
    from backup_pipeline.core.ledger import (
        Attempt,
        AuditEvent,
        Claim,
        Hold,
        Lease,
        Outcome,
        Owner,
        Reading,
        Shard,
        Status,
    )
    from backup_pipeline.core.listing import BackupFilter, BackupPage, BackupTotals, Position
    from backup_pipeline.core.manifest import CommunicationEntry
    from backup_pipeline.core.ports.access import Access, AuditRows
    from backup_pipeline.core.ports.businesses import AnalyticsRows, BusinessAccounts, Payments
    from backup_pipeline.core.ports.runs import Events, Observations, ProgressRows, RunRequests
    from backup_pipeline.core.ports.ticks import TickRows
    from backup_pipeline.core.ports.webhooks import Webhooks
    from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus
    from backup_pipeline.core.scope import Scope
    from backup_pipeline.core.verification import Verification


class Copies(Protocol):
    """The copies of backups in other stores, as a ledger knows them. Every failure is a LedgerError."""

    def put(self, copy: Copy) -> None:
        """Write the row of a backup in a store, in place of what it said before."""

    def get(self, backup_id: str, store: str) -> Copy | None:
        """The row of a backup in the store at a URL."""

    def list(
        self,
        *,
        backup_id: str | None = None,
        scope: Scope | None = None,
        store: str | None = None,
        status: CopyStatus | None = None,
    ) -> Sequence[Copy]:
        """Rows, the newest backup first: of one backup, scope, store and status, or of all."""


class Dues(Protocol):
    """The due times of a ledger: one row each, of `backup_logs`. Every failure is a LedgerError."""

    def settle(
        self, catalog: str, decide: Callable[[KnownDues], Settlement], *, since: datetime, now: datetime
    ) -> Settlement:
        """BusinessAccount for the due times up to `now`: `decide` is shown what is known at least since `since`, alone.

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
        """The newest good full backup of `catalog` that is not of the future (`core.schedule`)."""


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

    def get(self, scope: Scope) -> Lease | None:
        """The lease of `scope`, also an expired one that nobody took; None when it is nobody's."""


class Downloads(Protocol):
    """The links to downloads. Every failure is a LedgerError."""

    def add(self, link: DownloadLink, token: str) -> DownloadLink:
        """Keep a link under the digest of its token; with its number."""

    def of_token(self, token: str) -> DownloadLink | None:
        """The link under that digest, also one that does not work any more."""

    def use(self, number: int, now: datetime) -> bool:
        """Count a use; False when it does not work any more."""

    def revoke(self, number: int, now: datetime) -> DownloadLink | None:
        """End a link; None where there is none, or none that the asker may end. One that was ended stays so."""

    def list(self, backup_id: str) -> Sequence[DownloadLink]:
        """The links to a backup, newest first."""


class Listings(Protocol):
    """Backups as people look at them, a page at a time. Every failure is a LedgerError."""

    def page(self, wanted: BackupFilter, *, after: Position | None = None, limit: int = 50) -> BackupPage:
        """At most `limit` rows, newest first, that come after a position. The cost does not grow with those before."""

    def totals(self, catalog: str | None = None) -> BackupTotals:
        """What there is: of one catalog, or of all."""

    def first(self, catalog: str) -> datetime | None:
        """When the oldest row of a catalog was created, in UTC, what is expected aside; None without any."""

    def days(self, catalog: str, at: datetime) -> Sequence[Attempt]:
        """As `Dues.since`, without what neither a calendar nor freshness looks at: a third of its cost."""

    def rehearsed(self) -> Mapping[str, Attempt]:
        """Of each catalog the backup that a drill has restored, and compared, last."""

    def version(self, catalog: str) -> str:
        """Changes with any change of a row of the catalog that the reader sees; costs less than to read them."""

    def held(self) -> Sequence[Attempt]:
        """The backups that are there and that somebody holds, or held: until they are released. Newest first."""


class Outbox(Protocol):
    """Alerts that are to be delivered, one entry a channel, and what became of them. Every failure is a LedgerError."""

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[OutboxEntry]:
        """Note the alert for each channel, claimed by whoever adds it."""

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> OutboxEntry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it.

        Nobody else gets it until the claim ends. None when there is none, besides those for the channels `without`.
        """

    def settle(self, number: int, error: str | None, now: datetime) -> OutboxEntry:
        """Write down what became of an attempt: delivered without an `error`, else to be tried again, or given up."""

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before that time; how many. What was not delivered stays for ever."""

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[OutboxEntry]:
        """Entries, newest first; also the delivered ones unless only those `undelivered` are wanted."""


class Readings(Protocol):
    """Who reads which backup. One that gives no sign ends by itself, by the ledger's own clock.

    Every failure is a LedgerError.
    """

    def begin(self, reading: Reading, life: timedelta) -> Reading:
        """Note a reading, for `life` from now on; with its number. Those that are over are forgotten."""

    def renew(self, number: int, life: timedelta) -> None:
        """Extend a reading; nothing happens when it is forgotten by now."""

    def end(self, number: int) -> None:
        """Forget a reading."""

    def list(self) -> Sequence[Reading]:
        """Those that are not over, the oldest first."""


class Shards(Protocol):
    """The parts of works that several runs do together. Every failure is a LedgerError.

    A shard is its taker's as long as nobody else has taken it: `beat` and `end` of another do nothing, and say so.
    """

    def offer(self, work: str, details: Sequence[Mapping[str, Any]]) -> Sequence[Shard]:
        """Add shards behind those that the work has; they wait."""

    def take(self, work: str, owner: Owner, run_id: str | None) -> Shard | None:
        """The first that waits, which is the taker's from now on; None when none does. No two get the same."""

    def beat(self, shard: Shard) -> bool:
        """Give a sign of life; whether it is still the taker's."""

    def end(self, shard: Shard, result: Mapping[str, Any]) -> bool:
        """Note what came of it; whether it was still the taker's."""

    def give_back(self, shard: Shard) -> bool:
        """Let it wait again; whether it was still that taker's."""

    def withdraw(self, work: str, numbers: Sequence[int]) -> None:
        """Forget these: they are nobody's any more."""

    def list(self, work: str) -> Sequence[Shard]:
        """All shards of a work, by number."""

    def close(self, work: str) -> None:
        """Forget the work: nobody has a shard of it any more."""


class Restores(Protocol):
    """The restore requests of a ledger. Every failure is a LedgerError."""

    def add(self, row: RestoreRow) -> RestoreRow:
        """Add a request, `requested`, before anything else is touched; the row with the number it was given."""

    def change(self, number: int, change: RestoreChange) -> RestoreRow:
        """Write `change` into the row, and give it back. Refuses a move that `restore_requests` does not allow."""

    def beat(self, number: int, now: datetime, /) -> None:
        """Say that the owner of a running restore is alive."""

    def get(self, number: int) -> RestoreRow | None:
        """The row of a number."""

    def list(
        self,
        *,
        scope: Scope | None = None,
        status: Sequence[RestoreStatus] = (),
        run_id: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> Sequence[RestoreRow]:
        """Rows, newest first; those with a number below `before`."""

    def counts(self, scope: Scope | None = None) -> Mapping[RestoreStatus, int]:
        """How many rows of a scope, or of all, have each status that occurs."""


class Shapes(Protocol):
    """What backups looked like, to compare the next ones with. Every failure is a LedgerError."""

    def put(self, shape: Shape) -> None:
        """Keep the shape of a backup, in place of one kept before."""

    def get(self, backup_id: str) -> Shape | None:
        """The shape of a backup; None where none was kept."""

    def communication(self, backup_ids: Collection[str]) -> Mapping[str, Sequence[CommunicationEntry]]:
        """What these backups say of communication, by id; nothing of those that say nothing."""


class Tallies(Protocol):
    """How many attempts ended how, since there is a ledger. Every failure is a LedgerError."""

    def ends(self) -> Mapping[tuple[Scope, Status], int]:
        """The attempts of each scope that ended in a status, also those whose backup is gone by now.

        The cost does not grow with the attempts.
        """


class Threads(Protocol):
    """The threads of alerts of a ledger. Every failure is a LedgerError."""

    def failing(self, scope: Scope, topic: str, now: datetime, failures: int, *, reachable: bool = True) -> ThreadStep:
        """Add `failures` to a thread, or that it goes on; whether people are told, or, unless `reachable`, the log."""

    def recovered(self, scope: Scope, topic: str) -> ThreadStep:
        """Close a thread; whether people are told: of many that close it at once, one tells."""

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""


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
    def shards(self) -> Shards:
        """The parts of works that several runs do together."""

    @property
    def downloads(self) -> Downloads:
        """The links to downloads."""

    @property
    def listings(self) -> Listings:
        """Backups as people look at them."""

    @property
    def ticks(self) -> TickRows:
        """The ticks of businesses."""

    @property
    def tallies(self) -> Tallies:
        """How many attempts ended how."""

    @property
    def run_requests(self) -> RunRequests:
        """The runs that people asked for."""

    @property
    def progress(self) -> ProgressRows:
        """How far runs are."""

    @property
    def events(self) -> Events:
        """What happened."""

    @property
    def observations(self) -> Observations:
        """What Dagster is yet to be told."""

    @property
    def businesses(self) -> BusinessAccounts:
        """The businesses, as their sources' registries and we have them."""

    @property
    def payments(self) -> Payments:
        """Plans, and what was paid."""

    @property
    def analytics(self) -> AnalyticsRows:
        """What analytics reads, and keeps."""

    @property
    def access(self) -> Access:
        """Who may sign in: for the console itself, or a person, whom `as_person` names."""

    @property
    def webhooks(self) -> Webhooks:
        """Where events are sent, and what was sent there."""

    @property
    def audit_rows(self) -> AuditRows:
        """The audit, row by row, with its chain."""

    def as_person(self, identity: PersonIdentity) -> Ledger:
        """This ledger for one person: nothing that it reads or writes is more than that person may."""

    def at_once(self) -> AbstractContextManager[Ledger]:
        """This ledger with one transaction for all that is asked of it in the context, for one thread.

        Many questions cost hardly more than one then. What is written counts at the end, and not at all after an error.
        """

    def now(self) -> datetime:
        """The present by the ledger's own clock, in UTC."""

    def begin(self, attempt: Attempt) -> None:
        """Add the attempt's row, `running`, before anything else is touched."""

    def beat(self, backup_id: str, now: datetime) -> None:
        """Say that the attempt's owner is alive."""

    def end(self, backup_id: str, outcome: Outcome) -> None:
        """Close the row, and give its lease back with it. Refuses a move that `statuses` does not allow."""

    def end_all(self, outcomes: Mapping[str, Outcome]) -> None:
        """`end` for many rows, by backup id, in one transaction: all are closed, or none."""

    def verified(self, backup_id: str, verification: Verification) -> None:
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
        scope: Scope | None = None,
        status: Sequence[Status] = (),
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Attempt]:
        """Rows, newest first: of one scope, with one of `status`, created after `since`, at most `limit`."""

    def last_good(self, scope: Scope, before: datetime | None = None) -> Attempt | None:
        """The newest good backup of `scope` with counted tables, created before `before`: what to compare with.

        Kinds `full` and `selective` only: a `tables` run makes no bundle, so it is no backup.
        """

    def adopt(self, rows: Sequence[Attempt], events: Sequence[AuditEvent]) -> None:
        """Write whole rows as a rebuild has them, in place of those of the same backups, and their audit with them."""

    def audit(self, event: AuditEvent) -> None:
        """Add an audit row."""

    def audits(self, backup_id: str | None = None, *, limit: int | None = None) -> Sequence[AuditEvent]:
        """Audit rows, newest first: of one backup or all."""
