"""`python -m backup_pipeline_tests.faults.soak --seed N --runs 200 --log FILE`: the soak, by hand."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from backup_pipeline_tests.faults.soak.loop import Soak, SoakError, summary, world
from backup_pipeline_tests.servers.postgres import throwaway_server
from backup_pipeline_tests.servers.swift import SwiftServer, why_not

MEMORY = Path("/dev/shm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; 1 when it found something."""
    parser = argparse.ArgumentParser(prog="soak", description="Random backups, kills, faults, prunes and restores.")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what all chance comes from; default: new")
    parser.add_argument("--runs", type=int, default=200, help="how many steps")
    parser.add_argument("--log", type=Path, help="also write what happens into this file")
    parser.add_argument("--wait-while", type=Path, help="between steps, wait as long as this file is there")
    parser.add_argument("--mutation", default="", help="put this fault into the program (see mutations.py)")
    asked = parser.parse_args(arguments)
    with ExitStack() as opened:
        log = opened.enter_context(asked.log.open("w", encoding="utf-8")) if asked.log else None

        def tell(text: str) -> None:
            for stream in (sys.stdout, log):
                if stream is not None:
                    stream.write(text + "\n")
                    stream.flush()

        place = MEMORY if os.access(MEMORY, os.W_OK) else None
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True)))
        server = opened.enter_context(throwaway_server(home / "postgres"))
        s3 = None if why_not() else opened.enter_context(SwiftServer(home / "s3"))
        made = opened.enter_context(world(home / "world", server, s3, mutation=asked.mutation))
        tell(f"seed {asked.seed}, {asked.runs} runs, {', '.join(made.sites)}")
        begun = time.monotonic()
        try:
            Soak(made, asked.seed, tell).run(asked.runs, lambda: _pause(asked.wait_while))
        except SoakError:
            tell(summary(made))
            return 1
        tell(f"{summary(made)}\nseed {asked.seed}: nothing was wrong in {asked.runs} runs, {_minutes(begun)} minutes")
    return 0


def _pause(while_there: Path | None) -> None:
    while while_there is not None and while_there.exists():
        time.sleep(1)


def _minutes(begun: float) -> str:
    return f"{(time.monotonic() - begun) / 60:.1f}"


if __name__ == "__main__":
    sys.exit(main())
