"""How an error ends a Dagster step: the ledger row closed, people alerted, and one clear failure in the event log."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from backup_pipeline.core.errors import BackupError, CanceledError, ExportFailedError, in_our_words
from backup_pipeline.core.ledger import Attempt, Owner
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.secrets import redact
from backup_pipeline.ledger.leases import Heartbeat
from backup_pipeline.operations.attempts import Request, Work, begin, end_failed
from backup_pipeline.operations.backup import close_orphans
from backup_pipeline.operations.leases import AttemptBeat, guarded, lease_of
from backup_pipeline.operations.restore.requests import close_abandoned
from backup_pipeline.wiring.ports import is_dead, is_dead_restore, this_owner

EXIT_CODE = "exit code"
WHAT_TO_DO = "what to do"


@contextmanager
def attempt_of(request: Request, ports: Ports, log: dg.DagsterLogManager) -> Iterator[Work]:
    """The attempt of a run, begun or taken up, with the ports under its lease; any error ends it as `failed`.

    Its heart beats meanwhile. What comes out is a `Failure` without a chain of causes: Dagster writes every cause into
    its event log, and those are other people's words, which may hold a secret.
    """
    try:
        attempt = begin(request, ports, this_owner())
    except BackupError as error:
        raise failure(error) from None
    with _ended_when_it_fails(attempt, request, ports, log):
        lease = lease_of(attempt, ports.ledger)
        beat = AttemptBeat(lease, ports.ledger)
        with Heartbeat(beat, attempt.backup_id, clock=ports.clock, every=lease.every):
            yield Work(request, attempt, guarded(ports, lease))


@contextmanager
def _ended_when_it_fails(attempt: Attempt, request: Request, ports: Ports, log: dg.DagsterLogManager) -> Iterator[None]:
    try:
        yield
    except GeneratorExit:
        _end(attempt, CanceledError("The run was stopped."), request, ports, log)
        raise
    except (DagsterExecutionInterruptedError, KeyboardInterrupt):
        _end(attempt, CanceledError("The run was stopped by hand."), request, ports, log)
        raise
    except dg.Failure as error:
        _end(attempt, BackupError(error.description or "The step failed."), request, ports, log)
        raise
    except BackupError as error:
        _end(attempt, error, request, ports, log)
        raise failure(error) from None
    except Exception as error:  # noqa: BLE001  # told as a failure, with its traceback in the log
        unforeseen = BackupError(redact(in_our_words(error)))
        log.info(redact("".join(traceback.format_exception(error))))
        _end(attempt, unforeseen, request, ports, log)
        raise failure(unforeseen) from None


@contextmanager
def told_as_failure(log: dg.DagsterLogManager, hide: Callable[[str], str] = redact) -> Iterator[None]:
    """Whatever fails inside as one clear failure without secrets; nothing is tried again by itself."""
    try:
        yield
    except BackupError as error:
        hidden = BackupError(hide(error.what), do=hide(error.do))
        hidden.exit_code, hidden.transient = error.exit_code, False
        raise failure(hidden) from None
    except Exception as error:  # noqa: BLE001  # told as a failure, with its traceback in the log
        log.info(hide("".join(traceback.format_exception(error))))
        raise failure(BackupError(hide(in_our_words(error)))) from None


def failure(error: BackupError) -> dg.Failure:
    """The error as Dagster shows it: what failed, what to do, and each failed table."""
    metadata: dict[str, str | int] = {EXIT_CODE: error.exit_code}
    if error.do:
        metadata[WHAT_TO_DO] = redact(error.do)
    if isinstance(error, ExportFailedError):
        metadata |= {f"table {table}": redact(reason.what) for table, reason in error.failed.items()}
    return dg.Failure(description=redact(error.what), metadata=metadata, allow_retries=error.transient)


def refuse_checks_alone(context: dg.AssetExecutionContext) -> None:
    """Raise a Failure for a run of checks without their assets: the UI offers it, but they look at what is made."""
    if not context.selected_asset_keys:
        message = "A check runs together with its asset. Materialize the asset."
        raise dg.Failure(message, allow_retries=False)


def _end(attempt: Attempt, error: BackupError, request: Request, ports: Ports, log: dg.DagsterLogManager) -> None:
    for delivery in end_failed(attempt, error, ports, run_url=request.run_url):
        if delivery.error:
            log.warning("Alert not delivered to %s: %s", delivery.channel, delivery.error)


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
