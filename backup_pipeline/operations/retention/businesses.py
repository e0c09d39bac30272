"""Pruning the backups of all businesses of a catalog: one business after another, each in batches, newest first.

There may be hundreds of thousands of small backups. So what is in memory is one business's rows and objects; nothing
of it is asked for each backup that can be asked for a batch; and whatever is killed, the next prune goes on from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LockedError, PartialError
from backup_pipeline.core.layout import backups_prefix
from backup_pipeline.core.ledger import GOOD, Attempt, AuditEvent, Outcome, Status
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.retention import Verdict
from backup_pipeline.core.retention.chains import Chains
from backup_pipeline.core.retention.prune import Folder, Left, PrunePlan, Why, sorted_folders
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.leases import HeldLease, claims
from backup_pipeline.operations.retention import Removed, prune
from backup_pipeline.operations.retention.plan import (
    NOT_REMOVED,
    REMOVING,
    Proofs,
    PruneRequest,
    held_in_store,
    plan_prune,
)

PAGE = 500
"""Businesses whose keys are read at once."""
BATCH = 250
"""Backups that are looked at once more and then removed together."""
_TOLD = 100
"""Objects that stay, and remarks, that a report names; the others are counted."""
_LARGEST = 20
TICKS_KEPT = timedelta(days=35)
"""How long a tick's row stays, with whom it missed: five times as long as the strips and the hourly rule look back."""
_TICKS_AT_ONCE = 1000


@dataclass(frozen=True)
class BusinessCleanup:
    """What a prune would do, or did, with the backups of one business; `bytes` are of what goes, or went."""

    business: str
    kept: int
    going: int
    bytes: int
    stayed: int = 0


@dataclass(frozen=True)
class BusinessesPruneReport:
    """What a prune of a catalog's businesses would do, or did where it was `confirmed`.

    `largest` are the businesses of which most goes. `left` are objects of which something stays, `remarks` what
    ledger and store do not agree on, the first hundred of each. `busy` says of businesses why they were left out.
    `stayed` counts backups that were to go and did not, `ticks` the rows of old ticks that go, or went.
    """

    catalog: str
    confirmed: bool
    businesses: int = 0
    kept: int = 0
    going: int = 0
    stayed: int = 0
    bytes: int = 0
    ticks: int = 0
    largest: tuple[BusinessCleanup, ...] = ()
    left: tuple[Left, ...] = ()
    remarks: tuple[str, ...] = ()
    busy: Mapping[str, str] = field(default_factory=dict)

    @property
    def partial(self) -> bool:
        """Whether something that was to go is still there."""
        return bool(self.left or self.busy or self.stayed)

    @property
    def only_locked(self) -> bool:
        """Whether all that stays is locked: it goes by itself with a later prune."""
        return bool(self.left) and all(left.why is Why.LOCKED for left in self.left)

    def error(self) -> PartialError:
        """The error of a prune that could not remove everything."""
        do = "Prune again: the plan is another one now."
        if self.left:
            message = f"{len(self.left)} objects of businesses stay. {self.left[0].key}: {self.left[0].message}"
            return PartialError(message, do=self.left[0].do)
        if self.busy:
            business, why = next(iter(self.busy.items()))
            return PartialError(f"{len(self.busy)} businesses were left out. {business}: {why}", do=do)
        return PartialError(f"{self.stayed} backups of businesses stay: somebody wants them now.", do=do)

    def as_json(self) -> dict[str, object]:
        """The report as JSON."""
        names = ("confirmed", "businesses", "kept", "going", "stayed", "bytes", "ticks")
        return {
            **{name: getattr(self, name) for name in names},
            "largest": [vars(each) for each in self.largest],
            "left": [each.as_json() for each in self.left],
            "remarks": list(self.remarks),
            "busy": dict(self.busy),
        }

    def with_business(
        self, done: BusinessCleanup, left: Sequence[Left], remarks: Sequence[str]
    ) -> BusinessesPruneReport:
        """The report with one business more."""
        largest = sorted((*self.largest, *([done] if done.going else [])), key=lambda each: -each.bytes)
        return replace(
            self,
            businesses=self.businesses + 1,
            kept=self.kept + done.kept,
            going=self.going + done.going,
            stayed=self.stayed + done.stayed,
            bytes=self.bytes + done.bytes,
            largest=tuple(largest[:_LARGEST]),
            left=(*self.left, *left)[:_TOLD],
            remarks=(*self.remarks, *remarks)[:_TOLD],
        )


def prune_businesses(
    catalog: Catalog, request: PruneRequest, ports: Ports, *, confirmed: bool
) -> BusinessesPruneReport | None:
    """Plan what the rules let go of each business's backups, and remove it where that is `confirmed`.

    None of a catalog without businesses.
    `request` is the one of the catalog. A business whose lease another prune or a deletion has is left for the next
    time. StoreError or LedgerError when one of the two goes away: run it again, what is done stays done.
    """
    if catalog.businesses is None:
        return None
    report = BusinessesPruneReport(catalog.catalog, confirmed)
    for business in _businesses(catalog.catalog, ports):
        scope = Scope(catalog.catalog, business=business)
        own = replace(request, scope=scope, retention=catalog.retention_of(scope))
        try:
            report = report.with_business(*_prune_business(own, ports, confirmed=confirmed))
        except LockedError as error:
            report = replace(report, busy={**report.busy, business: error.what})
    return replace(report, ticks=_forget_ticks(catalog.catalog, ports, confirmed=confirmed))


