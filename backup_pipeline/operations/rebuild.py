"""Rebuild: write into the ledger what the store's manifests say, as a plan has it; safe to stop, and to run again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial

from backup_pipeline.core.anomalies import shape_of
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.due import FULL, due_at_start
from backup_pipeline.core.errors import BackupError, NotFoundError, UsageError, VerificationError
from backup_pipeline.core.layout import BackupPlace, backups_prefix, split_key
from backup_pipeline.core.ledger import Attempt, AuditEvent, Hold, Status, read_hold
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.ports import Ports, Store, StoredObject
from backup_pipeline.core.rebuild import (
    Change,
    ChangeKind,
    KnownRows,
    RebuildPlan,
    Seen,
    agrees,
    good_copies,
    is_made_now,
    make_rebuild,
    row_of,
    with_dues,
)
from backup_pipeline.core.retention import expiry
from backup_pipeline.core.retention.prune import Folder, sorted_folders
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import NOBODY, Actor, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.attempts import is_dead
from backup_pipeline.operations.browse import place_of, read_document
from backup_pipeline.operations.retention.plan import removal_begun

_READERS = 8
_UNKNOWN = Hold(NOBODY, "its hold.json is in the store; the ledger that knew who held it, and why, was lost")


@dataclass(frozen=True)
class RebuildRequest:
    """What is rebuilt, and by whom: a `scope`, its businesses too, or all that lies in the store.

    `catalogs` are those that are declared: they say when a backup expires, and which due time it was for. `from_second`
    says that the store which is read is the second one: no more is concluded of it than what it holds. `seals` and
    `accepted` are as in `KnownRows`.
    """

    actor: Actor
    scope: Scope | None = None
    catalogs: Mapping[str, Catalog] = field(default_factory=dict)
    from_second: bool = False
    seals: bool = False
    accepted: frozenset[str] = frozenset()

    def includes(self, scope: Scope) -> bool:
        """Whether backups of `scope` are among what is rebuilt."""
        own = self.scope
        return own is None or scope == own or (own.business is None and replace(scope, business=None) == own)

    def due(self, row: Attempt) -> datetime | None:
        """The due time that a full backup of its own day was for."""
        known = self.catalogs.get(row.scope.catalog) if row.scope == Scope(row.scope.catalog) else None
        whole = row.kind == FULL and known and row.partition_date == local_date(row.started_at, known.timezone)
        return due_at_start(known, row.started_at) if known and whole else None


def plan_rebuild(request: RebuildRequest, ports: Ports) -> RebuildPlan:
    """What a rebuild would do now, of one catalog or of all that lie in the store; reads only.

    The store is listed first: a backup that is made meanwhile has its row before its manifest. LedgerError or
    StoreError when one of the two can not be read.
    """
    objects = tuple(ports.store.list(f"{request.scope.folder}/" if request.scope else ""))
    rows = [row for row in ports.ledger.list() if request.includes(row.scope)]
    folders = dict(_folders(objects, {row.backup_id: row.partition_date for row in rows}))
    dead = partial(is_dead, ports=ports)
    known = KnownRows(
        dict(_begun(rows, folders, ports)),
        _copies(request, ports),
        dead,
        whole=not request.from_second,
        seals=request.seals,
        accepted=request.accepted,
    )
    seen = tuple(_look(folders, {row.backup_id: row for row in rows}, request, ports))
    plan = make_rebuild(ports.store.url, rows, seen, known)
    changes = with_dues(plan.changes, rows, request.due)
    return replace(plan, changes=changes, copies=tuple(_uncopied(plan, rows, seen, ports)))


def _folders(
    stored_objects: Iterable[StoredObject], days: Mapping[str, date]
) -> Iterator[tuple[str, tuple[Scope, Folder]]]:
    """The folders that hold a manifest, with what they are backups of, by backup id."""
    objects: dict[Scope, list[StoredObject]] = {}
    for stored in stored_objects:
        scope, rest = split_key(stored.key) or (None, "")
        if scope is not None and rest.startswith("backups/"):
            objects.setdefault(scope, []).append(stored)
    for scope, own in objects.items():
        for backup_id, folder in sorted_folders(scope, own, days).items():
            if folder.has_manifest and _is_id(backup_id):
                yield backup_id, (scope, folder)


def _is_id(text: str) -> bool:
    try:
        parse_backup_id(text)
    except UsageError:
        return False
    return True


def _begun(
    rows: Sequence[Attempt], folders: Mapping[str, tuple[Scope, Folder]], ports: Ports
) -> Iterator[tuple[str, Status]]:
    """The removals that were begun and not finished, as the audit has them."""
    for row in rows:
        lost = row.status.good and row.backup_id not in folders
        if lost and (to := removal_begun(row.backup_id, ports.ledger)) is not None:
            yield row.backup_id, to


def _copies(request: RebuildRequest, ports: Ports) -> Mapping[str, Copy]:
    return good_copies([copy for copy in ports.ledger.copies.list() if request.includes(copy.scope)])


def _look(
    folders: Mapping[str, tuple[Scope, Folder]], rows: Mapping[str, Attempt], request: RebuildRequest, ports: Ports
) -> Iterator[Seen]:
    """Every backup in the store; the manifests that must be read are read side by side."""

    def seen(item: tuple[Scope, Folder]) -> Seen:
        scope, folder = item
        row = rows.get(folder.backup_id)
        hold = _hold(scope, folder, ports) if row is None or row.hold is None else None
        if row is not None and (
            is_made_now(row, partial(is_dead, ports=ports)) or (row.status.good and agrees(row, folder))
        ):
            return Seen(scope, folder, hold=hold)
        return replace(_read(scope, folder, request, ports), hold=hold)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="rebuild") as pool:
        yield from pool.map(seen, folders.values())


def _read(scope: Scope, folder: Folder, request: RebuildRequest, ports: Ports) -> Seen:
    place = BackupPlace(scope, folder.day, folder.backup_id)
    try:
        document = read_document(place, ports.store)
    except (VerificationError, NotFoundError) as error:
        return Seen(scope, folder, problem=f"its manifest can not be read: {error.what} {error.do}".strip())
    manifest = document.manifest
    key = place.bundle(manifest.bundle.name)
    size = next((stored.size for stored in folder.objects if stored.key == key), None)
    if size != manifest.bundle.bytes:
        lies = "is missing" if size is None else f"has {size} bytes of {manifest.bundle.bytes}"
        return Seen(scope, folder, problem=f"its bundle {ports.store.url}/{key} {lies}: it is no backup any more")
    row = replace(row_of(manifest, document.sha256, key, ports.clock()), seal_key=document.seal_key)
    shape = shape_of(manifest) if isinstance(manifest, StoredManifest) else None
    return Seen(scope, folder, replace(row, expires_at=_expiry(manifest, row, request)), shape=shape)


def _expiry(manifest: StoredManifest | Outline, row: Attempt, request: RebuildRequest) -> datetime | None:
    known = request.catalogs.get(manifest.scope.catalog)
    if known is None or row.snapshot_at is None or row.finished_at is None:
        return None
    rule = known.retention_of(manifest.scope).of(manifest.type)
    return expiry(rule, at=row.snapshot_at, finished=row.finished_at, timezone=known.timezone)


def _hold(scope: Scope, folder: Folder, ports: Ports) -> Hold | None:
    """The hold that lies beside the manifest; one that can not be read holds until somebody releases it."""
    if not folder.has_hold:
        return None
    key = BackupPlace(scope, folder.day, folder.backup_id).hold
    try:
        hold = replace(_UNKNOWN, until=read_hold(ports.store.get(key), f"{ports.store.url}/{key}"))
    except VerificationError:
        hold = _UNKNOWN
    except NotFoundError:
        return None
    return hold if hold.lasts(ports.clock()) else None


def _uncopied(plan: RebuildPlan, rows: Sequence[Attempt], seen: Sequence[Seen], ports: Ports) -> Iterator[Copy]:
    """The copies in the second store that have no row: present with the right size, and no more is known of them."""
    if ports.second is None:
        return
    known = {copy.backup_id for copy in ports.ledger.copies.list(store=ports.second.url)}
    after = {row.backup_id: row for row in rows if row.status.good}
    after |= {change.backup_id: change.after for change in plan.writes if change.after is not None}
    wanted = [row for backup_id, row in after.items() if backup_id not in known and row.status.good and row.file_path]
    if wanted:
        there = _there(ports.second.store, {row.scope for row in wanted})
        for row in wanted:
            manifest = place_of(row).manifest
            if there.get(row.file_path or "") == row.file_size_bytes and manifest in there:
                yield _copy(row, ports.second.url, ports.clock())


def _there(store: Store, scopes: Iterable[Scope]) -> Mapping[str, int]:
    """The sizes of what lies in a store of those scopes; nothing when it does not answer, for it may be down."""
    try:
        return {stored.key: stored.size for scope in scopes for stored in store.list(backups_prefix(scope))}
    except BackupError:
        return {}


def _copy(row: Attempt, url: str, now: datetime) -> Copy:
    return Copy(
        backup_id=row.backup_id,
        scope=row.scope,
        store=url,
        status=CopyStatus.GOOD,
        at=row.started_at,
        finished_at=row.finished_at,
        bytes=row.file_size_bytes,
        sha256=row.sha256,
        verification=Verification(Level.PRESENT, now),
    )


_AT_ONCE = 200


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild did: the changes that were written, those left alone because the row moved meanwhile, copies."""

    plan: RebuildPlan
    written: tuple[Change, ...]
    moved: tuple[Change, ...]
    copies: int

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "written": [change.backup_id for change in self.written],
            "moved": [change.backup_id for change in self.moved],
            "copies": self.copies,
        }


