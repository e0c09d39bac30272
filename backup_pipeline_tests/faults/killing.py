"""A backup that is killed, or meets another fault, at a stage; and what has to be so afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline_tests.faults.children import Deed
from backup_pipeline_tests.faults.deeds import BackUp, Ended, close_dead, recover
from backup_pipeline_tests.faults.fault import After, Before, Fault, kill_group
from backup_pipeline_tests.faults.on_disk import OnDisk
from backup_pipeline_tests.faults.oracles import assert_all_ended, assert_no_debris, assert_nothing_partial, made
from backup_pipeline_tests.faults.stages import at, stages
from backup_pipeline_tests.faults.world import GOOD, World


@dataclass(frozen=True)
class Kill:
    """SIGKILL at a stage: before the server hears of it, or after it answered and before the program hears that."""

    proxy: str
    stage: str
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.proxy}: {self.stage}"


def all_kills(world: World, deed: Deed) -> list[Kill]:
    """Every kill there is: the stages are those of a run that nothing disturbs."""
    for proxy in world.proxies.values():
        proxy.forget()
    ended = world.do(deed)
    assert ended.exit_code == 0, ended
    found = [(name, stage) for name, proxy in world.proxies.items() for stage in stages(proxy.said)]
    return [Kill(name, stage, after) for name, stage in found for after in (False, True)]


def kill(world: World, kill: Kill, deed: Deed | None = None) -> None:
    """Begin a backup, and kill it there; nothing partial is to be seen, whatever it had done."""
    proxy = world.proxies[kill.proxy]
    fault = proxy.on(Fault(kill_group(lambda: child.group), at(kill.stage), After() if kill.after else Before()))
    child = world.start(deed or BackUp())
    ended = child.ended()
    proxy.clear()
    assert fault.fired == 1, f"the stage never came: {ended}"
    assert ended is None, f"it was not killed: {ended}"
    assert_nothing_partial(world)


def kill_on_disk(world: World, at: int) -> bool:
    """The same before change number `at` of its files; False when this run made fewer."""
    ended = world.start(OnDisk(BackUp(), str(world.home), at)).ended()
    assert_nothing_partial(world)
    assert ended is None or (ended.exit_code == 0 and len(ended.changes) < at), ended
    return ended is None


def assert_dead_row_is_told(world: World) -> None:
    """The row of what was killed ends as what it is: a backup if its manifest was in the store, else failed."""
    running = [row["backup_id"] for row in world.rows() if row["status"] == "running"]
    there = made(world)
    assert world.do(close_dead).exit_code == 0
    assert_all_ended(world)
    statuses = {row["backup_id"]: row["status"] for row in world.rows()}
    for backup_id in running:
        assert (statuses[backup_id] in GOOD) == (backup_id in there), (backup_id, statuses[backup_id])


def assert_recovers(world: World) -> None:
    """The next backup succeeds, all that is listed is verified, and after a prune nothing else is left anywhere."""
    ended = world.do(recover)
    assert ended.exit_code == 0, ended
    assert ended.findings == ()
    assert_nothing_partial(world)
    assert_all_ended(world)
    assert world.rows()[0]["status"] in GOOD
    assert_no_debris(world)


def meet(world: World, proxy: str, fault: Fault, deed: Deed | None = None, seconds: float = 90) -> Ended:
    """Let a backup meet `fault`: it succeeds, or fails once and says what to do; nothing partial is to be seen."""
    before = {row["backup_id"] for row in world.rows()}
    world.proxies[proxy].on(fault)
    child = world.start(deed or BackUp())
    try:
        ended = child.ended(seconds)
    finally:
        world.proxies[proxy].clear()
    assert fault.fired, f"the fault never fired: {ended}"
    assert ended is not None, "somebody killed it"
    assert_nothing_partial(world)
    [status] = [row["status"] for row in world.rows() if row["backup_id"] not in before] or [None]
    if ended.exit_code:
        assert ended.error, ended
        assert ended.what_to_do, ended
        assert status in {None, "failed", "running"}, ended  # running: the ledger was away at the end
    else:
        assert status in GOOD, ended
    return ended