def _forget_ticks(catalog: str, ports: Ports, *, confirmed: bool) -> int:
    """Remove old ticks, many at a time; how many went, or would."""
    before, ticks = ports.clock() - TICKS_KEPT, ports.ledger.ticks
    if not confirmed:
        return ticks.older(catalog, before=before)
    gone = 0
    while removed := ticks.forget(catalog, before=before, limit=_TICKS_AT_ONCE):
        gone += removed
    return gone


def _businesses(catalog: str, ports: Ports) -> Iterator[str]:
    after = ""
    while page := ports.ledger.ticks.businesses(catalog, after=after, limit=PAGE):
        yield from page
        after = page[-1]


def _prune_business(
    request: PruneRequest, ports: Ports, *, confirmed: bool
) -> tuple[BusinessCleanup, Sequence[Left], Sequence[str]]:
    plan = plan_prune(request, ports)
    business, kept = str(request.scope.business), len(plan.verdicts) - len(plan.removed)
    remarks = [f"{business}: {remark}" for remark in plan.remarks]
    if not confirmed or plan.empty:
        locked = [left for objects in plan.locked.values() for left in objects]
        return BusinessCleanup(business, kept, len(plan.removed), plan.bytes), locked, remarks
    report = prune(plan, request, ports, remove=remove_in_batches)
    stayed = sum(bool(each.kept) for each in report.removed)
    gone = len(report.removed) - stayed
    return BusinessCleanup(business, kept + stayed, gone, report.bytes, stayed), report.left, remarks


def remove_in_batches(plan: PrunePlan, request: PruneRequest, ports: Ports, lease: HeldLease) -> Iterator[Removed]:
    """Remove the backups that `plan` lets go, the newest first: nothing goes before what goes on from it.

    Each batch is looked at once more, as one backup is: what is held, read or locked by now stays, and its chain too.
    """
    going = [verdict for verdict in plan.verdicts if verdict.removed]
    chains = Chains([verdict.attempt for verdict in plan.verdicts], {})
    batches = _Batches(plan, request, ports, chains)
    for start in range(0, len(going), BATCH):
        lease.check(ask=True)
        yield from batches.remove(going[start : start + BATCH])


