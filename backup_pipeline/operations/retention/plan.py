"""Before a backup is removed, the one that stays in its place is looked at in the store: there, whole, and unchanged.

The ledger says what a backup was when somebody looked last. What was lost, cut off or exchanged since, only the store
can tell; a prune that trusts the ledger removes the only good backup there is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.layout import PartitionPlace, backups_prefix, schema_prefix, split_key, tables_prefix
from backup_pipeline.core.ledger import Attempt, Status, check_rows, read_hold
from backup_pipeline.core.ports import Ledger, Ports, Silence, Store
from backup_pipeline.core.rebuild import GONE_MESSAGE
from backup_pipeline.core.retention import ALONE, Retention, RetentionBasis, StandIns
from backup_pipeline.core.retention.prune import (
    GONE,
    Folder,
    Left,
    PrunePlan,
    StoreFacts,
    Versions,
    lacking,
    make_plan,
    sorted_days,
    sorted_folders,
)
from backup_pipeline.core.schedule import check_difference
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.operations.browse import check_bytes, load_partition, open_unread, place_of
from backup_pipeline.operations.leases import claims


@dataclass(frozen=True)
class Proofs:
    """What the store shows of backups, each looked at once: why it is not proven, empty where it is."""

    store: Store
    _read: dict[str, str] = field(default_factory=dict)
    _hashed: dict[str, str] = field(default_factory=dict)

    def present(self, row: Attempt) -> str:
        """Why manifest and bundle, or the records of partitions, are not there as the ledger knows them."""
        if row.backup_id not in self._read:
            self._read[row.backup_id] = _problem(_look, row, self.store)
        return self._read[row.backup_id]

    def whole(self, row: Attempt) -> str:
        """As `present`, with every byte read and hashed."""
        if row.backup_id not in self._hashed:
            self._hashed[row.backup_id] = self.present(row) or _problem(_hash, row, self.store)
        return self._hashed[row.backup_id]

    def broken(self, rows: Iterable[Attempt]) -> dict[str, str]:
        """Those of the backups that are not whole, by id, with why."""
        return {row.backup_id: why for row in rows if (why := self.whole(row))}


def lost_at_a_glance(rows: Sequence[Attempt], folders: Mapping[str, Folder]) -> Iterator[tuple[str, str]]:
    """The good backups that a listing of the store shows to be none any more, with what is wrong.

    Those without a manifest are told elsewhere.
    """
    for row in rows:
        folder = folders.get(row.backup_id)
        if not row.kind.bundled or not row.status.good or folder is None or not row.file_path:
            continue
        size = next((stored.size for stored in folder.objects if stored.key == row.file_path), None)
        if size is None:
            yield row.backup_id, "its bundle is not in the store"
        elif size != row.file_size_bytes:
            yield row.backup_id, f"its bundle has {size:,} bytes in the store, the ledger says {row.file_size_bytes:,}"


def _problem(look: Callable[[Attempt, Store], None], row: Attempt, store: Store) -> str:
    try:
        look(row, store)
    except (NotFoundError, VerificationError) as error:
        return error.what.rstrip(".")
    return ""


def _look(row: Attempt, store: Store) -> None:
    if row.kind.bundled:
        open_unread(row, place_of(row), store)
        return
    for table in row.tables_wanted:
        load_partition(PartitionPlace(row.scope, table, row.partition_date), store)


def _hash(row: Attempt, store: Store) -> None:
    if row.kind.bundled:
        check_bytes(open_unread(row, place_of(row), store), store, Silence())
        return
    for table in row.tables_wanted:
        place = PartitionPlace(row.scope, table, row.partition_date)
        for file in (file.stored for file in load_partition(place, store).table.files):
            seen = hashlib.sha256()
            for chunk in store.stream(place.file(file.name)):
                seen.update(chunk)
            if seen.hexdigest() != file.sha256:
                message = (
                    f"{store.url}/{place.file(file.name)} is damaged: its SHA-256 is not the one that was written."
                )
                raise VerificationError(message)


REMOVING = "removing"
"""The audit's word for a removal that begins: with it, and without a manifest, a removal is one to finish."""
NOT_REMOVED = "not removed"
"""The audit's word for a removal that the store refused: the backup stays whole."""
COUNTED = re.compile(r"(keep_(last|hourly|daily|weekly|monthly|yearly)|min_keep): ")
"""How a reason begins that counts backups: it is worth what those are worth."""
_HELD = "held: its hold.json is in the store, and the ledger does not know why. `hold` it anew, or `release` it"


