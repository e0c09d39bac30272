"""Leases in use: waiting for the dead, giving way to the living, and stopping once the lease is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from backup_pipeline.core.alerts import Severity
from backup_pipeline.core.errors import CanceledError, LeaseHeldError, LeaseLostError, LedgerUnavailableError
from backup_pipeline.core.ledger import LIFE, Claim, Owner
from backup_pipeline.core.ports import Ports, Progress, Snapshot, Source
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.alerting import failure_alert
from backup_pipeline.operations.leases import HeldLease, guarded, lease_of, take
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HERE = Claim(Scope("shop"), "b2", KARIM, Owner("here", 2, 2.0))
NEIGHBOUR = Claim(Scope("shop"), "b1", RAHIM, Owner("here", 1, 1.0))
STRANGER = replace(NEIGHBOUR, owner=Owner("elsewhere", 1, 1.0))


@dataclass
class World:
    """A ledger whose clock stands still until somebody pauses; `living` processes are alive."""

    living: bool = True
    pauses: int = 0
    ledger: ScratchLedger = field(default_factory=lambda: new_ledger(at=NOON))
    now: datetime = NOON

    @property
    def ports(self) -> Ports:
        return ports_for_test(ledger=self.ledger, alive=self.alive)

    def alive(self, _: Owner) -> bool:
        return self.living

    def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.sleep(timedelta(seconds=seconds))

    def sleep(self, time: timedelta) -> None:
        self.now += time
        self.ledger.set_clock(self.now)

    def seconds(self) -> float:
        return self.now.timestamp()

    def held(self, claim: Claim = HERE) -> HeldLease:
        return HeldLease(self.ledger.leases.acquire(claim, LIFE), self.ledger.leases, seconds=self.seconds)


def test_a_free_lease_is_taken() -> None:
    world = World()
    assert take(HERE, world.ports, pause=world.pause).claim == HERE
    assert world.pauses == 0


def test_a_living_neighbour_refuses_without_waiting() -> None:
    world = World()
    world.ledger.leases.acquire(NEIGHBOUR, LIFE)
    with pytest.raises(LeaseHeldError, match="rahim"):
        take(HERE, world.ports, pause=world.pause)
    assert world.pauses == 0


def test_a_dead_neighbour_is_succeeded_without_waiting() -> None:
    world = World(living=False)
    world.ledger.leases.acquire(NEIGHBOUR, LIFE)
    assert take(HERE, world.ports, pause=world.pause).claim == HERE
    assert world.pauses == 0


def test_a_dead_stranger_is_succeeded_within_two_minutes_and_the_wait_is_told() -> None:
    world = World()
    world.ledger.leases.acquire(STRANGER, LIFE)
    began, told = world.now, []
    lease = take(HERE, world.ports, pause=world.pause, waiting=lambda: told.append(world.now))
    assert lease.claim == HERE
    assert LIFE <= world.now - began < timedelta(minutes=2)
    assert len(told) == world.pauses


def test_a_stranger_that_gives_a_sign_of_life_refuses() -> None:
    world = World()
    lease = world.ledger.leases.acquire(STRANGER, LIFE)

    def pause(seconds: float) -> None:
        world.pause(seconds)
        if world.pauses == 3:
            world.ledger.leases.renew(lease, LIFE)

    with pytest.raises(LeaseHeldError, match="elsewhere"):
        take(HERE, world.ports, pause=pause)
    assert world.pauses == 3


def test_a_lease_that_was_taken_over_is_lost_for_good_and_says_by_whom() -> None:
    world = World()
    lease = world.held()
    world.sleep(LIFE)
    world.ledger.leases.acquire(STRANGER, LIFE)
    stopped: list[str] = []
    with lease.stopping(lambda: stopped.append("once")):
        with pytest.raises(LeaseLostError, match="taken over by b1"):
            lease.beat()
        for _ in range(2):
            with pytest.raises(LeaseLostError, match="Nothing more is published"):
                lease.check()
    assert stopped == ["once"]


def test_whoever_begins_to_read_after_the_loss_is_stopped_at_once() -> None:
    world = World()
    lease = world.held()
    world.ledger.leases.release(lease.lease)
    with pytest.raises(LeaseLostError, match="not renewed in time"):
        lease.check(ask=True)
    stopped: list[str] = []
    with lease.stopping(lambda: stopped.append("at once")):
        assert stopped == ["at once"]


def test_a_ledger_that_is_away_stops_nobody_until_the_lease_is_over() -> None:
    world = World()
    away = raising(LedgerUnavailableError("The ledger is away."))
    world.ledger = faulty(world.ledger, leases=faulty(world.ledger.leases, renew=away))
    lease = world.held()
    world.sleep(LIFE - timedelta(seconds=1))
    with pytest.raises(LedgerUnavailableError):
        lease.beat()
    lease.check(ask=True)
    world.sleep(timedelta(seconds=1))
    with pytest.raises(LeaseLostError, match="could not be renewed for 90 s"):
        lease.check()
    with pytest.raises(LeaseLostError):
        lease.check()


def test_a_lease_nobody_took_meanwhile_goes_on() -> None:
    world = World()
    lease = world.held()
    world.sleep(3 * LIFE)  # the process was stopped, or the machine slept
    lease.check()
    held = world.ledger.leases.get(Scope("shop"))
    assert held is not None
    assert held.expires_at == world.now + LIFE


def test_the_lease_of_an_attempt_is_the_one_it_was_begun_under() -> None:
    world = World()
    row = attempt("b2", scope=Scope("shop"))
    with pytest.raises(LeaseLostError, match="it has no lease"):
        lease_of(row, world.ledger)
    world.ledger.leases.acquire(HERE, LIFE)
    assert lease_of(row, world.ledger).lease.claim == HERE
    with pytest.raises(LeaseLostError, match="b2"):
        lease_of(attempt("b1", scope=Scope("shop")), world.ledger)


@dataclass
class _Reading:
    """The port `Source` with one snapshot; its readers are canceled like those of a real one."""

    canceled: bool = False

    @contextmanager
    def snapshot(self, progress: Progress | None = None, *, lock_timeout_s: float | None = None) -> Iterator[Snapshot]:
        del progress, lock_timeout_s
        yield cast(Snapshot, self)

    def cancel(self) -> None:
        self.canceled = True

    def read(self) -> None:
        if self.canceled:
            message = "Reading the source was canceled."
            raise CanceledError(message)


def _lost(world: World) -> HeldLease:
    lease = world.held()
    world.sleep(LIFE)
    world.ledger.leases.acquire(STRANGER, LIFE)
    return lease


def test_without_its_lease_a_run_changes_nothing_in_the_store(tmp_path: Path) -> None:
    world, store = World(), MemoryStore()
    ports = guarded(Place(tmp_path, store).ports("postgresql://nobody@127.0.0.1:1/none"), _lost(world))
    file = tmp_path / "file"
    file.write_bytes(b"rows")
    changes: list[Any] = [
        lambda: ports.store.put("a", [b"1"]),
        lambda: ports.store.put_file("a", file),
        lambda: ports.store.delete(["a"]),
        lambda: ports.store.keep("a", [b"1"]),
    ]
    store.put("a", [b"0"])
    for change in changes:
        with pytest.raises(LeaseLostError):
            change()
    assert store.get("a") == b"0"
    assert ports.store.get("a") == b"0"  # reading harms nobody


def test_a_bundle_in_the_making_stops_with_the_lease(tmp_path: Path) -> None:
    world, store = World(), MemoryStore()
    lease = world.held()
    ports = guarded(Place(tmp_path, store).ports("postgresql://nobody@127.0.0.1:1/none"), lease)

    def chunks() -> Iterator[bytes]:
        yield b"1"
        world.sleep(LIFE)
        world.ledger.leases.acquire(STRANGER, LIFE)
        yield b"2"

    with pytest.raises(LeaseLostError):
        ports.store.put("bundle", chunks())
    assert store.head("bundle") is None


def _read_canceled_by(lease: HeldLease, cancel: Callable[[], None] | None, folder: Path) -> None:
    """A reader that is canceled: by `cancel`, or by the loss of the lease."""
    reading = _Reading()
    ports = Place(folder).ports("postgresql://nobody@127.0.0.1:1/none")
    with guarded(replace(ports, source=cast(Source, reading)), lease).source.snapshot():
        (cancel or reading.cancel)()
        reading.read()


def test_readers_are_canceled_when_the_lease_is_lost_and_say_why(tmp_path: Path) -> None:
    lease = _lost(World())

    def renew() -> None:
        with suppress(LeaseLostError):
            lease.beat()

    with pytest.raises(LeaseLostError, match="b1"):
        _read_canceled_by(lease, renew, tmp_path)


def test_readers_that_somebody_canceled_are_just_canceled(tmp_path: Path) -> None:
    with pytest.raises(CanceledError):
        _read_canceled_by(World().held(), None, tmp_path)


def test_of_a_refusal_people_are_warned() -> None:
    world = World()
    row = attempt("b2", scope=Scope("shop"))
    with pytest.raises(LeaseHeldError) as refused:
        take(HERE, _with(world, NEIGHBOUR).ports)
    alert = failure_alert(row, refused.value, None)
    assert (alert.severity, alert.title) == (Severity.WARNING, f"Backup refused: shop for {row.partition_date}")


def _with(world: World, claim: Claim) -> World:
    world.ledger.leases.acquire(claim, LIFE)
    return world
