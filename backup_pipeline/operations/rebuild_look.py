"""What a rebuild needs of the world, and the look at store and ledger that its plan is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import BackupError, NotFoundError, UsageError, VerificationError
from backup_pipeline.core.hold import Hold, read_hold
from backup_pipeline.core.ids import parse_backup_id
from backup_pipeline.core.layout import BackupPlace, backups_prefix
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.outline import Outline
from backup_pipeline.core.ports import Clock, Ledger, Second, Store, StoredObject
from backup_pipeline.core.prune_facts import Folder, sorted_folders
from backup_pipeline.core.rebuild import (
    Known,
    RebuildPlan,
    Seen,
    agrees,
    good_copies,
    is_made_now,
    make_rebuild,
    with_dues,
)
from backup_pipeline.core.rebuild_rows import row_of
from backup_pipeline.core.retention import Retention, expiry
from backup_pipeline.core.shape import shape_of
from backup_pipeline.core.statuses import Status
from backup_pipeline.core.verification import Level
from backup_pipeline.core.verified import passed
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.open_backup import read_document
from backup_pipeline.operations.prune_look import removal_begun

_READERS = 8
_FOLDER_PARTS = 5  # catalog, backups, date, backup id, name
_UNKNOWN = Hold("unknown", "its hold.json is in the store; the ledger that knew who held it, and why, was lost")


@dataclass(frozen=True)
class RebuildPorts:
    """The store that is read, the ledger that is made anew, the time, and whoever rebuilds.

    `second` is the second store where there is one; `from_second` whether `store` is that one, of which no more is
    concluded than what it holds. `seals` and `accepted` are as in `Known`. `rules` gives retention and timezone of a
    known catalog, `due` the due time that a backup was for.
    """

    store: Store
    ledger: Ledger
    clock: Clock
    actor: str
    dead: Callable[[Attempt], bool]
    rules: Callable[[str], tuple[Retention, str] | None] = lambda _: None
    due: Callable[[Attempt], datetime | None] = lambda _: None
    second: Second | None = None
    from_second: bool = False
    seals: bool = False
    accepted: frozenset[str] = frozenset()


def plan_rebuild(ports: RebuildPorts, catalog: str | None = None) -> RebuildPlan:
    """What a rebuild would do now, of one catalog or of all that lie in the store; reads only.

    The store is listed first: a backup that is made meanwhile has its row before its manifest. LedgerError or
    StoreError when one of the two can not be read.
    """
    found = tuple(ports.store.list(backups_prefix(catalog) if catalog else ""))
    rows = ports.ledger.list(catalog=catalog)
    folders = dict(_folders(found, {row.backup_id: row.partition_date for row in rows}))
    known = Known(
        dict(_begun(rows, folders, ports)),
        _copies(ports, catalog),
        ports.dead,
        whole=not ports.from_second,
        seals=ports.seals,
        accepted=ports.accepted,
    )
    seen = tuple(_look(folders, {row.backup_id: row for row in rows}, ports))
    plan = make_rebuild(ports.store.url, rows, seen, known)
    changes = with_dues(plan.changes, rows, ports.due)
    return replace(plan, changes=changes, copies=tuple(_uncopied(plan, rows, seen, ports)))


def _folders(found: Iterable[StoredObject], days: Mapping[str, date]) -> Iterator[tuple[str, tuple[str, Folder]]]:
    """The folders that hold a manifest, with their catalog, by backup id."""
    objects: dict[str, list[StoredObject]] = {}
    for stored in found:
        parts = stored.key.split("/")
        if len(parts) == _FOLDER_PARTS and parts[1] == "backups":
            objects.setdefault(parts[0], []).append(stored)
    for name, own in objects.items():
        for backup_id, folder in sorted_folders(name, own, days).items():
            if folder.has_manifest and _is_id(backup_id):
                yield backup_id, (name, folder)


def _is_id(text: str) -> bool:
    try:
        parse_backup_id(text)
    except UsageError:
        return False
    return True


def _begun(
    rows: Sequence[Attempt], folders: Mapping[str, tuple[str, Folder]], ports: RebuildPorts
) -> Iterator[tuple[str, Status]]:
    """The removals that were begun and not finished, as the audit has them."""
    for row in rows:
        lost = row.status.good and row.backup_id not in folders
        if lost and (to := removal_begun(row.backup_id, ports.ledger)) is not None:
            yield row.backup_id, to


def _copies(ports: RebuildPorts, catalog: str | None) -> Mapping[str, Copy]:
    return good_copies([copy for copy in ports.ledger.copies.list() if catalog in (None, copy.catalog)])


def _look(
    folders: Mapping[str, tuple[str, Folder]], rows: Mapping[str, Attempt], ports: RebuildPorts
) -> Iterator[Seen]:
    """Every backup in the store; the manifests that must be read are read side by side."""

    def one(item: tuple[str, Folder]) -> Seen:
        catalog, folder = item
        row = rows.get(folder.backup_id)
        hold = _hold(folder, ports) if row is None or row.hold is None else None
        if row is not None and (is_made_now(row, ports.dead) or (row.status.good and agrees(row, folder))):
            return Seen(catalog, folder, hold=hold)
        return replace(_read(catalog, folder, ports), hold=hold)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="rebuild") as pool:
        yield from pool.map(one, folders.values())


def _read(catalog: str, folder: Folder, ports: RebuildPorts) -> Seen:
    place = BackupPlace(catalog, folder.day, folder.backup_id)
    try:
        document = read_document(place, ports.store)
    except (VerificationError, NotFoundError) as error:
        return Seen(catalog, folder, problem=f"its manifest can not be read: {error.what} {error.do}".strip())
    found = document.manifest
    key = place.bundle(found.bundle.name)
    size = next((stored.size for stored in folder.objects if stored.key == key), None)
    if size != found.bundle.bytes:
        lies = "is missing" if size is None else f"has {size} bytes of {found.bundle.bytes}"
        return Seen(catalog, folder, problem=f"its bundle {ports.store.url}/{key} {lies}: it is no backup any more")
    row = replace(row_of(found, document.sha256, key, ports.clock()), seal_key=document.seal_key)
    shape = shape_of(found) if isinstance(found, StoredManifest) else None
    return Seen(catalog, folder, replace(row, expires_at=_expiry(found, row, ports)), shape=shape)


def _expiry(found: StoredManifest | Outline, row: Attempt, ports: RebuildPorts) -> datetime | None:
    rules = ports.rules(found.catalog)
    if rules is None or row.snapshot_at is None or row.finished_at is None:
        return None
    retention, timezone = rules
    return expiry(retention.of(found.type), at=row.snapshot_at, finished=row.finished_at, timezone=timezone)


def _hold(folder: Folder, ports: RebuildPorts) -> Hold | None:
    """The hold that lies beside the manifest; one that can not be read holds until somebody releases it."""
    if not folder.has_hold:
        return None
    key = BackupPlace(folder.pointers[0].partition("/")[0], folder.day, folder.backup_id).hold
    try:
        hold = replace(_UNKNOWN, until=read_hold(ports.store.get(key), f"{ports.store.url}/{key}"))
    except VerificationError:
        hold = _UNKNOWN
    except NotFoundError:
        return None
    return hold if hold.lasts(ports.clock()) else None


def _uncopied(plan: RebuildPlan, rows: Sequence[Attempt], seen: Sequence[Seen], ports: RebuildPorts) -> Iterator[Copy]:
    """The copies in the second store that have no row: present with the right size, and no more is known of them."""
    if ports.second is None:
        return
    known = {copy.backup_id for copy in ports.ledger.copies.list(store=ports.second.url)}
    after = {row.backup_id: row for row in rows if row.status.good}
    after |= {change.backup_id: change.after for change in plan.writes if change.after is not None}
    wanted = [row for backup_id, row in after.items() if backup_id not in known and row.status.good and row.file_path]
    if wanted:
        there = _there(ports.second.store, {row.catalog for row in wanted})
        for row in wanted:
            manifest = place_of(row).manifest
            if there.get(row.file_path or "") == row.file_size_bytes and manifest in there:
                yield _copy(row, ports.second.url, ports.clock())


def _there(store: Store, catalogs: Iterable[str]) -> Mapping[str, int]:
    """The sizes of what lies in a store of those catalogs; nothing when it does not answer, for it may be down."""
    try:
        return {found.key: found.size for name in catalogs for found in store.list(backups_prefix(name))}
    except BackupError:
        return {}


def _copy(row: Attempt, url: str, now: datetime) -> Copy:
    level = passed(Level.PRESENT, now)
    return Copy(
        backup_id=row.backup_id,
        catalog=row.catalog,
        store=url,
        status=CopyStatus.GOOD,
        at=row.started_at,
        finished_at=row.finished_at,
        bytes=row.file_size_bytes,
        sha256=row.sha256,
        verification_level=level.level,
        verified_at=level.at,
    )
