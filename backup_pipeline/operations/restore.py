"""Restore: rows of a backup back into a database. First a plan that only reads, then one transaction or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backup_pipeline.core.errors import PreflightRefusedError
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import RestorePorts, RestoreTarget, TargetSession
from backup_pipeline.core.progress import Progress, StageStarted
from backup_pipeline.core.restore_binary import COPY_HEADER, COPY_TRAILER
from backup_pipeline.core.restore_broken import broken_remarks
from backup_pipeline.core.restore_entries import Dump
from backup_pipeline.core.restore_plan import plan
from backup_pipeline.core.restore_selection import bases, chosen, wanted_names
from backup_pipeline.core.restore_tables import Basis
from backup_pipeline.core.restoring import (
    PackedFile,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
    TableReport,
    TableRestore,
)
from backup_pipeline.operations.ahead import ahead
from backup_pipeline.operations.browse import find_backup, opened_backup
from backup_pipeline.operations.restore_fetch import Fetching, fetched, free_bytes


@dataclass(frozen=True)
class _Backup:
    """The backup at hand: what it says of itself, its DDL, and the way to its files."""

    manifest: StoredManifest
    dump: Dump | None
    fetching: Fetching


class _Safety:
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
    request: RestoreRequest, target: RestoreTarget, ports: RestorePorts, *, amend: Amend = as_they_are
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
    ports: RestorePorts,
    *,
    safety: Callable[[], str] | None,
    amend: Amend = as_they_are,
) -> RestoreReport:
    """Carry out the plan, made anew under the lock: all of it, or the target is as it was.

    `safety` backs up what the plan may overwrite and gives the id of that backup; it is called when the plan says
    `safety_backup`, before the first change, while the tables are locked against everybody who writes: it holds exactly
    what is replaced. None is somebody's decision to do without.
    PreflightRefusedError when the plan is refused or not confirmed; LockedError when another restore runs there, or
    somebody keeps a table; VerificationError when a file is damaged: each is fetched and compared before anything is
    written.
    """
    check_allowed(plan)
    request = replace(plan.request, backup_id=plan.backup_id)
    started = ports.clock()
    with target.session() as session:
        session.lock()
        backup = _open(request, ports, amend)
        plan = _same(plan, _plan(request, backup, session, target.url, ports))
        ports.progress.tell(StageStarted("fetch", plan.bytes))
        saved = _Safety(plan, safety, ports.progress)
        with fetched(plan, backup.fetching, ports.spool) as place:
            tables = session.restore(plan, lambda table: _rows(table, place, ports), ports.progress, saved.make)
        ports.progress.tell(StageStarted("statistics"))
        notes = session.analyze([table.target for table in plan.tables])
    seconds = (ports.clock() - started).total_seconds()
    return _report(plan, tables, (backup.fetching.moved, seconds), saved.backup_id, [*_unvalidated(plan), *notes])


def _unvalidated(plan: RestorePlan) -> Iterator[str]:
    """What the plan said of keys that rows break, for the report."""
    return (f"{remark.message} {remark.do}" for remark in broken_remarks(plan.broken))


def check_allowed(plan: RestorePlan) -> None:
    """PreflightRefusedError when the plan says no, or waits for a confirmation."""
    if plan.refused:
        first, more = plan.refusals[0], len(plan.refusals) - 1
        also = f" ({more} more {'reason' if more == 1 else 'reasons'}: see the plan)" if more else ""
        message = f"The restore into {plan.database} is refused: {first.message}{also}"
        raise PreflightRefusedError(message, do=first.do)
    if not plan.confirmed:
        typed = f"{plan.request.confirm!r} was given" if plan.request.confirm else "nothing was"
        message = f"The restore changes rows that are in {plan.database} now: its name must be typed, and {typed}."
        raise PreflightRefusedError(message, do=f"Look at the plan; then confirm with --confirm {plan.confirm_name}.")


def _same(shown: RestorePlan, plan: RestorePlan) -> RestorePlan:
    """The plan made anew, when it is what was shown; PreflightRefusedError when it says no, or does something else."""
    check_allowed(plan)
    if plan.digest != shown.digest:
        message = f"What the restore would do in {plan.database} is not what its plan showed: something changed there."
        raise PreflightRefusedError(message, do="Look at the plan again, then run the restore again.")
    return plan


def _open(request: RestoreRequest, ports: RestorePorts, amend: Amend) -> _Backup:
    attempt = find_backup(request.backup_id, ports.ledger)
    opened = opened_backup(attempt, ports.store)
    fetching = Fetching(opened, (ports.store, ports.formats, ports.progress))
    return _Backup(opened.manifest, amend(fetching.dump()), fetching)


def _plan(
    request: RestoreRequest, backup: _Backup, session: TargetSession, url: str, ports: RestorePorts
) -> RestorePlan:
    names = wanted_names(chosen(backup.manifest, request), request, backup.dump)
    names |= {found.sequence for found in backup.manifest.sequences}
    facts = session.look(sorted(names))
    if more := bases(facts) - names:
        facts = session.look(sorted(names | more))
    made = plan(Basis(backup.manifest, backup.dump, facts, request), url, free_bytes(ports.spool))
    backup.fetching.check_there(made)
    return made


def _rows(table: TableRestore, place: Callable[[PackedFile], Path], ports: RestorePorts) -> Iterator[bytes]:
    """The table's rows, file after file, made ready while the server takes those before."""
    return ahead(_texts(table, place, ports))


def _texts(table: TableRestore, place: Callable[[PackedFile], Path], ports: RestorePorts) -> Iterator[bytes]:
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
    saved: str | None,
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
        safety_backup_id=saved,
        notes=tuple(notes),
    )
