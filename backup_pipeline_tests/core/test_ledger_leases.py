"""What a claimant does about a lease: write, take it from the dead, wait, or give way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.ledger import LIFE, Claim, Lease, LeaseStep, Owner, decide, held_error, renewal_interval
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.ledger.attempts import NOON

HERE = Owner("here", 4711, 1.0)
MINE = Claim(Scope("shop"), "b2", KARIM, replace(HERE, pid=1))
NEIGHBOUR = Lease(Claim(Scope("shop"), "b1", RAHIM, HERE), 7, NOON, NOON, NOON + LIFE)
STRANGER = replace(NEIGHBOUR, claim=replace(NEIGHBOUR.claim, owner=Owner("elsewhere", 4711, 1.0)))
LATER = timedelta(seconds=10)


def _step(held: Lease, first: Lease, *, alive: bool = True) -> LeaseStep:
    return decide(MINE, held, first, alive=lambda _: alive).step


def test_whoever_has_it_writes() -> None:
    mine = replace(NEIGHBOUR, claim=MINE)
    assert _step(mine, NEIGHBOUR) is LeaseStep.WRITE


def test_a_living_neighbour_is_given_way_at_once() -> None:
    assert _step(NEIGHBOUR, NEIGHBOUR) is LeaseStep.REFUSE


def test_a_dead_neighbour_is_succeeded_at_once() -> None:
    assert _step(NEIGHBOUR, NEIGHBOUR, alive=False) is LeaseStep.TAKE


def test_of_another_host_only_signs_of_life_are_seen() -> None:
    assert _step(STRANGER, STRANGER) is LeaseStep.WAIT
    beaten = replace(STRANGER, heartbeat_at=NOON + LATER, expires_at=NOON + LIFE + LATER)
    assert _step(beaten, STRANGER) is LeaseStep.REFUSE


def test_another_holder_in_the_meantime_is_alive_too() -> None:
    assert _step(replace(STRANGER, token=8), STRANGER) is LeaseStep.REFUSE


def test_a_few_renewals_may_fail() -> None:
    assert renewal_interval(LIFE) * 5 < LIFE


@pytest.mark.parametrize("told", ["shop", "b1", "rahim", "here", "4711", "2026-11-21 12:00:00 UTC"])
def test_the_refusal_names_the_holder(told: str) -> None:
    error = held_error(NEIGHBOUR)
    assert told in error.what
    assert error.exit_code == 11
    assert not error.transient


def test_only_a_backup_can_be_shown() -> None:
    assert "backup-pipeline show" not in held_error(NEIGHBOUR).do
    backup = "20261121T120000Z-full-1f3a9c2e"
    named = replace(NEIGHBOUR, claim=replace(NEIGHBOUR.claim, holder=backup))
    assert f"`backup-pipeline show {backup}`" in held_error(named).do
