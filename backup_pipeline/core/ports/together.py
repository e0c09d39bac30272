"""The ports together: everything an operation, or a restore, reaches the world through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.core.alerts import NoPings

if TYPE_CHECKING:
    from backup_pipeline.core.comparison import Decoder
    from backup_pipeline.core.ledger import Owner
    from backup_pipeline.core.ports.database import Source
    from backup_pipeline.core.ports.files import Formats
    from backup_pipeline.core.ports.ledger import Ledger
    from backup_pipeline.core.ports.people import Alerter, Pinger, Progress
    from backup_pipeline.core.ports.store import Second, Store

Clock = Callable[[], datetime]
"""Gives the present instant, timezone-aware."""


@dataclass(frozen=True)
class Ports:
    """Everything an operation reaches the world through. `salt` gives a random number for a backup id.

    `spool` is the folder in which attempts make their files, `workers` how many tables are read side by side.

    `second` gets each backup after `store` has it; None where there is no second destination. `alive` tells whether a
    process lives, as far as can be told; without it, every one does. `clock` is the ledger's; `drift` says how much
    that of this machine is ahead of it.
    """

    source: Source
    formats: Formats
    store: Store
    ledger: Ledger
    alerter: Alerter
    progress: Progress
    clock: Clock
    salt: Callable[[], int]
    spool: Path
    workers: int
    second: Second | None = None
    pinger: Pinger = field(default_factory=NoPings)
    alive: Callable[[Owner], bool] = lambda _: True
    decoder: Callable[[Path], Decoder] | None = None
    drift: Callable[[], timedelta] = timedelta


@dataclass(frozen=True)
class RestorePorts:
    """Everything a restore reaches the world through, besides its target. `spool` is a folder for files in the making.

    The spool needs room for the Parquet files of the chosen tables.
    """

    store: Store
    ledger: Ledger
    formats: Formats
    progress: Progress
    clock: Clock
    spool: Path
