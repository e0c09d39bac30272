"""Shards: one work done by several runs, each of which takes the next part that waits; who dies has it given back.

Whoever offers the work takes part in it, so that nothing waits for runs that never begin: no daemon, a full queue. It
watches what becomes of the parts (`watched`); it and every run that joins do them (`perform`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from backup_pipeline import __version__
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, CanceledError, LedgerError, RefusedError
from backup_pipeline.core.ledger import STALE_AFTER, Shard, ShardStatus, has_no_owner
from backup_pipeline.core.manifest import SnapshotEntry
from backup_pipeline.core.ports import Ports, Snapshot
from backup_pipeline.operations.background import Heartbeat
from backup_pipeline.operations.leases import GuestLease

MOST_TRIES = 3
"""Whoever took a shard died, so often: then something is wrong with the shard."""
_LOOK_EVERY_S = 1.0
_GAVE_UP = "gave_up"
"""In the result of a shard how often somebody has died of it."""

logger = logging.getLogger(__name__)


class Crew(Protocol):
    """The other runs that do shards of a work. It never raises: the work goes on without them, only more slowly."""

    def launch(self, count: int) -> None:
        """Ask for so many runs more."""

    def is_over(self, run_id: str) -> bool:
        """Whether one of them has ended, as far as is known."""

    def bury(self, run_id: str) -> None:
        """Note that one of them is dead, which nobody else may know."""

    def stop(self) -> None:
        """The work is over: those that have not begun need not begin."""


class ShardLostError(BackupError):
    """Somebody else has the shard by now, or nobody: what was done of it counts for nothing."""


@dataclass
class Taking:
    """How one process takes part in `work`: with so many threads, until `stopping` is set.

    `do` does a shard and gives its result; it may ask `Held.check` whether the shard is still its own. Who `stays`
    looks for more when nothing waits; else that is the end. `failure` is what stopped a thread, and then all of them.
    """

    work: str
    do: Callable[[Held], Mapping[str, Any]]
    ports: Ports
    run_id: str | None
    threads: int
    stays: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None
    done: int = 0


class Held:
    """A shard in the hands of whoever does it."""

    def __init__(self, shard: Shard, ports: Ports, stopping: threading.Event) -> None:
        self.shard = shard
        self._ports, self._stopping = ports, stopping
        self._lost = False

    def check(self, *, ask: bool = False) -> None:
        """Raise unless it is still ours, by what we know or, with `ask`, by the ledger; CanceledError at the end."""
        if ask:
            self.beat()
        if self._stopping.is_set():
            message = "The work that this is a part of has ended."
            raise CanceledError(message)
        if self._lost:
            message = f"Part {self.shard.number} of {self.shard.work} is somebody else's by now."
            raise ShardLostError(message, do="Nothing: whoever has it does it.")

    def beat(self) -> None:
        """Give a sign of life."""
        self._lost = self._lost or not self._ports.ledger.shards.beat(self.shard)


def gave_up(shard: Shard) -> str | None:
    """Why nobody has done the shard, where so many died of it that it was given up."""
    tries = (shard.result or {}).get(_GAVE_UP)
    return f"{tries} runs that were to do it ended without a word (killed, or out of memory)" if tries else None


def made_by(catalog: Catalog) -> str:
    """What has to be the same in every run that reads the same snapshot: the program, and what the catalog says."""
    declared = catalog.model_dump_json(by_alias=True, exclude={"start_date"})
    return f"{__version__} {hashlib.sha256(declared.encode()).hexdigest()}"


@contextmanager
def joined(
    detail: Mapping[str, Any], what: str, catalog: Catalog, lease: GuestLease, ports: Ports
) -> Iterator[Snapshot]:
    """The snapshot of another run's work, as `detail` of a shard says it; that work's lease is kept alive meanwhile.

    `what` names the work at the beginning of a sentence. RefusedError for a run of another version of the program, or
    of the catalog; SnapshotLostError or LeaseLostError when the run that holds the snapshot ends before.
    """
    if detail["made_by"] != made_by(catalog):
        message = f"{what} was begun by another version of the program or of the catalog than this run has."
        raise RefusedError(message, do="Let every host and container have the same image and the same catalogs.")
    entry = SnapshotEntry.model_validate(detail["snapshot"])
    with (
        Heartbeat(lease.beat, f"a part of {what}", every=lease.every),
        ports.source.joined(entry, ports.progress) as snapshot,
    ):
        try:
            yield snapshot
        except BaseException:
            snapshot.cancel()
            raise


def perform(taking: Taking) -> None:
    """Do shards of the work, until nothing waits any more; raises the first failure that `do` made no result of.

    What was being done then is given back, for somebody else to do.
    """
    with ThreadPoolExecutor(max_workers=taking.threads, thread_name_prefix="shard") as pool:
        for future in [pool.submit(_perform, taking) for _ in range(taking.threads)]:
            future.result()
    if taking.failure is not None:
        raise taking.failure


def _perform(taking: Taking) -> None:
    shards = taking.ports.ledger.shards
    try:
        while not taking.stopping.is_set():
            shard = shards.take(taking.work, taking.ports.owner, taking.run_id)
            if shard is not None:
                _do(shard, taking)
            elif not taking.stays or taking.stopping.wait(_LOOK_EVERY_S):
                return
    except BaseException as error:  # noqa: BLE001  it is raised in the thread that waits for all of them
        taking.failure = taking.failure or error
        taking.stopping.set()


def _do(shard: Shard, taking: Taking) -> None:
    shards, held = taking.ports.ledger.shards, Held(shard, taking.ports, taking.stopping)
    try:
        with Heartbeat(held.beat, f"{shard.work} {shard.number}"):
            result = taking.do(held)
        if shards.end(shard, result):
            taking.done += 1
    except ShardLostError as lost:
        logger.warning("%s", lost.what)
    except BaseException:
        try:
            shards.give_back(shard)
        except LedgerError as trouble:
            logger.warning("Part %d of %s is not given back: %s", shard.number, shard.work, trouble)
        raise


def watched(
    work: str, crew: Crew, ports: Ports, check: Callable[[], None], *, pause: Callable[[float], object] = time.sleep
) -> Generator[Shard]:
    """The shards of the work as they end, until all have; `check` raises what makes all of it void.

    One whose taker is dead waits again, and the crew is asked for another run; after MOST_TRIES it ends, and `gave_up`
    says so. Whoever looks at a shard may withdraw others, and offer new ones.
    """
    seen = set[int]()
    while True:
        check()
        shards = ports.ledger.shards.list(work)
        new = [shard for shard in shards if shard.status is ShardStatus.DONE and shard.number not in seen]
        for shard in new:
            seen.add(shard.number)
            yield shard
        if not new and all(shard.status is ShardStatus.DONE for shard in shards):
            return
        _take_over(shards, crew, ports)
        if not new:
            pause(_LOOK_EVERY_S)


def _take_over(shards: Sequence[Shard], crew: Crew, ports: Ports) -> None:
    """Let wait again what the dead have left."""
    dead = [shard for shard in shards if shard.status is ShardStatus.RUNNING and _is_dead(shard, crew, ports)]
    for shard in dead:
        who = f"run {shard.run_id}" if shard.run_id else f"process {shard.owner.pid if shard.owner else '?'}"
        logger.warning("Part %d of %s: %s is gone, another one takes it over.", shard.number, shard.work, who)
        if shard.tries >= MOST_TRIES:
            ports.ledger.shards.end(shard, {_GAVE_UP: shard.tries})
        else:
            ports.ledger.shards.give_back(shard)
    runs = {shard.run_id for shard in dead if shard.run_id is not None}
    for run_id in runs:
        crew.bury(run_id)
    if runs:
        crew.launch(len(runs))


def _is_dead(shard: Shard, crew: Crew, ports: Ports) -> bool:
    now, host = ports.ledger.now(), ports.owner.host
    last_sign = shard.heartbeat_at or now - 2 * STALE_AFTER
    if has_no_owner(shard.owner, last_sign, now=now, host=host, alive=ports.alive):
        return True
    return shard.run_id is not None and crew.is_over(shard.run_id)
