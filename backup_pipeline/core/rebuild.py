"""The plan of a rebuild: where ledger and store do not agree, and how that is settled, the store being right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from backup_pipeline.core.anomalies import Shape
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Attempt, Hold, Status
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.retention.prune import Folder
from backup_pipeline.core.scope import NOBODY, Scope, parse_actor
from backup_pipeline.core.verification import Level, Verification

_COMPARED = ("file_name", "file_path", "file_size_bytes", "sha256", "manifest_sha256", "record_count")
_UNVOUCHED = "nothing vouches for it, and whoever can write to the store could have put it there: `verify` it"
_NO_SEAL = "it has no seal, and the ledger does not know it: whoever can write to the store could have put it there"
_CONTRADICTION = (
    "ledger and manifest contradict each other ({}): somebody changed the store, or the ledger is another store's. "
    "Nothing is changed"
)


class ChangeKind(StrEnum):
    """What a rebuild does about a backup: a PROBLEM it only tells."""

    ADD = "add"
    CORRECT = "correct"
    HOLD = "hold"
    GONE = "gone"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Seen:
    """A backup as the store shows it: its folder, the row its manifest makes, and a hold that lies beside it.

    Without a `row` its manifest was not read, because the ledger's row agrees with what lies there, or, where there is
    a `problem`, could not be; `shape` is None where no key here opens the manifest.
    """

    scope: Scope
    folder: Folder
    row: Attempt | None = None
    hold: Hold | None = None
    problem: str = ""
    shape: Shape | None = None


@dataclass(frozen=True)
class Change:
    """One row: what is done, why, the row as it was, and as it is to be. The last two are None where there is none."""

    kind: ChangeKind
    backup_id: str
    scope: Scope
    reason: str
    before: Attempt | None = None
    after: Attempt | None = None
    shape: Shape | None = None

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "kind": self.kind.value,
            "backup_id": self.backup_id,
            "catalog": str(self.scope),
            "reason": self.reason,
            "status_before": self.before.status.value if self.before else None,
            "status_after": self.after.status.value if self.after else None,
        }


@dataclass(frozen=True)
class RebuildPlan:
    """What a rebuild from `store` would do. Nothing of it is done yet. `agree`: so many backups need nothing.

    `copies`: rows of `backup_copies` for what lies in the second store.
    """

    store: str
    changes: tuple[Change, ...]
    copies: tuple[Copy, ...] = ()
    agree: int = 0

    @property
    def writes(self) -> tuple[Change, ...]:
        """The rows that are written."""
        return tuple(change for change in self.changes if change.after is not None)

    @property
    def problems(self) -> tuple[Change, ...]:
        """What a rebuild can not settle."""
        return tuple(change for change in self.changes if change.kind is ChangeKind.PROBLEM)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.writes and not self.copies

    def as_json(self) -> dict[str, object]:
        """The plan as JSON."""
        return {
            "store": self.store,
            "changes": [change.as_json() for change in self.changes],
            "copies": [{"backup_id": copy.backup_id, "store": copy.store} for copy in self.copies],
            "agree": self.agree,
        }


@dataclass(frozen=True)
class KnownRows:
    """What else the plan is made with, by backup id: removals that were begun, good copies elsewhere, dead owners.

    `whole` says whether the store that is read is the one that every row's backup should lie in; `seals` whether seals
    are checked here: one that is not right was a problem before. `accepted` are the backups whose manifest a person
    takes for right, whatever the ledger says, or although nothing vouches for it.
    """

    begun: Mapping[str, Status] = field(default_factory=dict)
    copies: Mapping[str, Copy] = field(default_factory=dict)
    dead: Callable[[Attempt], bool] = lambda _: False
    whole: bool = True
    seals: bool = False
    accepted: frozenset[str] = frozenset()


def agrees(row: Attempt, folder: Folder) -> bool:
    """Whether a good row needs no look at the manifest: its bundle lies there with its size, and its rows are known."""
    bundled = any((stored.key, stored.size) == (row.file_path, row.file_size_bytes) for stored in folder.objects)
    return bundled and row.record_count is not None


def is_made_now(row: Attempt, dead: Callable[[Attempt], bool]) -> bool:
    """Whether somebody makes the backup at this moment."""
    return row.status is Status.RUNNING and not dead(row)


def make_rebuild(store: str, rows: Sequence[Attempt], seen: Sequence[Seen], known: KnownRows) -> RebuildPlan:
    """The plan of making the ledger, whose rows of any status are `rows`, what the store is."""
    before = {row.backup_id: row for row in rows}
    settled = [(manifest, _settled(before.get(manifest.folder.backup_id), manifest, known)) for manifest in seen]
    lost = _lost(rows, seen, known) if known.whole else ()
    changes = [*(change for _, change in settled if change is not None), *lost]
    changes.sort(key=lambda change: (str(change.scope), change.backup_id))
    return RebuildPlan(store, tuple(changes), agree=sum(change is None for _, change in settled))


def _settled(before: Attempt | None, seen: Seen, known: KnownRows) -> Change | None:
    """What is done about a backup whose manifest is in the store; None where its row agrees."""
    backup_id = seen.folder.backup_id
    if before is not None and is_made_now(before, known.dead):
        return None
    if problem := seen.problem or _refused(before, seen, known):
        return Change(ChangeKind.PROBLEM, backup_id, seen.scope, problem, before)
    if before is None:
        after = _held(seen.row, seen.hold) if seen.row else None
        return Change(ChangeKind.ADD, backup_id, seen.scope, _why_added(seen, known), None, after, seen.shape)
    if reason := _why_corrected(before, seen.row):
        return Change(ChangeKind.CORRECT, backup_id, seen.scope, reason, before, _joined(before, seen), seen.shape)
    if seen.hold is not None and before.hold is None:
        reason = "its hold.json is in the store, and the ledger does not know of a hold"
        return Change(ChangeKind.HOLD, backup_id, seen.scope, reason, before, _held(before, seen.hold))
    return None


def _refused(before: Attempt | None, seen: Seen, known: KnownRows) -> str:
    """Why the store must not have the last word about a backup; nothing where it may, or a person said so."""
    if seen.row is None or seen.folder.backup_id in known.accepted:
        return ""
    do = f"If you know that it is right: `backup-pipeline rebuild --accept {seen.folder.backup_id} --confirm`"
    if before is not None and (differing := _contradictions(before, seen.row)):
        return f"{_CONTRADICTION.format(', '.join(differing))}. {do}"
    vouched = before is not None and before.sha256 is not None
    return f"{_NO_SEAL}. {do}" if known.seals and seen.row.seal_key is None and not vouched else ""


def _contradictions(before: Attempt, stored: Attempt) -> list[str]:
    """What both know, and do not say alike. Names and places count too: they say which bytes are meant."""
    pairs = ((name, getattr(before, name), getattr(stored, name)) for name in _COMPARED)
    return [name for name, ours, theirs in pairs if None not in {ours, theirs} and ours != theirs]


def _why_added(seen: Seen, known: KnownRows) -> str:
    held = "; it is held" if seen.hold else ""
    closed = "; no key here opens its manifest, so its rows are not counted" if seen.shape is None else ""
    sealed = known.seals and seen.row is not None and seen.row.seal_key is not None
    vouched = f"its seal is right (key {seen.row.seal_key})" if sealed and seen.row else _UNVOUCHED
    return f"its manifest is in the store, and it has no row{held}{closed}; {vouched}"


def _why_corrected(before: Attempt, stored: Attempt | None) -> str:
    """What the manifest says otherwise than the row; nothing where they agree, or the manifest was not read."""
    if stored is None:
        return ""
    if not before.status.good:
        vouched = "" if before.sha256 is not None else f"; {_UNVOUCHED}"
        return f"the ledger says {before.status}, and its manifest is in the store{vouched}"
    pairs = ((name, getattr(before, name), getattr(stored, name)) for name in _COMPARED)
    differing = [name for name, ours, theirs in pairs if theirs is not None and ours != theirs]
    return f"the row does not say what the manifest says: {', '.join(differing)}" if differing else ""


def _joined(before: Attempt, seen: Seen) -> Attempt:
    """The row as the manifest has it, with what only the ledger knew: who runs it, its due time, its hold."""
    stored = seen.row
    if stored is None:
        return before
    kept = ("created_at", "owner", "heartbeat_at", "tables_wanted", "due_at", "hold")
    kept_values = {name: getattr(before, name) for name in kept}
    same = before.sha256 is not None and not _contradictions(before, stored)
    if before.status.good and same:  # a verification and the warnings of a good row are as true as before
        kept_values |= {name: getattr(before, name) for name in ("status", "verification", "warnings")}
    if seen.shape is None:  # an outline names nobody
        kept_values |= {"actor": before.actor, "reason": before.reason, "table_counts": before.table_counts}
        kept_values |= {"table_bytes": before.table_bytes, "record_count": before.record_count}
    return _held(replace(stored, **kept_values), seen.hold)


def _held(row: Attempt, hold: Hold | None) -> Attempt:
    if hold is None or row.hold is not None:
        return row
    return replace(row, hold=hold)


def _lost(rows: Sequence[Attempt], seen: Sequence[Seen], known: KnownRows) -> Iterator[Change]:
    """What becomes of good rows whose manifest is not in the store."""
    present = {manifest.folder.backup_id for manifest in seen}
    scopes = {backup.scope for backup in seen}
    for row in rows:
        if row.status.good and row.kind.bundled and row.backup_id not in present:
            yield _loss(row, known, any_left=row.scope in scopes)


def _loss(row: Attempt, known: KnownRows, *, any_left: bool) -> Change:
    problem = ""
    if row.backup_id in known.begun:
        problem = "its removal was begun and not finished: `backup-pipeline prune --confirm` finishes it"
    elif row.backup_id in known.copies:
        where = known.copies[row.backup_id].store
        problem = f"it is not in the store, but its copy in {where} is good: use it with --store second"
    elif not any_left:
        problem = (
            f"no backup of {row.scope} at all is in the store: is BACKUP_STORE the right one? Nothing is changed."
            " If they are lost, `backup-pipeline delete` each of them"
        )
    if problem:
        return Change(ChangeKind.PROBLEM, row.backup_id, row.scope, problem, row)
    reason = f"the ledger says {row.status}, and it has no manifest in the store: somebody else removed it"
    after = replace(row, status=Status.DELETED, error_message=GONE_MESSAGE)
    return Change(ChangeKind.GONE, row.backup_id, row.scope, reason, row, after)


GONE_MESSAGE = "It was not in the store any more when the ledger was rebuilt; nobody removed it with this program."
"""What the row of a lost backup says."""


def good_copies(copies: Sequence[Copy]) -> Mapping[str, Copy]:
    """The copies that are good, by backup id."""
    return {copy.backup_id: copy for copy in copies if copy.good and copy.status is CopyStatus.GOOD}


def with_dues(
    changes: Sequence[Change], rows: Sequence[Attempt], due_of: Callable[[Attempt], datetime | None]
) -> tuple[Change, ...]:
    """The changes, the rows that are added with the due times they were for: one row a due time, the first that began.

    Without them the schedule would take for missed what was made.
    """
    taken = {(row.scope, row.due_at) for row in rows}
    dated = []
    for change in sorted(changes, key=lambda change: (str(change.scope), change.backup_id)):
        due = due_of(change.after) if change.kind is ChangeKind.ADD and change.after is not None else None
        if due is not None and change.after is not None and (change.scope, due) not in taken:
            taken.add((change.scope, due))
            dated.append(replace(change, after=replace(change.after, due_at=due)))
        else:
            dated.append(change)
    return tuple(dated)


UNCOUNTED = "Its manifest is encrypted, and no key here opens it: its rows are not counted in the ledger."


def row_of(document: StoredManifest | Outline, sha256: str, key: str, now: datetime) -> Attempt:
    """The row of a backup whose manifest is `found`, of the SHA-256 `sha256`, and whose bundle lies at `key` `now`.

    Nobody knows any more how deep it was verified: it says level 0, present.
    """
    return Attempt(
        backup_id=document.backup_id,
        scope=document.scope,
        kind=document.kind,
        type=document.type,
        status=Status(document.status),
        partition_date=document.partition_date,
        created_at=document.started_at,
        started_at=document.started_at,
        finished_at=document.finished_at,
        late=document.late,
        run_id=document.run_id,
        consistent=document.consistent,
        file_name=document.bundle.name,
        file_path=key,
        file_size_bytes=document.bundle.bytes,
        sha256=document.bundle.sha256,
        manifest_sha256=sha256,
        verification=Verification(Level.PRESENT, now),
        **(_read(document) if isinstance(document, StoredManifest) else _sealed(document)),
    )


def _read(manifest: StoredManifest) -> dict[str, Any]:
    return {
        "actor": parse_actor(manifest.created_by),
        "reason": manifest.reason,
        "snapshot_at": manifest.snapshot.taken_at,
        "record_count": manifest.totals.rows,
        "table_counts": {table.name: table.row_count for table in manifest.tables},
        "table_bytes": {table.name: table.bytes for table in manifest.tables},
        "warnings": manifest.warnings,
        "goes_on_from": manifest.chain.previous if manifest.chain else None,
    }


def _sealed(outline: Outline) -> dict[str, Any]:
    return {"actor": NOBODY, "snapshot_at": outline.snapshot_at, "warnings": (UNCOUNTED,)}
