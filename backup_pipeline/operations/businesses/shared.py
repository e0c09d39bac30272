"""The backups of one tick, made by several runs: shards by hash of the business, over the snapshot of the tick.

The run of the tick looks for changes, alone: so each row is looked at once, and Σ businesses + shared = `count(*)` is
proven in one snapshot. What is divided is reading and writing what changed. A shard says of each of its businesses
which keys changed and what its backup goes on from; who takes it joins the snapshot, and needs nothing else of this
run's machine. The state of keys is written once, at the end, by the tick: what a shard did not report was never known
to it, so whoever was killed costs its businesses a full in the next tick, and no row.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from backup_pipeline.core.businesses.ticks import (
    BusinessMiss,
    DueBusiness,
    Miss,
    Tick,
    View,
    known_of,
    position_of,
)
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, LedgerError
from backup_pipeline.core.ledger import Shard, ShardStatus
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.ports import Ports, Snapshot
from backup_pipeline.core.ports.ticks import KeyState
from backup_pipeline.core.scope import Purpose, Scope
from backup_pipeline.operations.businesses.changes import joined_changes
from backup_pipeline.operations.businesses.making import TickBackups, TickDeadline, make_backups
from backup_pipeline.operations.businesses.storing import TRUSTED_S, StoredBusiness, TickWork
from backup_pipeline.operations.leases import GuestLease, guarded
from backup_pipeline.operations.shards import Crew, Held, Taking, gave_up, joined, made_by, perform, watched

logger = logging.getLogger(__name__)

_WORTH = 200
"""Backups from which on other runs are asked for: it takes seconds until one is there. A full counts as five."""
_FULL = 5
_SHARDS_A_RUN = 4
"""More shards than runs: who is quick does more, and who dies leaves less."""


@dataclass(frozen=True)
class Sharing:
    """How a tick is shared: the name of the work, the other runs, how many there are with this one, and until when."""

    name: str
    crew: Crew
    runs: int
    deadline: TickDeadline


def work_name(tick: Tick) -> str:
    """The name of the work that the runs of a tick share."""
    return f"{tick.catalog} tick {tick.number}"


def worth_sharing(busy: Sequence[DueBusiness]) -> bool:
    """Whether there is so much to do that other runs come in time to do some of it."""
    return sum(_FULL if each.why_full else 1 for each in busy) >= _WORTH


def make_shared(busy: Sequence[DueBusiness], work: TickWork, state: KeyState, sharing: Sharing) -> TickBackups:
    """Make the backups of these businesses with others; what became of them. Raises what makes all of it void.

    This run takes part, so nothing waits for runs that never begin.
    """
    ports, name = work.ports, sharing.name
    parts = min(len(busy), sharing.runs * _SHARDS_A_RUN)
    offered = ports.ledger.shards.offer(name, list(_details(busy, work, state, sharing.deadline, parts)))
    sharing.crew.launch(min(sharing.runs, len(offered)) - 1)
    taking = Taking(name, lambda held: _do(held, work), ports, work.run_id, threads=1, stays=True)
    backups = TickBackups()

    def check() -> None:
        if taking.failure is not None:
            raise taking.failure

    with ThreadPoolExecutor(1, "shards") as pool:
        pool.submit(perform, taking)
        try:
            with closing(watched(name, sharing.crew, ports, check)) as ended:
                for shard in ended:
                    _collect(shard, backups, state, ports)
        finally:
            taking.stopping.set()
            sharing.crew.stop()
            with suppress(LedgerError):
                ports.ledger.shards.close(name)
    return backups


def take_tick_part(name: str, catalog: Catalog, ports: Ports, run_id: str) -> int:
    """Do shards of a tick that another run has begun, until none waits; how many were done, 0 where it has ended.

    RefusedError for a run of another version of the program, or of the catalog; SnapshotLostError or LeaseLostError
    when the run of the tick ends before.
    """
    lease = ports.ledger.leases.get(Scope(catalog.catalog, purpose=Purpose.TICK))
    shards = ports.ledger.shards.list(name)
    waiting = any(each.status is ShardStatus.WAITING for each in shards)
    if lease is None or f"{catalog.catalog} {lease.claim.holder}" != name or not waiting:
        return 0
    detail = shards[0].detail
    guest = GuestLease(lease, ports.ledger, trusted_s=TRUSTED_S)
    own = guarded(ports, guest)
    with joined(detail, f"The {name}", catalog, guest, own) as snapshot:
        view = View(position_of(detail["at"]), detail["fingerprint"])
        changes = joined_changes(snapshot, catalog, view, detail["xmin"])
        changes = replace(changes, businesses=detail["businesses_in_all"])
        trigger, reason = Trigger(detail["trigger"]), detail["reason"]
        work = _Guest(TickWork(catalog, own, lease.claim.actor, trigger, changes, reason, run_id), snapshot)
        taking = Taking(name, work.do, own, run_id, threads=1)
        perform(taking)
        return taking.done


@dataclass
class _Guest:
    """A run that does shards of somebody else's tick; the DDL is asked for once, where a full wants it."""

    work: TickWork
    snapshot: Snapshot

    def do(self, held: Held) -> Mapping[str, Any]:
        """Do a shard; what came of it, as JSON."""
        if not self.work.schema and any(each["why"] for each in held.shard.detail["businesses"]):
            self.work = replace(self.work, schema=self.snapshot.schema_sql().encode())
        return _do(held, self.work)


