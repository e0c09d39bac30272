"""Safety backup: the tables that a restore may change, as the target has them, into the store before it begins."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from backup_pipeline.core.actor import Actor
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, ExportFailedError
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore.model import RestorePlan
from backup_pipeline.core.restore.requests import safety_catalog
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import parse_scope
from backup_pipeline.operations.attempts import Request, Work, running_attempt
from backup_pipeline.operations.backup import bundle_attempt, export_attempt


@dataclass(frozen=True)
class SafetyRequest:
    """What to protect: the tables of `plan` that are there, because of restore request `number`, asked for by `actor`.

    `base` is the catalog of the tables, when it is known: what it keeps out of backups stays out of this one.
    """

    plan: RestorePlan
    number: int
    actor: Actor
    base: Catalog | None = None


def safety_backup(wanted: SafetyRequest, ports: Ports) -> str:
    """Back the tables up as any selective backup is; its id, once the store gave the bundle back.

    The source of `ports` is the restore's target. Raises what a backup raises: then nothing may be restored. Its row in
    the ledger says so, and people are alerted.
    """
    request = _request(wanted, ports)
    with running_attempt(request, ports, stopped="The restore that it was for was stopped.") as work:
        _export(work)
        bundle_attempt(work)
    return work.attempt.backup_id


def _request(wanted: SafetyRequest, ports: Ports) -> Request:
    """The selective backup that protects what is there now."""
    with ports.source.snapshot(ports.progress) as snapshot:
        database = snapshot.database()
    scope = parse_scope(wanted.plan.catalog).safety
    catalog = safety_catalog(scope.catalog, wanted.plan.tables, database, wanted.base)
    return Request(
        catalog=catalog,
        kind=Kind.SELECTIVE,
        tables=tuple(catalog.tables),
        day=local_date(ports.clock(), catalog.timezone),
        type=Trigger.MANUAL,
        actor=wanted.actor,
        reason=f"before restore {wanted.number}",
        business=scope.business,
        purpose=scope.purpose,
    )


def _export(work: Work) -> None:
    failed: dict[str, BackupError] = {}
    with closing(export_attempt(work)) as results:
        for result in results:
            if result.error is not None:
                failed[result.table] = result.error
    if failed:
        raise ExportFailedError(failed, len(work.request.tables))
