"""The ports together: everything an operation reaches the world through."""

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
    from backup_pipeline.core.retention.prune import Removals

Clock = Callable[[], datetime]
"""Gives the present instant, timezone-aware."""


@dataclass(frozen=True)
class Ports:
    """Everything an operation reaches the world through; what one verb needs besides is an argument of that verb.

    `store` is the one that is worked on, and `second` gets each backup after it has it; None where there is no second
    destination. `removals` says how objects leave a store. `spool` is a folder for files in the making, and `decoder`
    reads those of a backup; what does not fit into memory goes into files under the folder it is given. `workers` is
    how many tables are exported side by side.

    `owner` is this process; `alive` tells whether a process lives, as far as can be told: without it, every one does.
    `clock` is the ledger's; `drift` says how much that of this machine is ahead of it. `salt` gives a random number for
    a backup id.
    """

    source: Source
    formats: Formats
    store: Store
    ledger: Ledger
    alerter: Alerter
    progress: Progress
    clock: Clock
    salt: Callable[[], int]
    owner: Owner
    spool: Path
    decoder: Callable[[Path], Decoder]
    removals: Callable[[Store], Removals]
    second: Second | None = None
    pinger: Pinger = field(default_factory=NoPings)
    alive: Callable[[Owner], bool] = lambda _: True
    drift: Callable[[], timedelta] = timedelta
    workers: int = 1
