"""How an error ends a Dagster step: the ledger row closed, people alerted, and one clear failure in the event log."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from backup_pipeline.core.errors import BackupError, CanceledError, ExportFailedError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.secrets import redact
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.ledger.heartbeat import Heartbeat
from backup_pipeline.operations.attempts import Request, begin, end_failed
from backup_pipeline.operations.lease import AttemptBeat, lease_of
from backup_pipeline.operations.lease_guard import guarded
from backup_pipeline.wiring.ports import this_owner

EXIT_CODE = "exit code"
WHAT_TO_DO = "what to do"


@contextmanager
def attempt_of(request: Request, ports: Ports, log: dg.DagsterLogManager) -> Iterator[tuple[Attempt, Ports]]:
    """The attempt of a run, begun or taken up, and the ports under its lease; any error ends it as `failed`.

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
            yield attempt, guarded(ports, lease)


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
    except Exception as error:  # noqa: BLE001  # told as a failure, with its traceback at debug level
        unforeseen = BackupError(redact(in_our_words(error)))
        log.debug(redact("".join(traceback.format_exception(error))))
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
    except Exception as error:  # noqa: BLE001  # told as a failure, with its traceback at debug level
        log.debug(hide("".join(traceback.format_exception(error))))
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