def rebuild(plan: RebuildPlan, request: RebuildRequest, ports: Ports) -> RebuildReport:
    """Carry out the plan. Each row is looked at once more: one that somebody changed since the plan is left alone.

    Rows and the audit of them are written together, so that a rebuild that is stopped leaves whole rows; the next one
    does the rest.
    """
    written: list[Change] = []
    moved: list[Change] = []
    for batch in _batches(plan.writes):
        still = [change for change in batch if _is_still_so(change, ports)]
        moved += [change for change in batch if change not in still]
        events = [_event(change, request, ports) for change in still]
        ports.ledger.adopt([change.after for change in still if change.after is not None], events)
        for change in still:
            if change.shape is not None and ports.ledger.shapes.get(change.backup_id) is None:
                ports.ledger.shapes.put(change.shape)
        written += still
    for copy in plan.copies:
        ports.ledger.copies.put(copy)
    report = RebuildReport(plan, tuple(written), tuple(moved), len(plan.copies))
    ports.ledger.audit(AuditEvent(ports.clock(), request.actor, "rebuild", None, _in_short(report)))
    return report


def _batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    for first in range(0, len(changes), _AT_ONCE):
        yield changes[first : first + _AT_ONCE]


def _is_still_so(change: Change, ports: Ports) -> bool:
    if ports.ledger.get(change.backup_id) != change.before:
        return False
    if change.kind is not ChangeKind.GONE or change.before is None:
        return True
    return ports.store.head(place_of(change.before).manifest) is None


def _event(change: Change, request: RebuildRequest, ports: Ports) -> AuditEvent:
    before = change.before.status.value if change.before else "no row"
    after = change.after.status.value if change.after else before
    detail = {"did": change.kind.value, "why": change.reason, "before": before, "after": after}
    return AuditEvent(ports.clock(), request.actor, "rebuild", change.backup_id, detail)


def _in_short(report: RebuildReport) -> dict[str, object]:
    counts = {kind.value: sum(change.kind is kind for change in report.written) for kind in ChangeKind}
    written = {name: count for name, count in counts.items() if count}
    problems = [f"{change.backup_id}: {change.reason}" for change in report.plan.problems]
    return {"store": report.plan.store, **written, "copies": report.copies, "problems": problems}
