"""The option `--store`: whether a command reads the first store, or the copy in the second."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.cli.output import note_console
from backup_pipeline.core.restore_requests import SECOND, Which

FromStore = Annotated[
    Which, typer.Option("--store", help="Which store to read: the first, or the second (BACKUP_SECOND_STORE).")
]


def told(which: Which, url: str) -> None:
    """Say on stderr that the second store is read: what comes may be older than what the first one has."""
    if which == SECOND:
        note_console().print(f"From the second store, {url}.", markup=False)
