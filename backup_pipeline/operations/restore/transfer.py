"""From a bundle into a target: planned by reading both, then fetched by range, compared, and written under a lock."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from backup_pipeline.core.errors import PreflightRefusedError, VerificationError, full_disk_explained
from backup_pipeline.core.layout import RESTORES, SCHEMA_PATH
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.names import MOST_SCHEMA, bounded, whole
from backup_pipeline.core.ports import (
    BytesMoved,
    Event,
    Formats,
    OpenBundle,
    Ports,
    Progress,
    RestoreTarget,
    StageStarted,
    Store,
    TargetSession,
)
from backup_pipeline.core.restore import (
    PackedFile,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
    TableReport,
    TableRestore,
)
from backup_pipeline.core.restore.columns import COPY_HEADER, COPY_TRAILER
from backup_pipeline.core.restore.dump import Dump, split_dump
from backup_pipeline.core.restore.plan import broken_remarks, plan
from backup_pipeline.core.restore.requests import check_confirmed, check_refusals
from backup_pipeline.core.restore.tables import TablesBasis, bases, chosen, wanted_names
from backup_pipeline.operations.browse import (
    WINDOW,
    OpenBackup,
    Ranges,
    ahead,
    check_unpinned,
    find_backup,
    opened_backup,
)

_OTHER = "Use another backup; `backup-pipeline verify` says what is damaged."
_SMALL = 256 << 10
_HEADERS = 4 << 10


class Fetching:
    """The bundle of a backup, read by ranges. `moved` counts the bytes that came from the store.

    VerificationError when a backup whose manifest nobody vouches for is not the one that the ledger knows.
    """

    def __init__(self, opened: OpenBackup[StoredManifest], ports: tuple[Store, Formats, Progress]) -> None:
        self._store, formats, progress = ports
        self._manifest = opened.manifest
        self._key, self._size = opened.key, opened.bundle.bytes
        check_unpinned(opened, self._store, formats, progress)
        self._progress = _CountedProgress(progress)
        self._window, self._ranges = _SMALL, self._windows(_SMALL)
        self._bundle: OpenBundle = formats.open_bundle(self._read, self._size)

    @property
    def moved(self) -> int:
        """The bytes that came from the store so far."""
        return self._progress.moved

    def dump(self) -> Dump | None:
        """The backup's DDL; None when it has none."""
        sha256 = self._manifest.entries.get(SCHEMA_PATH)
        if sha256 is None:
            return None
        data = whole(self._bundle.stream(SCHEMA_PATH), MOST_SCHEMA, f"{self._key}!{SCHEMA_PATH}")
        self._compare(SCHEMA_PATH, hashlib.sha256(data).hexdigest(), sha256)
        try:
            return split_dump(data.decode())
        except ValueError as error:
            message = f"{SCHEMA_PATH} of backup {self._manifest.backup_id} can not be read: {error}."
            raise VerificationError(message, do=_OTHER) from error

    def check_there(self, plan: RestorePlan) -> None:
        """VerificationError when the bundle lacks a member that the plan needs."""
        there = set(self._bundle.names())
        for file in (file for table in plan.tables for file in table.files):
            if file.path not in there:
                message = f"{self._key}!{file.path} is missing."
                raise VerificationError(message, do=_OTHER)

    def fetch(self, file: PackedFile, path: Path) -> None:
        """Write a member to `path`; VerificationError when it is not what the manifest says."""
        self._window = min(WINDOW, file.bytes + _HEADERS)
        self._ranges = self._windows(self._window)
        digest = hashlib.sha256()
        with path.open("wb") as out:
            for chunk in bounded(self._bundle.stream(file.path), file.bytes, f"{self._key}!{file.path}"):
                out.write(chunk)
                digest.update(chunk)
        self._compare(file.path, digest.hexdigest(), file.sha256)

    def _read(self, start: int, length: int) -> bytes:
        """No more than the window has: what a reader would like to have besides is another member's."""
        return self._ranges.some(start, min(length, self._window))

    def _windows(self, window: int) -> Ranges:
        return Ranges(self._store, self._key, self._size, self._progress, window=window)

    def _compare(self, path: str, seen: str, stated: str) -> None:
        if seen != stated:
            message = f"{self._key}!{path} has the SHA-256 {seen}; the manifest says {stated}."
            raise VerificationError(message, do=_OTHER)


class _CountedProgress:
    """Progress that is passed on, and the bytes in it counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.moved = 0

    def tell(self, event: Event) -> None:
        if isinstance(event, BytesMoved):
            self.moved += event.bytes
        self._progress.tell(event)


@contextmanager
def fetched(plan: RestorePlan, fetching: Fetching, spool: Path) -> Iterator[Callable[[PackedFile], Path]]:
    """Every file the plan needs, whole and compared, in a folder that goes when the context ends.

    Gives where each file lies. DiskFullError when there is no room.
    """
    with full_disk_explained(f"There is no room in {spool} for the backup's files ({plan.bytes:,} bytes)."):
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="restore-", dir=spool, ignore_cleanup_errors=True) as folder:
            files = [file for table in plan.tables for file in table.files]
            places = {file.path: Path(folder) / f"{number:05d}.parquet" for number, file in enumerate(files)}
            for file in files:
                fetching.fetch(file, places[file.path])
            yield lambda file: places[file.path]


def free_bytes(spool: Path) -> int:
    """The bytes free where `spool` is, or will be."""
    there = next(path for path in (spool, *spool.resolve().parents) if path.exists())
    return shutil.disk_usage(there).free


@dataclass(frozen=True)
class _Backup:
    """The backup at hand: what it says of itself, its DDL, and the way to its files."""

    manifest: StoredManifest
    dump: Dump | None
    fetching: Fetching


class _SafetyBackup:
    """The safety backup of a restore, made at most once; `backup_id` is None while there is none."""

    def __init__(self, plan: RestorePlan, safety: Callable[[], str] | None, progress: Progress) -> None:
        self._safety = safety if plan.safety_backup else None
        self._progress = progress
        self.backup_id: str | None = None

    def make(self) -> None:
        """Make it, where the plan wants one and nobody decided to do without."""
        if self._safety is not None:
            self._progress.tell(StageStarted("safety backup"))
            self.backup_id = self._safety()


Amend = Callable[[Dump | None], Dump | None]
"""Gives the definitions to restore with, in place of the backup's own."""


