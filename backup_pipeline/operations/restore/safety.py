"""Safety backup: the tables that a restore may change, as the target has them, into the store before it begins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import timedelta

from backup_pipeline.core.actor import Actor
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, CanceledError, ExportFailedError
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore.model import RestorePlan
from backup_pipeline.core.restore.requests import safety_catalog
from backup_pipeline.core.schedule import local_date
from backup_pipeline.operations.attempts import Request, Work, begin, end_failed
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.operations.leases import AttemptBeat, guarded, lease_of


@dataclass(frozen=True)
class SafetyRequest:
    """What to protect: the tables of `plan` that are there, because of restore request `number`, asked for by `actor`.

    `base` is the catalog of the tables, when it is known: what it keeps out of backups stays out of this one.
    """

    plan: RestorePlan
    number: int
    actor: Actor
    base: Catalog | None = None


@dataclass(frozen=True)
class SafetyMeans:
    """How a safety backup is made; the source of `ports` is the restore's target.

    `beating` does, for as long as its context lasts, what the heartbeat of the backup of that id does, so often.
    """

    ports: Ports
    owner: Owner
    beating: Callable[[str, AttemptBeat, timedelta], AbstractContextManager[object]]


def safety_backup(wanted: SafetyRequest, means: SafetyMeans) -> str:
    """Back the tables up as any selective backup is; its id, once the store gave the bundle back.

    Raises what a backup raises: then nothing may be restored. Its row in the ledger says so, and people are alerted.
    """
    ports = means.ports
    request = _asked(wanted, ports)
    attempt = begin(request, ports, means.owner)
    lease = lease_of(attempt, ports.ledger)
    work = Work(request, attempt, guarded(ports, lease))
    with means.beating(attempt.backup_id, AttemptBeat(lease, ports.ledger), lease.every):
        try:
            _export(work)
            bundle_attempt(work)
        except BackupError as error:
            end_failed(attempt, error, ports)
            raise
        except BaseException:
            end_failed(attempt, CanceledError("The restore that it was for was stopped."), ports)
            raise
    return attempt.backup_id


def _asked(wanted: SafetyRequest, ports: Ports) -> Request:
    """The selective backup that protects what is there now."""
    with ports.source.snapshot(ports.progress) as snapshot:
        database = snapshot.database()
    catalog = safety_catalog(wanted.plan.catalog, wanted.plan.tables, database, wanted.base)
    return Request(
        catalog=catalog,
        kind=Kind.SELECTIVE,
        tables=tuple(catalog.tables),
        day=local_date(ports.clock(), catalog.timezone),
        type=Trigger.MANUAL,
        actor=wanted.actor,
        reason=f"before restore {wanted.number}",
    )


def _export(work: Work) -> None:
    failed: dict[str, BackupError] = {}
    with closing(export_attempt(work)) as results:
        for result in results:
            if result.error is not None:
                failed[result.table] = result.error
    if failed:
        raise ExportFailedError(failed, len(work.request.tables))
