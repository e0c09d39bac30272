"""A tick: one run, one snapshot, every business that is due; what changed of each becomes a backup of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.businesses.ticks import (
    OTHER_STATE,
    SHARED_KEY,
    BusinessMiss,
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
from backup_pipeline.core.errors import BackupError, LeaseHeldError, NotFoundError, in_our_words
from backup_pipeline.core.layout import tick_key
from backup_pipeline.core.ledger import Claim
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import AccountFilter, AccountStatus, RegistryEntry
from backup_pipeline.core.plans import NotNativeError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.ticks import BUSINESS_FIELD, KEY_FIELD, BusinessTable, KeyState, KeyStates
from backup_pipeline.core.scope import Actor, Purpose, Scope
from backup_pipeline.core.text import redact
from backup_pipeline.operations.alerting import recovery, send, tell
from backup_pipeline.operations.businesses.chain import Key, differences, keys_of, read_state
from backup_pipeline.operations.businesses.changes import TickChanges, TickWish, declared_businesses, find_changes
from backup_pipeline.operations.businesses.protection import NAMED, QuotaUse, crowded, quota_alert
from backup_pipeline.operations.businesses.storing import (
    BusinessRowsRead,
    StoredBusiness,
    TickWork,
    key_rows,
    store_business,
)
from backup_pipeline.operations.leases import guarded, leased

logger = logging.getLogger(__name__)

_BEFORE = timedelta(days=8)
"""A chain is shorter than that, however seldom a full is made."""
_WRITERS = 4
_ROWS_AT_ONCE = 400_000
"""Rows of a group of businesses that are in memory together, about."""
_BUSINESSES_AT_ONCE = 200


@dataclass(frozen=True)
class TickRequest:
    """What somebody, or the schedule, asked for.

    `only` are businesses by key: then it is by hand, and protects those alone; `full` gives them everything. `apart`
    makes a manual backup, which stands for itself: everything, kept as manual ones are, and no chain goes on from it.
    `inactive` takes also those that are not active, or paused.
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
        with leased(claim, ports) as lease:
            ports.ledger.ticks.abandon(catalog, before=tick.number, now=ports.clock())
            report = _Run(request, declared, tick, guarded(ports, lease), states).report()
    except LeaseHeldError as error:
        tick = _ended(tick, TickStatus.SKIPPED, f"overrun: {error.what}", ports)
        if request.only is not None:
            raise
        return TickReport(tick, missed=missed)
    except BaseException as error:
        tick = _ended(tick, TickStatus.FAILED, _words(error), ports)
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


