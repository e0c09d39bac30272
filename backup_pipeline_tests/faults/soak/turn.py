"""One step of the soak: what its action works with, and what is written down of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.faults.soak.commands import Commands, Ended, Running
from backup_pipeline_tests.faults.soak.model import Kept, WrongError
from backup_pipeline_tests.faults.soak.shop import Shop
from backup_pipeline_tests.faults.soak.site import Site


@dataclass
class World:
    """Everything of one soak. `targets` is a database into whose schemas backups are restored.

    `tally` counts what happened, by kind and value; `seconds` has how long each step took, by its action.
    """

    server: EmbeddedPostgres
    shop: Shop
    sites: Mapping[str, Site]
    commands: Commands
    targets: str
    mutation: str = ""
    tally: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def count(self, kind: str, value: str, by: int = 1) -> None:
        """Count something for the summary."""
        self.tally.setdefault(kind, Counter())[value] += by


@dataclass
class Turn:
    """A step: its number, its installation, and all chance there is in it."""

    world: World
    number: int
    site: Site
    chance: Random
    ran: list[Ended] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def shop(self) -> Shop:
        """The source."""
        return self.world.shop

    def start(self, *words: str, later: timedelta = timedelta()) -> Running:
        """Start a command in the installation."""
        return self.world.commands.start(words, self.site.environment, later=later, mutation=self.world.mutation)

    def end(self, running: Running) -> Ended:
        """Wait for the end of a command."""
        ended = running.end()
        self.ran.append(ended)
        return ended

    def run(self, *words: str, later: timedelta = timedelta()) -> Ended:
        """Run a command in the installation."""
        return self.end(self.start(*words, later=later))

    def tell(self, text: str) -> None:
        """Something for the log."""
        self.told.append(text)

    def count(self, kind: str, value: str, by: int = 1) -> None:
        """Count something for the summary."""
        self.world.count(kind, value, by)

    def other_chance(self) -> Random:
        """Chance for another thread: how often it is asked moves nothing here."""
        return Random(self.chance.getrandbits(64))

    def whole(self) -> list[Kept]:
        """The good backups that nobody damaged."""
        return [kept for kept in self.site.good.values() if kept.damage is None]


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def need(holds: object, message: str) -> None:
    """Raise WrongError unless it holds."""
    if not holds:
        raise WrongError(message)