@dataclass(frozen=True)
class PruneRequest:
    """What is pruned, and by whom: the backups of `scope`, by its rules and in its timezone."""

    scope: Scope
    actor: Actor
    retention: Retention = field(default_factory=Retention)
    timezone: str = "UTC"
    versions: Versions = Versions.REPORT


def prune_requests(catalog: Catalog, actor: Actor, versions: Versions) -> tuple[PruneRequest, PruneRequest]:
    """What a prune of a catalog is about: its backups, and the safety backups that restores of it made."""
    scope = Scope(catalog.catalog)
    first = PruneRequest(scope, actor, catalog.retention, catalog.timezone, versions)
    return first, replace(first, scope=scope.safety)


def prune_request(scope: Scope, catalogs: Mapping[str, Catalog], actor: Actor, versions: Versions) -> PruneRequest:
    """What is said of the backups of `scope`, whose catalog may be unknown."""
    known = catalogs.get(scope.catalog)
    if known is None:
        return PruneRequest(scope, actor, versions=versions)
    return PruneRequest(scope, actor, known.retention_of(scope), known.timezone, versions)


def plan_prune(request: PruneRequest, ports: Ports) -> PrunePlan:
    """What a prune would do now; reads only. LedgerError or StoreError when one of the two can not be read.

    ClockError when the ledger contradicts the clock that ages are reckoned by.
    """
    of_business = request.scope.business is not None
    rows = ports.ledger.list(scope=request.scope, status=_ALIVE if of_business else ())
    basis = basis_of(request, ports)
    check_rows(rows, basis.now)
    facts = _look_at_store(request, rows, ports)
    rows = (*rows, *(_gone_rows(rows, facts, request.scope, ports.ledger) if of_business else ()))
    plan = _proven_plan(rows, facts, basis, request, ports)
    copies = (f"{copy.store}: {copy.backup_id}" for copy in orphaned_copies(request, ports))
    return replace(plan, locked=dict(_locked(plan, facts, ports)), copies=tuple(copies))


_ALIVE = [status for status in Status if status not in GONE]
"""Rows never go: of a business that is backed up every five minutes, those of gone backups are 100,000 a year."""


def _gone_rows(rows: Sequence[Attempt], facts: StoreFacts, scope: Scope, ledger: Ledger) -> Iterator[Attempt]:
    """The rows of gone backups of which something is in the store all the same."""
    there = {*facts.folders, *sorted_folders(scope, facts.hidden)} - {row.backup_id for row in rows}
    for backup_id in sorted(there):
        row = ledger.get(backup_id)
        if row is not None and row.scope == scope and row.status in GONE:
            yield row


def _proven_plan(
    rows: Sequence[Attempt], facts: StoreFacts, basis: RetentionBasis, request: PruneRequest, ports: Ports
) -> PrunePlan:
    """The plan in which each backup that goes has a successor that was found whole in the store.

    Whatever is found not to be whole counts as no backup, and the plan is made anew without it.
    """
    proofs, broken = Proofs(ports.store), dict(lost_at_a_glance(rows, facts.folders))
    while True:
        basis = replace(basis, broken=broken)
        plan = make_plan(request.scope, rows, facts, basis)
        kept = StandIns([verdict.attempt for verdict in plan.verdicts if not verdict.removed], basis)
        alone = {each.attempt.backup_id: ALONE for each in plan.removed if not kept.any_of(each.attempt)}
        unproven = dict(_unproven(plan, kept, proofs))
        if not unproven and not alone:
            return replace(plan, successors=dict(_successors(plan, kept, proofs)))
        broken, basis = {**broken, **unproven}, replace(basis, claims={**alone, **basis.claims})


def _unproven(plan: PrunePlan, kept: StandIns, proofs: Proofs) -> Iterator[tuple[str, str]]:
    """What the plan relies on and must not: backups that a rule counts, or that stay in the place of one that goes.

    Of a business hundreds are counted: there the listing has to do, and the backup that stays in the place of all, with
    its chain, is read.
    """
    for verdict in plan.verdicts if plan.removed else ():
        counted = any(COUNTED.match(reason) for reason in verdict.reasons)
        if counted and plan.scope.business is None and (why := proofs.present(verdict.attempt)):
            yield verdict.attempt.backup_id, why
    for verdict in plan.removed:
        for row in kept.of(verdict.attempt):
            lost = proofs.broken(kept.needed(row))
            if not lost:
                break
            yield from lost.items()


def _successors(plan: PrunePlan, kept: StandIns, proofs: Proofs) -> Iterator[tuple[str, Attempt]]:
    for verdict in plan.removed:
        successors = (row for row in kept.of(verdict.attempt) if not proofs.broken(kept.needed(row)))
        yield verdict.attempt.backup_id, next(successors)


