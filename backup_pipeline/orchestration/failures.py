"""How an error ends a Dagster step: the ledger row closed, people alerted, and one clear failure in the event log."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from backup_pipeline.core.alerts import Delivery
from backup_pipeline.core.errors import BackupError, ExportFailedError, in_our_words
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.text import redact
from backup_pipeline.operations.attempts import Request, Work, running_attempt
from backup_pipeline.orchestration.internals import DagsterUserCodeProcessError, SerializableErrorInfo

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


class StepFailedError(DagsterUserCodeProcessError, dg.Failure):
    """A failure of which Dagster shows our words alone: what failed, and what to do.

    Of every exception it writes the stack, which is its own way to the step and ours to the error, and the UI shows
    that below the message. Only of an error that comes from another process does it take the account that comes along.
    """

    def __init__(self, error: BackupError, metadata: Mapping[str, str | int], *, allow_retries: bool) -> None:
        account = f"{error.what}\nWhat to do: {error.do}\n" if error.do else f"{error.what}\n"
        infos = [SerializableErrorInfo(account, [], None)]
        super().__init__(  # type: ignore[no-untyped-call]  # Dagster's own
            error.what, metadata, allow_retries, user_code_process_error_infos=infos
        )


def failure(error: BackupError, hide: Callable[[str], str] = redact, *, retried: bool = True) -> dg.Failure:
    """The error as Dagster shows it: what failed, what to do, and each failed table."""
    metadata: dict[str, str | int] = {EXIT_CODE: error.exit_code}
    if error.do:
        metadata[WHAT_TO_DO] = hide(error.do)
    if isinstance(error, ExportFailedError):
        metadata |= {f"table {table}": hide(reason.what) for table, reason in error.failed.items()}
    shown = BackupError(hide(error.what), do=hide(error.do))
    return StepFailedError(shown, metadata, allow_retries=retried and error.transient)
