"""What a prune needs of the world, and the look at ledger and store that its plan is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.hold import read_hold
from backup_pipeline.core.layout import backups_prefix, schema_prefix, tables_prefix
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Clock, Ledger, Store
from backup_pipeline.core.prune_facts import Folder, StoreFacts, sorted_days, sorted_folders
from backup_pipeline.core.prune_plan import GONE, PrunePlan, lacking, make_plan
from backup_pipeline.core.removal import Left, Removals, Versions
from backup_pipeline.core.retention import Retention
from backup_pipeline.core.retention_rules import Basis
from backup_pipeline.core.statuses import Status
from backup_pipeline.operations.readers import claims

REMOVING = "removing"
"""The audit's word for a removal that begins: with it, and without a manifest, a removal is one to finish."""
_HELD = "held: its hold.json is in the store, and the ledger does not know why. `hold` it anew, or `release` it"


def _nobody_else(_: str) -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


@dataclass(frozen=True)
class Shelf:
    """A further store that holds copies: its URL as the ledger has it, and how objects leave it."""

    url: str
    store: Store
    removals: Removals


@dataclass(frozen=True)
class PrunePorts:
    """The store and how objects leave it, the ledger, the time, whoever prunes, and the stores that hold copies.

    `alone` keeps other writers of a catalog out for as long as its context lasts, and gives a function that raises once
    that is over; LockedError when one is at it.
    """

    store: Store
    removals: Removals
    ledger: Ledger
    clock: Clock
    actor: str
    others: tuple[Shelf, ...] = ()
    alone: Callable[[str], AbstractContextManager[Callable[[], None]]] = _nobody_else


@dataclass(frozen=True)
class PruneWish:
    """What is pruned: the backups filed under `catalog`, by its rules and in its timezone."""

    catalog: str
    retention: Retention = field(default_factory=Retention)
    timezone: str = "UTC"
    versions: Versions = Versions.REPORT


def plan_prune(wish: PruneWish, ports: PrunePorts) -> PrunePlan:
    """What a prune would do now; reads only. LedgerError or StoreError when one of the two can not be read."""
    rows = ports.ledger.list(catalog=wish.catalog)
    facts = _look(wish, rows, ports)
    plan = make_plan(wish.catalog, rows, facts, basis_of(wish, ports))
    copies = (
        f"{shelf.url}: {copy.backup_id}" for shelf in ports.others for copy in orphaned_copies(wish, shelf, ports)
    )
    return replace(plan, locked=dict(_locked(plan, facts, ports)), copies=tuple(copies))


def orphaned_copies(wish: PruneWish, shelf: Shelf, ports: PrunePorts) -> Iterator[Copy]:
    """The copies in a further store whose backup is gone."""
    gone = {row.backup_id for row in ports.ledger.list(catalog=wish.catalog, status=sorted(GONE))}
    for copy in ports.ledger.copies.list(catalog=wish.catalog, store=shelf.url):
        if copy.backup_id in gone and copy.status in {CopyStatus.GOOD, CopyStatus.FAILED}:
            yield copy


def basis_of(wish: PruneWish, ports: PrunePorts) -> Basis:
    """What retention decides with: rules, calendar, the present, and what reads a backup or waits for it."""
    return Basis(wish.retention, wish.timezone, ports.clock(), claims(ports))


def folder_of(attempt: Attempt, store: Store) -> Folder:
    """What lies in the store in the folder of one backup; possibly nothing."""
    prefix = f"{backups_prefix(attempt.catalog)}backup_date={attempt.partition_date.isoformat()}/{attempt.backup_id}/"
    return Folder(attempt.backup_id, attempt.partition_date, tuple(store.list(prefix)))


def held_in_store(folder: Folder, row: Attempt | None, ports: PrunePorts) -> str | None:
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


def _look(wish: PruneWish, rows: Sequence[Attempt], ports: PrunePorts) -> StoreFacts:
    catalog = wish.catalog
    folders = sorted_folders(catalog, ports.store.list(backups_prefix(catalog)))
    known = {row.backup_id: row for row in rows}
    held = {name: why for name, each in folders.items() if (why := held_in_store(each, known.get(name), ports))}
    objects = (
        found for prefix in (schema_prefix(catalog), tables_prefix(catalog)) for found in ports.store.list(prefix)
    )
    return StoreFacts(
        folders=folders,
        days=sorted_days(catalog, objects),
        unfinished=tuple(ports.removals.unfinished(f"{catalog}/")),
        held=held,
        begun=dict(_begun(lacking(rows, folders), ports.ledger)),
        hidden=tuple(ports.removals.hidden(f"{catalog}/")) if wish.versions is Versions.REMOVE else (),
    )


def _begun(rows: Sequence[Attempt], ledger: Ledger) -> Iterator[tuple[str, Status]]:
    """Those whose manifest is gone because somebody began to remove them, with what they were to become."""
    for row in rows:
        event = next((event for event in ledger.audits(row.backup_id) if event.action == REMOVING), None)
        if event is not None:
            yield row.backup_id, Status(str(event.detail["to"]))


def _locked(plan: PrunePlan, facts: StoreFacts, ports: PrunePorts) -> Iterator[tuple[str, tuple[Left, ...]]]:
    for verdict in plan.removed:
        folder = facts.folders.get(verdict.attempt.backup_id)
        if folder is not None and (found := ports.removals.locked([stored.key for stored in folder.objects])):
            yield folder.backup_id, tuple(found)