def orphaned_copies(request: PruneRequest, ports: Ports) -> Iterator[Copy]:
    """The copies in the second store whose backup was removed; of one that somebody else removed, it is the only one.

    None where there is no second store.
    """
    if ports.second is None:
        return
    rows = ports.ledger.list(scope=request.scope, status=sorted(GONE))
    gone = {row.backup_id for row in rows}
    lost = {row.backup_id for row in rows if row.error_message == GONE_MESSAGE}
    for copy in ports.ledger.copies.list(scope=request.scope, store=ports.second.url):
        if (
            copy.backup_id in gone
            and copy.backup_id not in lost
            and copy.status in {CopyStatus.GOOD, CopyStatus.FAILED}
        ):
            yield copy


def basis_of(request: PruneRequest, ports: Ports) -> RetentionBasis:
    """What retention decides with: rules, calendar, the present, and what reads a backup or waits for it.

    ClockError when this machine's clock and the ledger's differ too much: one of both is wrong.
    """
    check_difference("this machine", ports.drift(), "the ledger")
    return RetentionBasis(request.retention, request.timezone, ports.clock(), claims(ports))


def folder_of(attempt: Attempt, store: Store) -> Folder:
    """What lies in the store in the folder of one backup; possibly nothing."""
    prefix = f"{backups_prefix(attempt.scope)}backup_date={attempt.partition_date.isoformat()}/{attempt.backup_id}/"
    return Folder(attempt.backup_id, attempt.partition_date, tuple(store.list(prefix)))


def held_in_store(folder: Folder, row: Attempt | None, ports: Ports) -> str | None:
    """What to say of a hold that only the store knows, or None; where the row knows of a hold, the row counts."""
    if not folder.has_hold or (row is not None and row.hold is not None):
        return None
    key = folder.data[-1]
    try:
        until = read_hold(ports.store.get(key), f"{ports.store.url}/{key}")
    except VerificationError:
        return _HELD
    except NotFoundError:
        return None
    return _HELD if until is None or until > ports.clock() else None


def _look_at_store(request: PruneRequest, rows: Sequence[Attempt], ports: Ports) -> StoreFacts:
    scope = request.scope
    known = {row.backup_id: row for row in rows}
    days = {row.backup_id: row.partition_date for row in rows}
    folders = sorted_folders(scope, ports.store.list(backups_prefix(scope)), days)
    held = {name: why for name, each in folders.items() if (why := held_in_store(each, known.get(name), ports))}
    objects = (stored for prefix in (schema_prefix(scope), tables_prefix(scope)) for stored in ports.store.list(prefix))
    removals = ports.removals(ports.store)
    hidden = removals.hidden(f"{scope.folder}/") if request.versions is Versions.REMOVE else ()
    return StoreFacts(
        folders=folders,
        days=sorted_days(scope, objects),
        unfinished=tuple(each for each in removals.unfinished(f"{scope.folder}/") if _is_in(each.key, scope)),
        held=held,
        begun=dict(_begun(lacking(rows, folders), ports.ledger)),
        hidden=tuple(each for each in hidden if _is_in(each.key, scope)),
    )


def _is_in(key: str, scope: Scope) -> bool:
    """Whether a key is of this scope: the folder of a catalog holds those of its businesses, too.

    One beside the catalogs' folders is the store's own, such as the upload of a trial: whoever prunes has it.
    """
    placed = split_key(key)
    return not key.startswith(f"{scope.folder}/") or (placed is not None and placed[0] == scope)


def _begun(rows: Sequence[Attempt], ledger: Ledger) -> Iterator[tuple[str, Status]]:
    """Those whose manifest is gone because somebody began to remove them, with what they were to become."""
    for row in rows:
        if (to := removal_begun(row.backup_id, ledger)) is not None:
            yield row.backup_id, to


def removal_begun(backup_id: str, ledger: Ledger) -> Status | None:
    """What a backup becomes whose removal was begun and not finished, as the audit has it; None: nobody began one.

    A removal that the store refused was ended by that: a manifest that is gone later, somebody else removed.
    """
    events = (event for event in ledger.audits(backup_id) if event.action in {REMOVING, NOT_REMOVED})
    newest = next(events, None)
    return Status(str(newest.detail["to"])) if newest is not None and newest.action == REMOVING else None


def _locked(plan: PrunePlan, facts: StoreFacts, ports: Ports) -> Iterator[tuple[str, tuple[Left, ...]]]:
    removals = ports.removals(ports.store)
    for verdict in plan.removed:
        folder = facts.folders.get(verdict.attempt.backup_id)
        if folder is not None and (left := removals.locked([stored.key for stored in folder.objects])):
            yield folder.backup_id, tuple(left)