def _details(
    busy: Sequence[DueBusiness], work: TickWork, state: KeyState, deadline: TickDeadline, parts: int
) -> Iterator[Mapping[str, Any]]:
    """What each shard is: its businesses, in their order, and all that whoever takes it has to know."""
    changes = work.changes
    common = {
        "snapshot": changes.entry.model_dump(mode="json"),
        "at": changes.view.at.as_json(),
        "fingerprint": changes.view.fingerprint,
        "xmin": changes.xmin,
        "businesses_in_all": changes.businesses,
        "trigger": work.trigger.value,
        "reason": work.reason,
        "deadline": [deadline.at.isoformat(), deadline.text],
        "made_by": made_by(work.catalog),
    }
    slices: list[list[DueBusiness]] = [[] for _ in range(parts)]
    for each in busy:
        slices[slice_of(each.key, parts)].append(each)
    for part in filter(None, slices):
        yield {**common, "businesses": [_order(due, work, state) for due in part]}


def slice_of(business: str, parts: int) -> int:
    """Which of so many shards a business is in: by the hash of its key."""
    return int.from_bytes(hashlib.sha256(business.encode()).digest()[:8], "big") % parts


def _order(due: DueBusiness, work: TickWork, state: KeyState) -> Mapping[str, Any]:
    tables = {
        table: {
            "changed": changed,
            "gone": gone,
            "keys": list(state.changed_keys(table, [due.key])) if changed else [],
            "gone_keys": list(state.gone_keys(table, due.key)) if gone else [],
        }
        for table, (changed, gone) in work.changes.of(due.key).items()
    }
    known = due.known.as_json() if due.known else None
    return {"key": due.key, "name": due.name, "why": due.why_full, "known": known, "tables": tables}


class _Orders:
    """The port `ChangedKeys` of what a shard says."""

    def __init__(self, orders: Sequence[Mapping[str, Any]]) -> None:
        self._tables: Mapping[str, Mapping[str, Any]] = {order["key"]: order["tables"] for order in orders}
        self.forgotten: set[str] = set()

    def changed_keys(self, table: str, businesses: Collection[str]) -> Sequence[str]:
        """The keys that changed, of these businesses."""
        return sorted({key for business in businesses for key in self._of(table, business).get("keys", ())})

    def gone_keys(self, table: str, business: str) -> Sequence[str]:
        """The keys that are gone from a business, in order."""
        return list(self._of(table, business).get("gone_keys", ()))

    def forget(self, businesses: Collection[str]) -> None:
        """The tick will be told."""
        self.forgotten.update(businesses)

    def _of(self, table: str, business: str) -> Mapping[str, Any]:
        keys: Mapping[str, Any] = self._tables[business].get(table, {})
        return keys


def _do(held: Held, work: TickWork) -> Mapping[str, Any]:
    """Make the backups of a shard; what came of them, as JSON."""
    detail = held.shard.detail
    orders, (until, text) = detail["businesses"], detail["deadline"]
    busy = [
        DueBusiness(o["key"], o["name"], known_of(o["key"], o["known"]) if o["known"] else None, o["why"])
        for o in orders
    ]
    by_table: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in work.changes.tables}
    for order in orders:
        for table, each in order["tables"].items():
            by_table[table][order["key"]] = each["changed"], each["gone"]
    own = replace(work, changes=replace(work.changes, changes=by_table))
    keys = _Orders(orders)
    try:
        backups = make_backups(busy, own, keys, TickDeadline(datetime.fromisoformat(until), text), held.check)
    except BackupError as error:
        if not keys.forgotten:
            raise
        return {"wrong": [error.what, error.do], "forget": sorted(keys.forgotten)}
    held.check(ask=True)
    return {
        "stored": {each.known.key: [each.attempt.backup_id, each.known.as_json()] for each in backups.stored},
        "misses": [[miss.business, miss.outcome.value, miss.reason] for miss in backups.misses],
        "audited": backups.audited,
    }


def _collect(shard: Shard, backups: TickBackups, state: KeyState, ports: Ports) -> None:
    """Add what came of a shard.

    Of a backup that nobody reported (its run was killed), the next tick finds that it is not the one of its state.
    """
    result, keys = shard.result or {}, [each["key"] for each in shard.detail["businesses"]]
    if reason := gave_up(shard):
        backups.misses += [BusinessMiss(key, Miss.FAILED, reason) for key in keys]
        return
    if "wrong" in result:
        what, do = result["wrong"]
        state.forget(result["forget"])
        raise BackupError(what, do=do)
    for key, (backup_id, known) in result["stored"].items():
        attempt = ports.ledger.get(backup_id)
        if attempt is None:
            backups.misses.append(BusinessMiss(key, Miss.FAILED, f"backup {backup_id} is not in the ledger"))
        else:
            backups.stored.append(StoredBusiness(attempt, None, known_of(key, known)))
    backups.misses += [BusinessMiss(key, Miss(outcome), reason) for key, outcome, reason in result["misses"]]
    backups.audited.update(result["audited"])