def _words(error: BaseException) -> str:
    if isinstance(error, BackupError):
        return redact(error.what)
    return redact(in_our_words(error)) if isinstance(error, Exception) else "It was stopped."


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
        self._stored: list[StoredBusiness] = []
        self._misses: list[BusinessMiss] = []
        self._audited: dict[str, str] = {}

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
                state.commit([*self._known(changes, idle, state), *(each.known for each in self._stored)])
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
        for key in sorted(without - {each.known.key for each in self._stored}):
            yield KnownBusiness(key, changes.view.at, changes.view.fingerprint)

    def _protect(self, busy: Sequence[DueBusiness], work: TickWork, state: KeyState) -> None:
        """Group after group, each read whole and written by several writers; past the deadline the rest is left."""
        groups = list(_groups(busy, work.changes))
        with ThreadPoolExecutor(_WRITERS, "business") as pool:
            while groups:
                group = groups.pop(0)
                if self._ports.clock() >= self._deadline:
                    self._skip(group)
                    continue
                try:
                    read = _read_group(group, work, state)
                except NotNativeError as error:  # the full begins with another type of that column
                    groups.insert(
                        0, [replace(each, why_full=f"a value does not fit: {error.column}") for each in group]
                    )
                    continue
                jobs = {pool.submit(self._store, each, read[each.key], work): each for each in group}
                for job, each in jobs.items():
                    self._took(each, job, read[each.key], work, state)

    def _skip(self, group: Sequence[DueBusiness]) -> None:
        reason = f"the deadline of {self._declared.deadline} was over; it is first next time"
        self._misses += [BusinessMiss(each.key, Miss.SKIPPED, reason) for each in group]

    def _store(self, due: DueBusiness, tables: Mapping[str, BusinessRowsRead], work: TickWork) -> StoredBusiness | None:
        """None where the deadline came first."""
        if self._ports.clock() >= self._deadline:
            return None
        return store_business(due, due.kind, tables, work)

    def _took(
        self,
        due: DueBusiness,
        job: Future[StoredBusiness | None],
        tables: Mapping[str, BusinessRowsRead],
        work: TickWork,
        state: KeyState,
    ) -> None:
        """Note what became of a business; one that failed stops nobody else."""
        try:
            stored = job.result()
        except (BackupError, OSError, ValueError) as error:
            logger.warning("Business %s is not backed up: %s", due.key, _words(error))
            self._misses.append(BusinessMiss(due.key, Miss.FAILED, _words(error)))
            return
        if stored is None:
            self._skip([due])
            return
        self._stored.append(stored)
        if due.why_full not in {None, OTHER_STATE} and due.known and due.known.backup_id:
            self._audited[due.key] = _audited(due.known.backup_id, due.key, tables, work, state)

    def _finished(self, changes: TickChanges, idle: Sequence[DueBusiness]) -> TickReport:
        ports, differing = self._ports, {key: why for key, why in self._audited.items() if why}
        failed = sum(miss.outcome is Miss.FAILED for miss in self._misses)
        wrong = [f"{t}: {n} rows, {a} accounted for" for t, (n, a) in changes.unaccounted.items()]
        wrong += [f"{key}: its chain differs from its full: {why}" for key, why in differing.items()]
        of_gone = AccountFilter(catalog=self._tick.catalog, statuses=(AccountStatus.GONE,))
        gone = [account.business for account in ports.ledger.businesses.list(of_gone)]
        tick = replace(
            self._tick,
            status=TickStatus.PARTIAL if self._misses or wrong else TickStatus.SUCCESS,
            finished_at=ports.clock(),
            snapshot_at=changes.view.at.taken_at,
            due=len(changes.due),
            changed=len(self._stored),
            unchanged=len(idle),
            failed=failed,
            skipped=len(self._misses) - failed,
            fulls=sum(each.attempt.kind is Kind.FULL for each in self._stored),
            rows=sum(each.attempt.record_count or 0 for each in self._stored),
            bytes=sum(each.attempt.file_size_bytes or 0 for each in self._stored),
            left_out=tuple(sorted({*changes.registered, *gone} - {each.key for each in changes.due})),
            lag_s=(changes.view.at.taken_at - self._tick.scheduled_at).total_seconds(),
            message="; ".join(wrong),
            misses=tuple(self._misses),
        )
        self._write_down(tick, idle)
        ports.ledger.ticks.end(tick)
        most = parse_size(self._declared.quota.file)
        return TickReport(
            tick,
            stored=tuple(self._stored),
            unaccounted=changes.unaccounted,
            audited=tuple(self._audited),
            differing=differing,
            registered=tuple(changes.registered),
            big=tuple(each.attempt.backup_id for each in self._stored if (each.attempt.file_size_bytes or 0) > most),
        )

    def _write_down(self, tick: Tick, idle: Sequence[DueBusiness]) -> None:
        """`tick.json`: every due business, and what it got. It says nothing of what is in a row."""
        document = {
            "catalog": tick.catalog,
            "scheduled_at": tick.scheduled_at.isoformat(),
            "snapshot_at": tick.snapshot_at.isoformat() if tick.snapshot_at else None,
            "status": tick.status,
            "backups": {each.attempt.scope.business: each.attempt.backup_id for each in self._stored},
            "unchanged": {each.key: each.known.backup_id for each in idle if each.known},
            "missed": {miss.business: miss.outcome for miss in tick.misses},
            "left_out": tick.left_out,
        }
        at = tick.started_at or tick.scheduled_at
        self._ports.store.put(tick_key(tick.catalog, at, tick.number), [json.dumps(document, indent=1).encode()])


def _groups(busy: Sequence[DueBusiness], changes: TickChanges) -> Iterator[list[DueBusiness]]:
    """Businesses that are read together, in their order: of one kind, and with columns of the same types."""
    usual = {
        name: table.plan.relation.estimated_rows // max(1, len(changes.registered))
        for name, table in changes.tables.items()
    }
    group: list[DueBusiness] = []
    rows = 0
    for each in busy:
        own = sum(usual.values()) if each.why_full else sum(changed for changed, _ in changes.of(each.key).values())
        apart = bool(group) and (group[0].kind, _texts(group[0])) != (each.kind, _texts(each))
        if group and (apart or rows + own > _ROWS_AT_ONCE or len(group) >= _BUSINESSES_AT_ONCE):
            yield group
            group, rows = [], 0
        group.append(each)
        rows += own
    if group:
        yield group