@dataclass
class _Batches:
    """The removal of a business's backups; `kept` grows: what stays after all, and all that it goes on from."""

    plan: PrunePlan
    request: PruneRequest
    ports: Ports
    chains: Chains
    kept: dict[str, str] = field(default_factory=dict)

    def remove(self, verdicts: Sequence[Verdict]) -> Iterator[Removed]:
        """A batch: what still may go is noted, then manifests go, then the rest, then rows and audit."""
        why = {verdict.attempt.backup_id: "; ".join(verdict.reasons) for verdict in verdicts}
        wanted = [verdict.attempt for verdict in verdicts]
        rows, folders = self._look_again(wanted)
        locked = self._keep(rows, folders)
        going = [row for row in rows if row.backup_id not in self.kept]
        self._audit([(row, REMOVING, {"to": Status.EXPIRED.value, "why": why[row.backup_id]}) for row in going])
        left = self._remove_manifests(going, folders)
        gone = [row for row in going if row.backup_id not in self.kept]
        removals = self.ports.removals(self.ports.store)
        left += removals.remove([key for row in gone for key in folders[row.backup_id].data], self.request.versions)
        of = _by_folder(left, folders)
        stays = [row for row in rows if row.backup_id in self.kept]
        noted = [(row, NOT_REMOVED, {"why": self.kept[row.backup_id]}) for row in stays]
        removed = [_removed(row, folders[row.backup_id], of.get(row.backup_id, ())) for row in gone]
        self._end(gone, removed, why)
        self._audit(noted)
        yield from removed
        for row in stays:
            own = (*locked.get(row.backup_id, ()), *of.get(row.backup_id, ()))
            yield Removed(row.backup_id, row.status, left=own, kept=self.kept[row.backup_id])

    def _look_again(self, wanted: Sequence[Attempt]) -> tuple[Sequence[Attempt], Mapping[str, Folder]]:
        """The rows as they are now, and what lies in their folders."""
        scope, ledger = self.request.scope, self.ports.ledger
        since = min(row.created_at for row in wanted) - timedelta.resolution
        good = {row.backup_id: row for row in ledger.list(scope=scope, status=sorted(GOOD), since=since)}
        rows = [good.get(row.backup_id) or ledger.get(row.backup_id) or row for row in wanted]
        days = {row.backup_id: row.partition_date for row in rows}
        folders = self._folders(days)
        nothing = {row.backup_id: Folder(row.backup_id, row.partition_date, ()) for row in rows}
        return rows, {name: folders.get(name, folder) for name, folder in nothing.items()}

    def _folders(self, days: Mapping[str, date]) -> Mapping[str, Folder]:
        """What lies in the folders of these dates; where one of the backups is not there, in all."""
        scope, listed = self.request.scope, self.ports.store.list
        prefixes = [f"{backups_prefix(scope)}backup_date={day.isoformat()}/" for day in sorted({*days.values()})]
        folders = sorted_folders(scope, (stored for prefix in prefixes for stored in listed(prefix)), days)
        if days.keys() <= folders.keys():
            return folders
        return sorted_folders(scope, listed(backups_prefix(scope)), days)

    def _keep(self, rows: Sequence[Attempt], folders: Mapping[str, Folder]) -> Mapping[str, tuple[Left, ...]]:
        """Note what stays after all; the locked objects of each such backup."""
        claimed, now = claims(self.ports), self.ports.clock()
        removals = self.ports.removals(self.ports.store)
        keys = [stored.key for row in rows for stored in folders[row.backup_id].objects]
        locked = _by_folder(removals.locked(keys), folders)
        lost = self._successors_lost(rows)
        for row in rows:
            why = str(row.hold) if row.hold is not None and row.hold.lasts(now) else ""
            why = why or held_in_store(folders[row.backup_id], row, self.ports) or claimed.get(row.backup_id, "")
            why = why or lost.get(row.backup_id, "") or ("" if row.status.good else f"it is {row.status} by now")
            if why or row.backup_id in locked:
                self._stays(row, why or "locked by the store; it stays whole")
        return locked

    def _successors_lost(self, rows: Sequence[Attempt]) -> Mapping[str, str]:
        """Of each backup why the one that was to stay in its place does not any more; each of these is read once."""
        proofs = Proofs(self.ports.store)
        lost = {}
        for row in rows:
            successor = self.plan.successors[row.backup_id]
            for link in self.chains.of(successor).links:
                if why := proofs.present(link):
                    lost[row.backup_id] = f"{link.backup_id}, which was to stay in its place: {why}"
        return lost

    def _stays(self, row: Attempt, why: str) -> None:
        self.kept.setdefault(row.backup_id, why)
        for backup_id, by in self.chains.needs([row]).items():
            self.kept.setdefault(backup_id, f"{by} goes on from it, and stays")

    def _remove_manifests(self, going: Sequence[Attempt], folders: Mapping[str, Folder]) -> list[Left]:
        """Remove what makes them backups, in rounds; one whose manifest the store keeps stays, with its chain."""
        left: list[Left] = []
        removals = self.ports.removals(self.ports.store)
        for rows in self.chains.rounds(going):
            now = [row for row in rows if row.backup_id not in self.kept]
            pointers = [key for row in now for key in folders[row.backup_id].pointers]
            remain = removals.remove(pointers, self.request.versions) if pointers else ()
            left += remain
            denied = _by_folder([each for each in remain if not each.hidden], folders)
            for row in now:
                if row.backup_id in denied:
                    self._stays(row, "the store refused; it stays whole")
        return left

    def _end(self, gone: Sequence[Attempt], removed: Sequence[Removed], why: Mapping[str, str]) -> None:
        """The rows and their audit, in one transaction."""
        at, outcomes, events = self.ports.clock(), dict[str, Outcome](), []
        for row, each in zip(gone, removed, strict=True):
            notes = tuple(f"Of {left.key} something is left in the store. {left.message}" for left in each.left)
            outcomes[row.backup_id] = Outcome(each.status, at, warnings=(*row.warnings, *notes) if notes else ())
            detail = {"why": why[row.backup_id], "objects": each.objects, "bytes": each.bytes}
            events.append(AuditEvent(at, self.request.actor, each.status.value, row.backup_id, detail))
        with self.ports.ledger.at_once() as ledger:
            ledger.end_all(outcomes)
            ledger.adopt([], events)

    def _audit(self, events: Sequence[tuple[Attempt, str, Mapping[str, object]]]) -> None:
        at, actor = self.ports.clock(), self.request.actor
        rows = [AuditEvent(at, actor, action, row.backup_id, detail) for row, action, detail in events]
        self.ports.ledger.adopt([], rows)


def _removed(row: Attempt, folder: Folder, left: Sequence[Left]) -> Removed:
    stays = {each.key for each in left}
    gone = [stored.size for stored in folder.objects if stored.key not in stays]
    return Removed(row.backup_id, Status.EXPIRED, objects=len(gone), bytes=sum(gone), left=tuple(left))


def _by_folder(found: Sequence[Left], folders: Mapping[str, Folder]) -> dict[str, tuple[Left, ...]]:
    """By backup id the objects of which something stays."""
    owners = {stored.key: name for name, folder in folders.items() for stored in folder.objects}
    sorted_: dict[str, list[Left]] = {}
    for each in found:
        sorted_.setdefault(owners[each.key], []).append(each)
    return {name: tuple(own) for name, own in sorted_.items()}
