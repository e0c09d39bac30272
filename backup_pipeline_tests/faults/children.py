"""Processes made quickly, each in a process group of its own: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

from backup_pipeline_tests.faults.deeds import Ended

PATIENCE_S = 60
Deed = Callable[[], Ended]


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["backup_pipeline_tests.faults.deeds"])
    return context


def _perform(deed: Deed, environment: Mapping[str, str], answer: Connection) -> None:
    os.setpgid(0, 0)
    for name in list(os.environ):
        if name.startswith(("BACKUP_", "DAGSTER_", "AWS_")):
            del os.environ[name]
    os.environ.update(environment)
    answer.send(deed())


@dataclass
class Child:
    """A running process that does a deed."""

    process: ForkServerProcess
    answer: Connection

    @property
    def group(self) -> int:
        """Its process group, to be killed with all that it started."""
        assert self.process.pid is not None
        return self.process.pid

    def ended(self, seconds: float = PATIENCE_S) -> Ended | None:
        """How the deed ended; None when it was killed. AssertionError when it does not end."""
        self.process.join(seconds)
        try:
            assert self.process.exitcode is not None, f"it still runs after {seconds} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.group, signal.SIGKILL)
        if self.process.exitcode == -signal.SIGKILL:
            return None
        assert self.process.exitcode == 0, f"it ended with {self.process.exitcode}; its error stream tells why"
        ended: Ended = self.answer.recv()
        return ended


def start(deed: Deed, environment: Mapping[str, str]) -> Child:
    """Begin `deed` with these settings and no others."""
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_perform, args=(deed, dict(environment), sender), daemon=True)
    process.start()
    sender.close()
    return Child(process, receiver)
