"""The loop of the soak: which step comes next, what is written of it, and how a failure is told so that it comes again.

All that is random in a step comes from the seed and the step's number. What the machine decides (at which instant a
process is killed, how many changes the writer made meanwhile) may differ when it is run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.faults.soak import backups, harm, restoring, troubled, upkeep, verifying
from backup_pipeline_tests.faults.soak.commands import Commands
from backup_pipeline_tests.faults.soak.oracles import look_around
from backup_pipeline_tests.faults.soak.shop import Shop
from backup_pipeline_tests.faults.soak.site import STORES, sites
from backup_pipeline_tests.faults.soak.turn import Turn, World, need
from backup_pipeline_tests.servers.swift import SwiftServer

Action = Callable[[Turn], str]
Tell = Callable[[str], object]

FULL, SELECTIVE = "full backup", "backup of some tables"
ACTIONS: Mapping[str, tuple[Action, int]] = {
    FULL: (backups.full, 14),
    SELECTIVE: (backups.selective, 8),
    "killed backup": (troubled.killed, 18),
    "backup that meets a fault": (troubled.faulted, 10),
    "two at once": (backups.rivals, 3),
    "prune": (upkeep.prune, 9),
    "killed prune": (upkeep.killed_prune, 4),
    "delete": (upkeep.delete, 4),
    "hold or release": (upkeep.hold, 4),
    "rebuild": (upkeep.rebuild, 2),
    "lost ledger": (upkeep.lost_ledger, 2),
    "damage": (harm.damage, 10),
    "verify": (verifying.verify, 10),
    "restore": (restoring.restore, 12),
    "killed restore": (restoring.killed_restore, 3),
    "look": (verifying.look, 2),
}
"""Each action, and how often it comes."""
_CLOSING = {FULL, SELECTIVE}
"""Whatever died before has its end after these."""


class SoakError(AssertionError):
    """The soak found a fault; it says which seed and step show it."""


@dataclass
class Soak:
    """A soak in `world` with a seed. `script` are the steps after the first backups; chance chooses those after it."""

    world: World
    seed: int
    tell: Tell = print
    script: Sequence[Action] = ()

    def run(self, steps: int, pause: Callable[[], None] = lambda: None) -> None:
        """So many steps, then a last look; SoakError at the first thing that is wrong. `pause` may wait before one."""
        self.world.shop.create()
        for number in range(1, steps + 1):
            pause()
            self._step(number)
        self._end(steps)

    def _step(self, number: int) -> None:
        chance = Random(f"{self.seed}/{number}")
        name, action, site = self._choice(number, chance)
        turn = Turn(self.world, number, self.world.sites[site], chance)
        self.world.shop.write(chance, chance.randint(0, 4))
        with self._told(turn, name):
            turn.tell(action(turn))
            look_around(turn, closed=name in _CLOSING)

    def _choice(self, number: int, chance: Random) -> tuple[str, Action, str]:
        """Every installation begins with a full backup."""
        names = sorted(self.world.sites)
        if number <= len(names):
            return FULL, backups.full, names[number - 1]
        if number - len(names) <= len(self.script):
            action = self.script[number - len(names) - 1]
            return getattr(action, "__name__", "a step"), action, names[-1]
        name = chance.choices([*ACTIONS], [weight for _, weight in ACTIONS.values()])[0]
        return name, ACTIONS[name][0], chance.choice(names)

    def _end(self, steps: int) -> None:
        """In each installation a backup closes what is open, a prune leaves it exact, and each backup is read again."""
        for number, site in enumerate(sorted(self.world.sites), steps + 1):
            chance = Random(f"{self.seed}/{number}")
            turn = Turn(self.world, number, self.world.sites[site], chance)
            with self._told(turn, "the end"):
                backups.full(turn)
                look_around(turn, closed=True)
                upkeep.prune(turn, upkeep.LAST)
                look_around(turn, closed=True)
                need(not turn.site.pending, f"there are open attempts: {turn.site.pending}")
                turn.tell(f"{restoring.read_all(turn)} backups are there and were read")

    @contextmanager
    def _told(self, turn: Turn, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        except BaseException as error:
            ran = "\n".join(str(ended) for ended in turn.ran)
            what = f"seed {self.seed}, step {turn.number}, {turn.site.name}, {name}: {type(error).__name__}: {error}"
            self.tell(f"{what}\n{ran}")
            again = f"python -m backup_pipeline_tests.faults.soak --seed {self.seed} --runs {turn.number}"
            raise SoakError(f"{what}\nIt comes again with: {again}\n{ran}") from error
        seconds = time.monotonic() - begun
        self.world.seconds.setdefault(name, []).append(seconds)
        self.tell(f"{turn.number:4} {seconds:5.1f} s  {turn.site.name:9}  {name}: {'; '.join(turn.told)}")


@contextmanager
def world(
    home: Path,
    server: EmbeddedPostgres,
    s3: SwiftServer | None,
    *,
    stores: Collection[str] = STORES,
    mutation: str = "",
) -> Iterator[World]:
    """Two installations, or one where there is no S3 server, and the shop that both back up; all under `home`."""
    with sites(home, server, s3, stores) as (made, source, targets):
        yield World(server, Shop(source), made, Commands(home), targets, mutation)


def summary(made: World) -> str:
    """What happened, counted."""
    taken = made.seconds.items()
    lines = [f"steps: {sum(len(each) for _, each in taken)}, {sum(sum(each) for _, each in taken) / 60:.1f} minutes"]
    lines += [f"    {len(each):6}  {name}, {sum(each) / len(each):.1f} s each" for name, each in taken]
    for kind, counts in made.tally.items():
        lines.append(f"{kind}: {sum(counts.values())}")
        lines += [f"    {count:6}  {value}" for value, count in counts.most_common()]
    return "\n".join(lines)
