"""pg_restore: one table out of a dump of the custom format, into an empty database.

`python -m benchmarks.contestants.restore_pg PG_RESTORE DUMP JOBS KEY ROWS URL TABLE FOLDER`. With `-t` alone pg_restore
leaves the primary key out; with KEY=1 it is given a list of the table, its rows and its key.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants.restore import restored

_WANTED = r"\d+; \d+ \d+ (TABLE|TABLE DATA|CONSTRAINT) \S+ {} .*"


def wanted(listed: str, table: str) -> str:
    """Of the dump's table of contents what makes `table`, its rows and its key; pg_restore reads it with `-L`."""
    line = re.compile(_WANTED.format(re.escape(table)))
    return "".join(f"{found}\n" for found in listed.splitlines() if line.fullmatch(found))


def choice(program: str, dump: str, table: str, folder: Path, *, key: bool) -> Sequence[str]:
    """The options that choose the table."""
    if not key:
        return ("-t", table)
    listed = subprocess.run([program, "-l", dump], check=True, capture_output=True, text=True).stdout
    (folder / "list").write_text(wanted(listed, table))
    return ("-L", str(folder / "list"))


def main(program: str, dump: str, jobs: str, key: str, rows: str, url: str, table: str, folder: str) -> None:
    """Restore, and print what it took."""
    chosen = choice(program, dump, table, Path(folder), key=key == "1")
    command = [program, "--exit-on-error", "--no-owner", "-j", jobs, *chosen, "-d", url, dump]
    restored(lambda: subprocess.run(command, check=True), url, table, int(rows), key=key == "1")


if __name__ == "__main__":
    main(*sys.argv[1:])
