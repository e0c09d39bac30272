"""What died without a word: its rows in the ledger are closed, and its runs in Dagster, which would stay STARTED."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import dagster as dg

from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.operations.orphans import close_orphans
from backup_pipeline.operations.restore_ends import close_abandoned
from backup_pipeline.wiring.ports import is_dead, is_dead_restore

_GONE = "The process that ran it is gone (killed, out of memory, or the machine is down). The ledger says what is left."
_ENDLESS = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def close_what_died(instance: dg.DagsterInstance, ports: Ports) -> Sequence[str]:
    """Close the rows of dead backups and restores, and the runs of Dagster that they belong to; what was closed.

    The rows come first: of a backup the store decides what it is, and its run then only follows.
    """
    attempts = close_orphans(ports, partial(is_dead, clock=ports.clock))
    restores = close_abandoned(ports, partial(is_dead_restore, clock=ports.clock))
    _end_runs(instance, {row.run_id for row in attempts} | {row.run_id for row in restores}, ports)
    return [attempt.backup_id for attempt in attempts] + [f"restore request {row.id}" for row in restores]


def _end_runs(instance: dg.DagsterInstance, dead: Collection[str | None], ports: Ports) -> None:
    for run in instance.get_runs(dg.RunsFilter(statuses=_ENDLESS)):
        if run.run_id not in dead and not _is_orphaned(run.run_id, ports):
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=_GONE)
        else:
            instance.report_run_failed(run, _GONE)


def _is_orphaned(run_id: str, ports: Ports) -> bool:
    """Whether the process of the run is gone, though its row was closed by somebody else."""
    owner = _owner_of(run_id, ports.ledger)
    return owner is not None and not ports.alive(owner)


def _owner_of(run_id: str, ledger: Ledger) -> Owner | None:
    attempt = ledger.of_run(run_id)
    if attempt is not None:
        return attempt.owner
    return next((row.owner for row in ledger.restores.list(run_id=run_id, limit=1)), None)
