"""Commands of the real command line, each in a process group of its own that can be killed.

They are forked from one process that has imported everything and has no threads: a command starts in milliseconds. A
command may be told another time than it is, and a mutation: a fault of this program, put there on purpose.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PATIENCE_S = 150
_READY = (
    "backup_pipeline.cli.app",
    "backup_pipeline.cli.options",
    "backup_pipeline.orchestration.resources",
    "backup_pipeline.orchestration.launch",
    "backup_pipeline.wiring.ports",
    "backup_pipeline.wiring.ports",
    "backup_pipeline.wiring.restore",
    "backup_pipeline.wiring.ports",
    "backup_pipeline.formats.decoder",
    "backup_pipeline_tests.faults.soak.mutations",
    "apprise",
    "boto3",
    "duckdb",
    "obstore",
    "pandas",
    "pyarrow.parquet",
    "pytest",
)


@dataclass(frozen=True)
class Ended:
    """A command that has ended; a negative code is the signal that killed it."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        told = f"{' '.join(self.words)}: exit {self.code} after {self.seconds:.1f} s"
        return "\n".join(part for part in (told, self.out[-2000:].strip(), self.err[-3000:].strip()) if part)


@dataclass
class Running:
    """A command that runs."""

    words: tuple[str, ...]
    process: ForkServerProcess
    files: tuple[Path, Path]
    began: float

    @property
    def group(self) -> int:
        """Its process group."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs still."""
        return self.process.is_alive()

    def kill(self) -> None:
        """SIGKILL for all its processes, if they are there still."""
        with suppress(ProcessLookupError):
            try:
                os.killpg(self.group, signal.SIGKILL)
            except ProcessLookupError:  # not yet a group of its own
                os.kill(self.group, signal.SIGKILL)

    def end(self, patience: float = PATIENCE_S) -> Ended:
        """Wait for its end; one that hangs is killed, and that is an error."""
        self.process.join(patience)
        hung = self.process.exitcode is None
        if hung:
            self.kill()
            self.process.join(10)
        code = self.process.exitcode
        out, err = (path.read_text(errors="replace") for path in self.files)
        for path in self.files:
            path.unlink()
        ended = Ended(self.words, -99 if code is None else code, out, err, time.monotonic() - self.began)
        assert not hung, f"it hangs: {ended}"
        return ended


class Commands:
    """Starts commands; what they print goes to files in `folder` until they have ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        context = multiprocessing.get_context("forkserver")
        assert isinstance(context, ForkServerContext)
        context.set_forkserver_preload([*_READY])
        self._context = context

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        later: timedelta = timedelta(),
        mutation: str = "",
    ) -> Running:
        """Start `backup-pipeline` with `words`, in a world that is `later` than this one."""
        number = next(self._numbers)
        files = (self._folder / f"{number}.out", self._folder / f"{number}.err")
        arguments = (tuple(words), dict(environment), files, later, mutation)
        process = self._context.Process(target=_command, args=arguments, name=f"command {number}")
        process.start()
        return Running(tuple(words), process, files, time.monotonic())


def _command(
    words: Sequence[str], environment: Mapping[str, str], files: tuple[Path, Path], later: timedelta, mutation: str
) -> None:
    os.setsid()
    for name in [name for name in os.environ if name.startswith(("BACKUP_", "DAGSTER_", "AWS_"))]:
        del os.environ[name]
    os.environ.update(environment)
    for descriptor, path in zip((1, 2), files, strict=True):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), descriptor)
    from backup_pipeline.cli import main
    from backup_pipeline_tests.faults.soak.mutations import mutate

    _move_the_clock(later)
    mutate(mutation)
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _move_the_clock(later: timedelta) -> None:
    """Every module that knows the system's clock gets another one, and the ledger's clock is set with it."""
    from backup_pipeline.ledger.backups import SqlLedger
    from backup_pipeline.wiring import addresses as clock

    theirs = SqlLedger.now
    setattr(SqlLedger, "now", lambda ledger: theirs(ledger) + later)  # noqa: B010

    now = clock.utc_now
    for module in [module for name, module in sys.modules.items() if name.startswith("backup_pipeline.")]:
        if later and getattr(module, "utc_now", None) is now:
            module.utc_now = lambda: now() + later  # type: ignore[attr-defined]