def _texts(due: DueBusiness) -> Mapping[str, Sequence[str]]:
    return due.known.as_text if due.known and due.why_full is None else {}


def _read_group(
    group: Sequence[DueBusiness], work: TickWork, state: KeyState
) -> Mapping[str, Mapping[str, BusinessRowsRead]]:
    """The rows of each business of the group, by table."""
    read: dict[str, dict[str, BusinessRowsRead]] = {each.key: {} for each in group}
    for name, table in work.changes.tables.items():
        for column in _texts(group[0]).get(name, ()):
            table = replace(table, plan=table.plan.as_text(column, "a value that did not fit when its full was made"))
        rows_read = _whole(group, table, work) if group[0].why_full else _changed(group, table, work, state)
        for business, rows in rows_read.items():
            read[business][name] = rows
    return read


def _whole(group: Sequence[DueBusiness], table: BusinessTable, work: TickWork) -> Mapping[str, BusinessRowsRead]:
    """All rows of the businesses; a value that does not fit its column makes that column a text, for all of them."""
    keys = [each.key for each in group]
    while True:
        try:
            rows = _by_business(work.changes.rows.rows_of(table, keys))
        except NotNativeError as error:
            table = replace(table, plan=table.plan.as_text(error.column, error.value))
        else:
            return {key: BusinessRowsRead(table.plan, rows.get(key, pa.table({}))) for key in keys}


def _changed(
    group: Sequence[DueBusiness], table: BusinessTable, work: TickWork, state: KeyState
) -> Mapping[str, BusinessRowsRead]:
    """The rows that changed, and the keys of those that are gone, of the businesses that have any."""
    name, changes = table.plan.name, work.changes
    of_group = {each.key: changes.changes[name][each.key] for each in group if each.key in changes.changes[name]}
    touched = [key for key, (changed, _) in of_group.items() if changed or not table.tracked]
    if not table.tracked:
        rows = _by_business(changes.rows.rows_of(table, touched)) if touched else {}
        return {key: BusinessRowsRead(table.plan, rows.get(key, pa.table({})), replaced=True) for key in touched}
    keys = state.changed_keys(name, touched) if touched else ()
    rows = _by_business(changes.rows.rows_with(table, keys, changes.xmin), set(keys)) if keys else {}
    read = {}
    for key, (changed, gone) in of_group.items():
        own = rows.get(key, pa.table({}))
        if own.num_rows != changed:
            state.forget([key])
            message = f"{own.num_rows} rows of table {name} were read for business {key}, where {changed} changed."
            raise BackupError(message, do="Report it: the next tick gives the business everything again.")
        read[key] = BusinessRowsRead(table.plan, own, state.gone_keys(name, key) if gone else ())
    return read


def _by_business(pages: Iterator[pa.Table], keys: Collection[str] | None = None) -> Mapping[str, pa.Table]:
    """The rows of each business, in the order of their keys; of these `keys` alone, where some are given."""
    tables = list(pages)
    if not tables:
        return {}
    rows = pa.concat_tables(tables).combine_chunks()
    by = [BUSINESS_FIELD, *([KEY_FIELD] if KEY_FIELD in rows.column_names else [])]
    if keys is not None:
        rows = rows.filter(pc.is_in(rows.column(KEY_FIELD), pa.array(sorted(keys), pa.string())))
    rows = rows.take(pc.sort_indices(rows.select(by), [(name, "ascending") for name in by]))
    counts = pc.value_counts(rows.column(BUSINESS_FIELD)).to_pylist()
    split, start = {}, 0
    for count in counts:
        split[count["values"] or SHARED_KEY] = rows.slice(start, count["counts"])
        start += count["counts"]
    return split


def _audited(
    backup_id: str, business: str, tables: Mapping[str, BusinessRowsRead], work: TickWork, state: KeyState
) -> str:
    """How a full differs from the chain that it ends together with what changed since; empty where it does not."""
    before = work.ports.ledger.get(backup_id)
    changed: dict[str, set[Key]] = {}
    for name, read in tables.items():
        if work.changes.tables[name].tracked:
            texts = [*state.changed_keys(name, [business]), *state.gone_keys(name, business)]
            changed[name] = keys_of(key_rows(read.plan, texts), read.plan.key)
    try:
        if before is None:
            return f"backup {backup_id} is not in the ledger"
        kept = read_state(before, work.ports)
    except BackupError as error:
        return f"the chain can not be read: {error.what}"
    return "; ".join(differences(kept, {name: read.rows for name, read in tables.items()}, changed))
