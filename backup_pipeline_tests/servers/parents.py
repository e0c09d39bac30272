"""Other Python programs that embed a server, so that tests can kill them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

HOLD_A_SERVER = """
from pathlib import Path
from backup_pipeline.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), options={"fsync": "off"})
server.start()
print(server.connection.pid, server.attached, flush=True)
sys.stdin.readline()
server.stop()
"""


def python(source: str, *arguments: str) -> list[str]:
    """The command that runs `source`, which may import this project, without needing any environment variable."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{source}", *arguments]


@contextmanager
def parent(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running program with pipes to its stdin and stdout, in a process group of its own; killed at the end."""
    command = python(source, *arguments)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> list[str]:
    """The words of the next line it prints; fails when it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the program ended with {process.wait()}"
    return line.split()


def tell(process: subprocess.Popen[str]) -> None:
    """Let it go on: a line to its stdin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
