"""What a drill is asked to do, what it reaches the world through, and what is at hand while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.decoding import Decoder
from backup_pipeline.core.drill import Fault, Stages
from backup_pipeline.core.drill_ports import Fingerprints, Workshop
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import Alerter, Clock, Formats, Ledger, Ports, Store
from backup_pipeline.core.progress import Progress
from backup_pipeline.operations.browse import place_of


@dataclass(frozen=True)
class DrillRequest:
    """Which backup to drill, and who asks. `catalog` says how sheets look things up, where it is still there.

    `newest`: it was asked for as the latest, so it must be as new as its catalog's schedule promises. `fault` is
    injected into a copy, to see whether the drill notices.
    """

    attempt: Attempt
    actor: str
    catalog: Catalog | None = None
    newest: bool = False
    fault: Fault | None = None
    run_id: str | None = None
    run_url: str | None = None

    @property
    def place(self) -> BackupPlace:
        """Where the backup lies, in the store and in its copy."""
        return place_of(self.attempt)


@dataclass(frozen=True)
class DrillPorts:
    """What a drill needs of the world. `plain` are formats whose files are not encrypted; they never leave the drill.

    `workshop` gives a folder and a scratch server for one drill; `exporting` the ports by which a source is exported.
    """

    store: Store
    ledger: Ledger
    formats: Formats
    decoder: Callable[[Path], Decoder]
    fingerprints: Callable[[Path], Fingerprints]
    alerter: Alerter
    progress: Progress
    clock: Clock
    workshop: Callable[[], AbstractContextManager[Workshop]]
    exporting: Ports
    workers: int


@dataclass
class Watch:
    """How long each stage of a drill takes."""

    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def over(self, stage: str) -> Iterator[None]:
        """Count the time of the context as that of a stage."""
        started = self.clock()
        try:
            yield
        finally:
            took = (self.clock() - started).total_seconds()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + took

    @property
    def stages(self) -> Stages:
        """The stages so far."""
        return Stages(**{stage: round(took, 3) for stage, took in self.seconds.items()})


@dataclass(frozen=True)
class Bench:
    """A drill at work: its request and ports, its folder, the copy of the backup there, and its watch."""

    request: DrillRequest
    ports: DrillPorts
    shop: Workshop
    copy: Store
    watch: Watch

    def folder(self, name: str) -> Path:
        """A folder of the drill's own."""
        path = self.shop.folder / name
        path.mkdir(exist_ok=True)
        return path


@dataclass(frozen=True)
class Subject:
    """The backup in the copy, once it is known to be whole."""

    bench: Bench
    manifest: StoredManifest
