"""How an error ends a Dagster step: the ledger row closed, people alerted, and one clear failure in the event log."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from backup_pipeline.core.alerts import Delivery
from backup_pipeline.core.errors import BackupError, ExportFailedError, in_our_words
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.text import redact
from backup_pipeline.operations.attempts import Request, Work, running_attempt

EXIT_CODE = "exit code"
WHAT_TO_DO = "what to do"


@contextmanager
def attempt_of(request: Request, ports: Ports, log: dg.DagsterLogManager) -> Iterator[Work]:
    """`running_attempt` in a step: what comes out is a `Failure` that may be tried again where that can help."""

    def undelivered(delivery: Delivery) -> None:
        log.warning("Alert not delivered to %s: %s", delivery.channel, delivery.error)

    with told_as_failure(log, retried=True), running_attempt(request, ports, undelivered=undelivered) as work:
        yield work


@contextmanager
def told_as_failure(
    log: dg.DagsterLogManager, hide: Callable[[str], str] = redact, *, retried: bool = False
) -> Iterator[None]:
    """Whatever fails inside as one clear failure without secrets; nothing is tried again by itself unless `retried`.

    It has no chain of causes: Dagster writes every cause into its event log, and those are other people's words, which
    may hold a secret.
    """
    try:
        yield
    except dg.Failure:
        raise
    except BackupError as error:
        raise failure(error, hide, retried=retried) from None
    except Exception as error:  # noqa: BLE001  # told as a failure, with its traceback in the log
        log.info(hide("".join(traceback.format_exception(error))))
        raise failure(BackupError(in_our_words(error)), hide) from None


def failure(error: BackupError, hide: Callable[[str], str] = redact, *, retried: bool = True) -> dg.Failure:
    """The error as Dagster shows it: what failed, what to do, and each failed table."""
    metadata: dict[str, str | int] = {EXIT_CODE: error.exit_code}
    if error.do:
        metadata[WHAT_TO_DO] = hide(error.do)
    if isinstance(error, ExportFailedError):
        metadata |= {f"table {table}": hide(reason.what) for table, reason in error.failed.items()}
    return dg.Failure(description=hide(error.what), metadata=metadata, allow_retries=retried and error.transient)


def refuse_checks_alone(context: dg.AssetExecutionContext) -> None:
    """Raise a Failure for a run of checks without their assets: the UI offers it, but they look at what is made."""
    if not context.selected_asset_keys:
        message = "A check runs together with its asset. Materialize the asset."
        raise dg.Failure(message, allow_retries=False)