def as_they_are(dump: Dump | None) -> Dump | None:
    """The backup's own definitions."""
    return dump


def plan_restore(
    request: RestoreRequest, target: RestoreTarget, ports: Ports, *, amend: Amend = as_they_are
) -> RestorePlan:
    """What the restore would do, with every reason against it; reads only.

    NotFoundError without such a backup, or for a table that it does not have; VerificationError when what the plan is
    made of is damaged; TargetError when the target does not answer.
    """
    backup = _open(request, ports, amend)
    with target.session() as session:
        return _plan(request, backup, session, target.url, ports)


def run_restore(
    plan: RestorePlan,
    target: RestoreTarget,
    ports: Ports,
    *,
    safety: Callable[[], str] | None,
    amend: Amend = as_they_are,
) -> RestoreReport:
    """Carry out the plan, made anew under the lock: all of it, or the target is as it was.

    `safety` backs up what the plan may overwrite and gives the id of that backup; it is called when the plan says
    `safety_backup`, before the first change, while the tables are locked against everybody who writes: it holds exactly
    what is replaced. None is somebody's decision to do without.
    PreflightRefusedError when the plan, as it is under the lock, is refused, not confirmed, or not the one that was
    shown; LockedError when another restore runs there, or somebody keeps a table; VerificationError when a file is
    damaged: each is fetched and compared before anything is written.
    """
    request = replace(plan.request, backup_id=plan.backup_id)
    started = ports.clock()
    with target.session() as session:
        session.lock()
        backup = _open(request, ports, amend)
        plan = _same(plan, _plan(request, backup, session, target.url, ports))
        ports.progress.tell(StageStarted("fetch", plan.bytes))
        protection = _SafetyBackup(plan, safety, ports.progress)
        with fetched(plan, backup.fetching, ports.spool / RESTORES) as place:
            tables = session.restore(plan, lambda table: _rows(table, place, ports), ports.progress, protection.make)
        ports.progress.tell(StageStarted("statistics"))
        notes = session.analyze([table.target for table in plan.tables])
    seconds = (ports.clock() - started).total_seconds()
    return _report(plan, tables, (backup.fetching.moved, seconds), protection.backup_id, [*_unvalidated(plan), *notes])


def _unvalidated(plan: RestorePlan) -> Iterator[str]:
    """What the plan said of keys that rows break, for the report."""
    return (f"{remark.message} {remark.do}" for remark in broken_remarks(plan.broken))


def _same(shown: RestorePlan, plan: RestorePlan) -> RestorePlan:
    """The plan made anew, when it is what was shown; PreflightRefusedError when it says no, or does something else."""
    check_refusals(plan)
    check_confirmed(plan)
    if plan.digest != shown.digest:
        message = f"What the restore would do in {plan.database} is not what its plan showed: something changed there."
        raise PreflightRefusedError(message, do="Look at the plan again, then run the restore again.")
    return plan


def _open(request: RestoreRequest, ports: Ports, amend: Amend) -> _Backup:
    attempt = find_backup(request.backup_id, ports.ledger)
    opened = opened_backup(attempt, ports.store)
    fetching = Fetching(opened, (ports.store, ports.formats, ports.progress))
    return _Backup(opened.manifest, amend(fetching.dump()), fetching)


def _plan(request: RestoreRequest, backup: _Backup, session: TargetSession, url: str, ports: Ports) -> RestorePlan:
    names = wanted_names(chosen(backup.manifest, request), request, backup.dump)
    names |= {sequence.sequence for sequence in backup.manifest.sequences}
    facts = session.look(sorted(names))
    if more := bases(facts) - names:
        facts = session.look(sorted(names | more))
    planned = plan(TablesBasis(backup.manifest, backup.dump, facts, request), url, free_bytes(ports.spool / RESTORES))
    backup.fetching.check_there(planned)
    return planned


def _rows(table: TableRestore, place: Callable[[PackedFile], Path], ports: Ports) -> Iterator[bytes]:
    """The table's rows, file after file, made ready while the server takes those before."""
    return ahead(_texts(table, place, ports))


def _texts(table: TableRestore, place: Callable[[PackedFile], Path], ports: Ports) -> Iterator[bytes]:
    columns = [column.name for column in table.columns]
    binary = [column.pg_type for column in table.columns] if table.binary else None
    if binary:
        yield COPY_HEADER
    for file in table.files:
        yield from ports.formats.copy_rows(place(file), columns, binary)
    if binary:
        yield COPY_TRAILER


def _report(
    plan: RestorePlan,
    tables: Sequence[TableReport],
    cost: tuple[int, float],
    safety_backup_id: str | None,
    notes: Sequence[str],
) -> RestoreReport:
    fetched_bytes, seconds = cost
    return RestoreReport(
        backup_id=plan.backup_id,
        catalog=plan.catalog,
        snapshot_at=plan.snapshot_at,
        target=plan.target,
        database=plan.database,
        mode=plan.request.mode,
        tables=tuple(tables),
        bytes_fetched=fetched_bytes,
        seconds=round(seconds, 3),
        safety_backup_id=safety_backup_id,
        notes=tuple(notes),
    )
