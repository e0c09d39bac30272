"""A tick: one run, one snapshot, every business that is due; what changed of each becomes a backup of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.businesses.ticks import (
    SHARED_KEY,
    DueBusiness,
    KnownBusiness,
    Miss,
    Tick,
    TickStatus,
    missed_between,
    scheduled_before,
)
from backup_pipeline.core.catalog.businesses import Businesses, parse_duration, parse_size
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LeaseHeldError, NotFoundError
from backup_pipeline.core.layout import tick_key
from backup_pipeline.core.ledger import Claim
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import AccountFilter, AccountStatus, RegistryEntry
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.ticks import KeyState, KeyStates
from backup_pipeline.core.scope import Actor, Purpose, Scope
from backup_pipeline.operations.alerting import recovery, send, tell
from backup_pipeline.operations.businesses.changes import TickChanges, TickWish, declared_businesses, find_changes
from backup_pipeline.operations.businesses.making import TickBackups, TickDeadline, make_backups, words
from backup_pipeline.operations.businesses.protection import NAMED, QuotaUse, crowded, quota_alert
from backup_pipeline.operations.businesses.shared import Sharing, make_shared, work_name, worth_sharing
from backup_pipeline.operations.businesses.storing import TRUSTED_S, StoredBusiness, TickWork
from backup_pipeline.operations.leases import guarded, leased
from backup_pipeline.operations.shards import Crew

_BEFORE = timedelta(days=8)
"""A chain is shorter than that, however seldom a full is made."""


@dataclass(frozen=True)
class TickRequest:
    """What somebody, or the schedule, asked for.

    `only` are businesses by key: then it is by hand, and protects those alone; `full` gives them everything. `apart`
    makes a manual backup, which stands for itself: everything, kept as manual ones are, and no chain goes on from it.
    `inactive` takes also those that are not active, or paused. `crew` gives, for the name of a work, the other runs
    that do a part of it, where there are any.
    """

    catalog: Catalog
    actor: Actor
    scheduled_at: datetime | None = None
    only: frozenset[str] | None = None
    full: bool = False
    apart: bool = False
    inactive: bool = False
    reason: str = ""
    run_id: str | None = None
    crew: Callable[[str], Crew] | None = None

    @property
    def trigger(self) -> Trigger:
        """The type of its backups."""
        return Trigger.MANUAL if self.apart else Trigger.AUTOMATIC


@dataclass(frozen=True)
class TickReport:
    """What came of a tick: its row, the backups it made, and what its checks found.

    `audited` are businesses whose full was compared with their chain, `differing` those where they differ. `big` are
    backups larger than the quota of a file, `crowded` businesses that take most of their room, `registered` the keys of
    the whole registry. `missed` is the row of times at which nothing ran, where there were some.
    """

    tick: Tick
    stored: tuple[StoredBusiness, ...] = ()
    unaccounted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    audited: tuple[str, ...] = ()
    differing: Mapping[str, str] = field(default_factory=dict)
    big: tuple[str, ...] = ()
    crowded: tuple[QuotaUse, ...] = ()
    registered: tuple[str, ...] = ()
    missed: Tick | None = None


def run_tick(request: TickRequest, states: KeyStates, ports: Ports) -> TickReport:
    """Protect every business that is due, or those that somebody wants; what came of it, also in the ledger.

    A tick of the schedule that finds another one at work ends as `skipped`; one by hand is refused with LeaseHeldError,
    naming the holder. Whatever else stops it ends its row as `failed`, and comes out.
    """
    declared = declared_businesses(request.catalog)
    now = ports.clock()
    by_hand = request.only is not None
    scheduled = request.scheduled_at or (now if by_hand else scheduled_before(now, declared.interval))
    missed = None if by_hand else _account_missed(request, scheduled, declared, ports)
    catalog, run_id = request.catalog.catalog, request.run_id
    started = Tick(catalog, scheduled, TickStatus.RUNNING, started_at=now, run_id=run_id, by_hand=by_hand)
    tick = ports.ledger.ticks.begin(started)
    claim = Claim(Scope(catalog, purpose=Purpose.TICK), f"tick {tick.number}", request.actor, ports.owner, run_id)
    try:
        with leased(claim, ports, trusted_s=TRUSTED_S) as lease:
            ports.ledger.ticks.abandon(catalog, before=tick.number, now=ports.clock())
            report = _Run(request, declared, tick, guarded(ports, lease), states).report()
    except LeaseHeldError as error:
        tick = _ended(tick, TickStatus.SKIPPED, f"overrun: {error.what}", ports)
        if request.only is not None:
            raise
        return TickReport(tick, missed=missed)
    except BaseException as error:
        tick = _ended(tick, TickStatus.FAILED, words(error), ports)
        _tell_people(tick, ports)
        raise
    _tell_people(report.tick, ports)
    return replace(report, missed=missed, crowded=_look_at_quotas(report, request.catalog, ports))


def _look_at_quotas(report: TickReport, catalog: Catalog, ports: Ports) -> tuple[QuotaUse, ...]:
    """Who takes most of its room; people are told of who takes all. A quota is never a reason not to back up."""
    added = {str(each.attempt.scope.business): each.attempt.file_size_bytes or 0 for each in report.stored}
    uses = tuple(crowded(catalog, added, ports.ledger))
    if alert := quota_alert(catalog.catalog, uses, ports.clock()):
        send(alert, ports)
    return uses


TOPIC = "businesses"


def _tell_people(tick: Tick, ports: Ports) -> None:
    """One thread of alerts for all ticks of a catalog: the first that goes wrong, reminders, when they work again."""
    scope = Scope(tick.catalog)
    if tick.status is TickStatus.SUCCESS:
        alert = recovery(scope, TOPIC, "", ports)
        if alert is not None:
            send(replace(alert, backup_id=None), ports)
        return
    missed = {miss.business: f"{miss.outcome}: {miss.reason}" for miss in tick.misses[:NAMED]}
    count = f"Of {tick.due} businesses {tick.failed} failed, {tick.skipped} were left for the next tick."
    alert = Alert(
        severity=Severity.FAILURE,
        title=f"Businesses are not protected: {tick.catalog}",
        what=tick.message or count,
        do="`backup-pipeline businesses ticks` shows each tick; those that were missed come first in the next one.",
        scope=scope,
        run_id=tick.run_id,
        at=ports.clock(),
        tables=missed,
        topic=TOPIC,
    )
    tell(alert, ports)


def _ended(tick: Tick, status: TickStatus, message: str, ports: Ports) -> Tick:
    tick = replace(tick, status=status, finished_at=ports.clock(), message=message)
    ports.ledger.ticks.end(tick)
    return tick


def _account_missed(request: TickRequest, scheduled: datetime, declared: Businesses, ports: Ports) -> Tick | None:
    """One row for all scheduled times since the last tick at which nothing ran. They are not made up for."""
    last = ports.ledger.ticks.last(request.catalog.catalog)
    until = (last.missed_until or last.scheduled_at) if last else None
    gap = missed_between(until, scheduled, declared.interval)
    if gap is None:
        return None
    first, until, count = gap
    message = f"Nothing ran at {count} scheduled time{'s' if count > 1 else ''}."
    row = Tick(
        request.catalog.catalog, first, TickStatus.MISSED, missed_until=until, missed_count=count, message=message
    )
    return ports.ledger.ticks.begin(row)


class _Run:
    """One tick at work, under its lease."""

    def __init__(self, request: TickRequest, declared: Businesses, tick: Tick, ports: Ports, states: KeyStates) -> None:
        self._request, self._declared, self._tick, self._ports, self._states = request, declared, tick, ports, states
        self._deadline = ports.clock() + parse_duration(declared.deadline)
        self._backups = TickBackups()

    def report(self) -> TickReport:
        """Do it, and write down what came of it."""
        request, ports = self._request, self._ports
        catalog = request.catalog.catalog
        wish = TickWish(
            ports.ledger.ticks.newest_backups(catalog, ports.clock() - _BEFORE),
            ports.clock(),
            request.only,
            request.full or request.apart,
            ports.ledger.businesses.paused(catalog),
            request.inactive,
        )
        with self._states.open(catalog) as state, ports.source.snapshot(ports.progress) as snapshot:
            changes = find_changes(snapshot, request.catalog, state, wish)
            self._refuse_unknown(changes)
            entries = [RegistryEntry(each.key, each.name, active=each.active) for each in changes.registered.values()]
            ports.ledger.businesses.register(catalog, entries, request.actor, ports.clock())
            busy = [each for each in changes.due if each.why_full or changes.of(each.key)]
            needs_schema = any(each.why_full for each in busy)
            schema = snapshot.schema_sql().encode() if needs_schema else b""
            work = TickWork(
                request.catalog, ports, request.actor, request.trigger, changes, request.reason, request.run_id, schema
            )
            self._protect(busy, work, state)
            keys = {each.key for each in busy}
            idle = [each for each in changes.due if each.key not in keys]
            if not request.apart:
                state.commit([*self._known(changes, idle, state), *(each.known for each in self._backups.stored)])
        return self._finished(changes, idle)

    def _refuse_unknown(self, changes: TickChanges) -> None:
        missing = (self._request.only or frozenset()) - {each.key for each in changes.due}
        if missing:
            message = f"There is no active business {', '.join(sorted(missing))} in {self._request.catalog.catalog}."
            raise NotFoundError(message, do="`backup-pipeline businesses list` shows them.")

    def _known(self, changes: TickChanges, idle: Sequence[DueBusiness], state: KeyState) -> Iterator[KnownBusiness]:
        """What the state knows from now on of businesses without a new backup: unchanged, or not backed up at all.

        Of whom nothing was known, all keys were read: also where the backup failed, or somebody else was wanted.
        """
        for each in idle:
            if each.known is not None:
                yield replace(each.known, at=changes.view.at)
        without = {*changes.registered, *state.with_rows(), SHARED_KEY} - changes.known.keys()
        if self._request.only is None:
            without |= changes.known.keys() - {each.key for each in changes.due}
        for key in sorted(without - {each.known.key for each in self._backups.stored}):
            yield KnownBusiness(key, changes.view.at, changes.view.fingerprint)

    def _protect(self, busy: Sequence[DueBusiness], work: TickWork, state: KeyState) -> None:
        """By this process alone, or with others where there are any and it is worth their start."""
        request, limit = self._request, TickDeadline(self._deadline, self._declared.deadline)
        crew = request.crew(work_name(self._tick)) if request.crew and worth_sharing(busy) else None
        if crew is not None:
            sharing = Sharing(work_name(self._tick), crew, self._declared.runs, limit)
            self._backups = make_shared(busy, work, state, sharing)
        else:
            self._backups = make_backups(busy, work, state, limit)

    def _finished(self, changes: TickChanges, idle: Sequence[DueBusiness]) -> TickReport:
        ports, differing = self._ports, {key: why for key, why in self._backups.audited.items() if why}
        failed = sum(miss.outcome is Miss.FAILED for miss in self._backups.misses)
        wrong = [f"{t}: {n} rows, {a} accounted for" for t, (n, a) in changes.unaccounted.items()]
        wrong += [f"{key}: its chain differs from its full: {why}" for key, why in differing.items()]
        of_gone = AccountFilter(catalog=self._tick.catalog, statuses=(AccountStatus.GONE,))
        gone = [account.business for account in ports.ledger.businesses.list(of_gone)]
        tick = replace(
            self._tick,
            status=TickStatus.PARTIAL if self._backups.misses or wrong else TickStatus.SUCCESS,
            finished_at=ports.clock(),
            snapshot_at=changes.view.at.taken_at,
            due=len(changes.due),
            changed=len(self._backups.stored),
            unchanged=len(idle),
            failed=failed,
            skipped=len(self._backups.misses) - failed,
            fulls=sum(each.attempt.kind is Kind.FULL for each in self._backups.stored),
            rows=sum(each.attempt.record_count or 0 for each in self._backups.stored),
            bytes=sum(each.attempt.file_size_bytes or 0 for each in self._backups.stored),
            left_out=tuple(sorted({*changes.registered, *gone} - {each.key for each in changes.due})),
            lag_s=(changes.view.at.taken_at - self._tick.scheduled_at).total_seconds(),
            message="; ".join(wrong),
            misses=tuple(self._backups.misses),
        )
        self._write_down(tick, idle)
        ports.ledger.ticks.end(tick)
        most = parse_size(self._declared.quota.file)
        return TickReport(
            tick,
            stored=tuple(self._backups.stored),
            unaccounted=changes.unaccounted,
            audited=tuple(self._backups.audited),
            differing=differing,
            registered=tuple(changes.registered),
            big=tuple(
                each.attempt.backup_id for each in self._backups.stored if (each.attempt.file_size_bytes or 0) > most
            ),
        )

    def _write_down(self, tick: Tick, idle: Sequence[DueBusiness]) -> None:
        """`tick.json`: every due business, and what it got. It says nothing of what is in a row."""
        document = {
            "catalog": tick.catalog,
            "scheduled_at": tick.scheduled_at.isoformat(),
            "snapshot_at": tick.snapshot_at.isoformat() if tick.snapshot_at else None,
            "status": tick.status,
            "backups": {each.attempt.scope.business: each.attempt.backup_id for each in self._backups.stored},
            "unchanged": {each.key: each.known.backup_id for each in idle if each.known},
            "missed": {miss.business: miss.outcome for miss in tick.misses},
            "left_out": tick.left_out,
        }
        at = tick.started_at or tick.scheduled_at
        self._ports.store.put(tick_key(tick.catalog, at, tick.number), [json.dumps(document, indent=1).encode()])
