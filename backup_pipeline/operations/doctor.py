"""Doctor: every check is carried out, none waits for another, and none for ever; what one raises is a finding too."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from datetime import timedelta

from backup_pipeline.core.doctor import Check, Line, problem, skipped
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.unforeseen import in_our_words

PATIENCE = timedelta(seconds=30)
_LOOK = "Look at what it names; with --debug of another command there is a traceback."


def examine(checks: Sequence[Check], patience: timedelta = PATIENCE) -> Sequence[Line]:
    """The lines of all checks, in their order. One that has not ended within `patience` is left to itself, and told."""
    found: list[list[Line]] = [[] for _ in checks]
    futures = [_start(check, lines) for check, lines in zip(checks, found, strict=True)]
    wait(futures, timeout=patience.total_seconds())
    for check, future, lines in zip(checks, futures, found, strict=True):
        if not future.done():
            what = f"no answer within {patience.total_seconds():.0f} seconds"
            lines.append(problem(check.topic, what, "Look whether it is reachable from here, and not overloaded."))
        elif not lines:
            lines.append(skipped(check.topic, "nothing to look at"))
    return [line for lines in found for line in tuple(lines)]


def _start(check: Check, lines: list[Line]) -> Future[None]:
    """Carry the check out in a daemon thread: one that hangs keeps nobody from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            lines.extend(check.look())
        except BackupError as error:
            lines.append(problem(check.topic, error.what, error.do or _LOOK))
        except Exception as error:  # noqa: BLE001 - a check that breaks is a finding, and stops no other
            lines.append(problem(check.topic, in_our_words(error), _LOOK))
        finally:
            future.set_result(None)

    threading.Thread(target=run, name=f"doctor {check.topic}", daemon=True).start()
    return future
