"""The life of an attempt in the ledger: begun before anything connects, and ended honestly in every case."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from backup_pipeline.core.alerts import Delivery, Signal
from backup_pipeline.core.anomalies import History
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import FULL, due_at_start
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    LedgerError,
    RefusedError,
    SettingsError,
    StoreError,
    in_our_words,
)
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt, AuditEvent, Outcome, Status, is_orphaned
from backup_pipeline.core.names import Kind, Trigger, new_backup_id
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.schedule import check_difference, is_future, is_late, local_date
from backup_pipeline.core.scope import Actor, Purpose, Scope
from backup_pipeline.core.text import redact
from backup_pipeline.operations.alerting import failure_alert, no_row_alert, note_end, ping, ping_without_row, tell
from backup_pipeline.operations.background import Heartbeat
from backup_pipeline.operations.leases import guarded, lease_of, take_for

AGAIN_AFTER_S: tuple[float, ...] = (1.0, 3.0, 9.0)

logger = logging.getLogger(__name__)


def is_dead(attempt: Attempt, ports: Ports) -> bool:
    """Whether a running attempt has no living owner, seen from this machine now."""
    return is_orphaned(attempt, now=ports.clock(), host=ports.owner.host, alive=ports.alive)


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


@dataclass(frozen=True)
class Request:
    """What somebody asked for: which catalog, tables and date, who, why, and whether a late backup is meant.

    `reads` is false when the source is not read (a bundle of partitions that are there): any date will do then.
    `due_at` is the due time that it was started for, where whoever started it knows. With a `business` its rows alone.
    """

    catalog: Catalog
    kind: Kind
    tables: tuple[str, ...]
    day: date
    type: Trigger
    actor: Actor
    reason: str = ""
    late: bool = False
    reads: bool = True
    run_id: str | None = None
    run_url: str | None = None
    due_at: datetime | None = None
    business: str | None = None
    purpose: Purpose = Purpose.BACKUP

    @property
    def scope(self) -> Scope:
        """What it is about."""
        return Scope(self.catalog.catalog, business=self.business, purpose=self.purpose)


@dataclass(frozen=True)
class Work:
    """An attempt at work: what was asked for, its row, and the ports under its lease.

    `history` is what was usual before, `before` the rows of each table in the last good backup. `still` is asked at
    each page, and raises where the table is somebody else's to read by now.
    """

    request: Request
    attempt: Attempt
    ports: Ports
    history: History = field(default_factory=History)
    before: Mapping[str, int] = field(default_factory=dict)
    still: Callable[[], None] = lambda: None

    @property
    def folder(self) -> Path:
        """Where its files are made, in a folder a table; they stay there until the attempt ends."""
        return self.ports.spool / self.attempt.backup_id


def begin(request: Request, ports: Ports) -> Attempt:
    """Add the attempt's row and take its catalog's lease, or take up the running one of the same Dagster run.

    The row comes first, so that a refused date or an unreachable database is a failed backup and not a silent one.
    Raises RefusedError (the row is then ended, and people alerted) when the date is over and the request not `late`, or
    when this machine's clock is wrong, and LeaseHeldError likewise when another run writes the catalog. Ending the row
    gives the lease back. UsageError, before any row, where the catalog wants a reason and there is none.
    """
    try:
        before = _running(request, ports)
        if before is not None:
            return before
        if request.type is Trigger.MANUAL:
            request.catalog.check_reason(request.reason)
        attempt = _add_row(request, ports)
    except (LedgerError, SettingsError) as error:
        ping_without_row(request.scope, request.kind, error, ports)
        tell(no_row_alert(request.scope, error, ports.clock(), request.run_id, request.run_url), ports)
        raise
    ping(Signal.START, attempt, ports)
    try:
        check_difference("this machine", ports.drift(), "the ledger")
        if request.reads:
            check_date(request, ports)
        take_for(attempt, ports)
    except BackupError as error:
        end_failed(attempt, error, ports, run_url=request.run_url)
        raise
    return attempt


@contextmanager
def running_attempt(
    request: Request,
    ports: Ports,
    *,
    stopped: str = "The run was stopped by hand.",
    undelivered: Callable[[Delivery], None] = lambda _: None,
) -> Iterator[Work]:
    """The attempt of `request`, begun or taken up, at work under its lease for as long as the context lasts.

    Its heart beats meanwhile. Whatever comes out of the context ends the row, alerts people (`undelivered` gets each
    alert that did not reach a channel), and comes out: an error as `failed`; what stops a program, or closes the
    generator that works here, as `canceled`, with the message `stopped`. The good end is the operation's own.
    """
    attempt = begin(request, ports)
    try:
        lease = lease_of(attempt, ports.ledger)

        def beat() -> None:
            lease.beat()  # first: who lost it has nothing to say any more
            ports.ledger.beat(attempt.backup_id, ports.clock())

        with Heartbeat(beat, attempt.backup_id, every=lease.every):
            yield Work(request, attempt, guarded(ports, lease))
    except BaseException as error:
        for delivery in end_failed(attempt, _why(error, stopped), ports, run_url=request.run_url):
            if delivery.error:
                undelivered(delivery)
        raise


def _why(error: BaseException, stopped: str) -> BackupError:
    if isinstance(error, BackupError):
        return error
    if isinstance(error, Exception):
        return BackupError(redact(in_our_words(error)))
    return CanceledError(stopped)


def _running(request: Request, ports: Ports) -> Attempt | None:
    """The row that an earlier step of the same run began; one run may hold several catalogs, each with its own row."""
    if request.run_id is None:
        return None
    rows = ports.ledger.list(scope=request.scope, status=[Status.RUNNING])
    return next((row for row in rows if row.run_id == request.run_id), None)


def _add_row(request: Request, ports: Ports) -> Attempt:
    now = ports.clock()
    attempt = Attempt(
        backup_id=str(new_backup_id(now, request.kind, ports.salt())),
        scope=request.scope,
        kind=request.kind,
        type=request.type,
        status=Status.RUNNING,
        partition_date=request.day,
        created_at=now,
        started_at=now,
        actor=request.actor,
        reason=request.reason,
        late=_is_late(request, ports),
        run_id=request.run_id,
        owner=ports.owner,
        heartbeat_at=now,
        tables_wanted=request.tables,
        due_at=_due_at(request, now),
    )
    attempt = ports.ledger.dues.take(attempt)
    ports.ledger.audit(AuditEvent(now, request.actor, "backup", attempt.backup_id, {"reason": request.reason}))
    return attempt


def _due_at(request: Request, now: datetime) -> datetime | None:
    """The due time that the attempt is for: a backup of everything, of today, that begins when one is due."""
    catalog = request.catalog
    if request.due_at is not None and not is_future(request.due_at, now):
        return request.due_at
    whole = request.kind == FULL and request.reads and request.day == local_date(now, catalog.timezone)
    return due_at_start(catalog, now) if whole else None


def _is_late(request: Request, ports: Ports) -> bool:
    """Whether the attempt is a late one; one that is refused is none."""
    try:
        return request.reads and check_date(request, ports)
    except RefusedError:
        return False


def check_date(request: Request, ports: Ports) -> bool:
    """Whether the request is a late one; RefusedError when its date is over and it does not say so."""
    return is_late(
        request.day,
        now=ports.clock(),
        timezone=request.catalog.timezone,
        grace=timedelta(minutes=request.catalog.grace_minutes),
        late=request.late,
    )


def end_failed(
    attempt: Attempt, error: BaseException, ports: Ports, *, run_url: str | None = None
) -> Sequence[Delivery]:
    """Close the row as `failed` (`canceled` when somebody stopped it) and alert; the row is closed at most once.

    One whose backup is made, and only could not be written down, stays `running`: it ends as what the store says it is.
    Returns what became of the alert on each channel. A dead channel never changes the status: it is kept in the audit.
    """
    status = Status.CANCELED if isinstance(error, CanceledError) else Status.FAILED
    outcome = Outcome(status=status, finished_at=ports.clock(), error_message=str(error))
    try:
        current = ports.ledger.get(attempt.backup_id) or attempt
        if current.status is not Status.RUNNING:
            return ()
        if not (isinstance(error, LedgerError) and _is_made(attempt, ports)):
            ports.ledger.end(attempt.backup_id, outcome)
    except LedgerError as trouble:
        if _ended_by_another(attempt, ports):
            return ()
        logger.warning("The row of backup %s could not be closed: %s", attempt.backup_id, trouble)
    note_end(attempt, ports)
    ping(Signal.FAIL, attempt, ports, str(error))
    return tell(failure_alert(attempt, error, run_url), ports)


def _is_made(attempt: Attempt, ports: Ports) -> bool:
    place = BackupPlace(attempt.scope, attempt.partition_date, attempt.backup_id)
    with suppress(StoreError):
        return ports.store.head(place.manifest) is not None
    return False


def _ended_by_another(attempt: Attempt, ports: Ports) -> bool:
    """Whether somebody else closed the row meanwhile, and so told people too."""
    try:
        current = ports.ledger.get(attempt.backup_id)
    except LedgerError:
        return False
    return current is not None and current.status is not Status.RUNNING


def end_run(run_id: str, catalog: str, error: BackupError, ports: Ports, *, run_url: str | None = None) -> bool:
    """Close the rows of a Dagster run that ended without closing them, and alert; whether there was anything to do.

    A run that failed before it could write its row is alerted too.
    """
    try:
        known = ports.ledger.of_run(run_id) is not None
        left = [row for row in ports.ledger.list(status=[Status.RUNNING]) if row.run_id == run_id]
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The row of run %s can not be read: %s", run_id, trouble)
        known, left = False, []
    if not known:
        tell(no_row_alert(Scope(catalog), error, ports.clock(), run_id, run_url), ports)
    for attempt in left:
        end_failed(attempt, error, ports, run_url=run_url)
    return bool(left) or not known
