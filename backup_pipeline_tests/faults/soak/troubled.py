"""Steps in which a backup is killed, or meets a fault of the network or of a server."""

from __future__ import annotations

import time
from collections.abc import Sequence

from backup_pipeline_tests.faults.fault import (
    INTERNAL,
    After,
    Answer,
    Answering,
    Before,
    Close,
    Corrupt,
    Delay,
    Effect,
    Fault,
    Moment,
    Reset,
    Sending,
    Stall,
    Throttle,
    kill_group,
)
from backup_pipeline_tests.faults.soak.backups import command, full, some_tables
from backup_pipeline_tests.faults.soak.commands import Ended, Running
from backup_pipeline_tests.faults.soak.model import Row
from backup_pipeline_tests.faults.soak.oracles import account
from backup_pipeline_tests.faults.soak.spots import Spot, last_said, some_spot, some_stage
from backup_pipeline_tests.faults.soak.turn import Turn, need


def killed(turn: Turn, spot: Spot | None = None) -> str:
    """A backup whose process group gets SIGKILL, at a stage or at any moment."""
    first, tables = turn.shop.now, some_tables(turn) if turn.chance.random() < 0.25 else ()
    words, site = command(turn, tables), turn.site
    if spot is None and site.said and turn.chance.random() < 0.75:
        spot = some_spot(turn)
    site.hear_anew()
    with turn.shop.busy(turn.other_chance()):
        ended = _killed_at(turn, words, spot) if spot else _killed_at_a_moment(turn, words)
    need(ended.code in (0, -9), f"a backup was to be killed, and failed otherwise: {ended}")
    account(turn, first, turn.shop.now)
    told = str(spot or f"at a random moment, {last_said(site)}")
    turn.count("kills of backups" if ended.code else "kills that came too late", told)
    return f"{told}: {'killed' if ended.code else 'it was done before'}"


def _killed_at(turn: Turn, words: Sequence[str], spot: Spot) -> Ended:
    box: list[Running] = []
    turn.site.proxies[spot.name].on(spot.fault(kill_group(lambda: box[0].group)))
    box.append(turn.start(*words))
    try:
        return turn.end(box[0])
    finally:
        turn.site.clear()


def _killed_at_a_moment(turn: Turn, words: Sequence[str]) -> Ended:
    running = turn.start(*words)
    until = time.monotonic() + turn.chance.uniform(0, 1.2 * turn.site.usual_s)
    while running.alive and time.monotonic() < until:
        time.sleep(0.005)
    running.kill()
    return turn.end(running)


def faulted(turn: Turn) -> str:
    """A backup that meets a fault of the network or of a server: it is made all the same, or fails and says so."""
    first, site = turn.shop.now, turn.site
    if not site.said:
        return full(turn)
    words = command(turn, ())
    name, stage = some_stage(turn)
    effect, moment, times = _effect(turn, name, stage)
    spot = Spot(name, stage, moment, turn.chance.randint(1, site.said[name, stage]))
    fault = site.proxies[name].on(spot.fault(effect, times))
    with turn.shop.busy(turn.other_chance()):
        running = turn.start(*words)
        if isinstance(effect, Stall):
            _release_later(running, fault)
        ended = turn.end(running)
    site.clear()
    new = account(turn, first, turn.shop.now)
    did = type(effect).__name__.lower()
    if fault.fired:
        turn.count("faults fired", f"{name}: {did}")
        turn.count("backups that met a fault", "made" if ended.code == 0 else f"failed with {ended.code}")
    _judge(ended, new, f"{did} {spot}", fired=bool(fault.fired))
    return f"{did} {spot}, fired {fault.fired}: exit {ended.code}"


def _effect(turn: Turn, name: str, stage: str) -> tuple[Effect, Moment, int]:
    """An effect, its moment, and how often it happens."""
    chance = turn.chance
    effects: list[Effect] = [Reset(), Close(), Stall(), Delay(chance.uniform(0.1, 2)), Throttle(500_000)]
    if name == "store":
        effects += [Answer(503), Answer(500, INTERNAL), *([Corrupt()] if stage in ("bundle", "manifest") else [])]
    effect = chance.choice(effects)
    moments: list[Moment] = [Before(), After()]
    if isinstance(effect, Answer):
        return effect, Before(), chance.choice([1, 2, 3])
    if isinstance(effect, Corrupt):
        return effect, Sending(chance.randint(0, 2000)), 1
    if stage in ("COPY", "bundle read back"):
        moments.append(Answering(chance.randint(1, 20_000)))
    if stage in ("bundle", "partition file"):
        moments.append(Sending(chance.randint(1, 20_000)))
    return effect, chance.choice(moments), chance.choice([1, 1, 2])


def _release_later(running: Running, fault: Fault) -> None:
    while running.alive and not fault.fired:
        time.sleep(0.02)
    until = time.monotonic() + 2
    while running.alive and time.monotonic() < until:
        time.sleep(0.02)
    fault.release()


def _judge(ended: Ended, new: Sequence[Row], told: str, *, fired: bool) -> None:
    """A backup that ended by itself has one clear end."""
    good = [row for row in new if row.good]
    need(fired or ended.code == 0, f"{told} did not fire, and the backup failed: {ended}")
    need(good or ended.code, f"FALSE GREEN, {told}: exit 0, and the ledger has {new}: {ended}")
    need(ended.code >= 0, f"{told}: it crashed: {ended}")
    if ended.code:
        need("Traceback" not in ended.err, f"{told}: people see a traceback: {ended}")
        need("error" in ended.err.lower() + ended.out.lower(), f"{told}: it fails without a word: {ended}")
