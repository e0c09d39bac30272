"""What every ledger promises of leases: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from backup_pipeline.core.ledger import Claim, Owner, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import Scope, command_line
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import attempt, outcome

LONG = timedelta(minutes=5)
OVER = timedelta(0)
MINE = Claim(Scope("isp"), "b1", RAHIM, Owner("host", 4711, 1795252163.77), "run-1")
OTHER = Claim(Scope("isp"), "b2", command_line("করিম"), Owner("elsewhere", 1, 2.0))


def test_a_free_lease_is_granted_as_it_was_asked_for(ledger: Ledger) -> None:
    assert ledger.leases.get(Scope("isp")) is None
    lease = ledger.leases.acquire(MINE, LONG)
    assert lease.claim == MINE
    assert lease.acquired_at == lease.heartbeat_at or lease.heartbeat_at - lease.acquired_at < timedelta(seconds=1)
    assert timedelta(0) <= lease.expires_at - lease.acquired_at - LONG < timedelta(seconds=1)
    assert ledger.leases.get(Scope("isp")) == lease


def test_whoever_comes_second_sees_the_holder(ledger: Ledger) -> None:
    mine = ledger.leases.acquire(MINE, LONG)
    assert ledger.leases.acquire(OTHER, LONG) == mine
    assert ledger.leases.acquire(replace(OTHER, scope=Scope("shop")), LONG).claim.scope == Scope("shop")


def test_an_expired_lease_is_anybody_s_and_the_token_grows(ledger: Ledger) -> None:
    mine = ledger.leases.acquire(MINE, OVER)
    others = ledger.leases.acquire(OTHER, LONG)
    assert others.claim == OTHER
    assert others.token > mine.token
    assert ledger.leases.renew(mine, LONG) is None
    ledger.leases.release(mine)
    assert ledger.leases.get(Scope("isp")) == others


def test_an_expired_lease_that_nobody_took_can_still_be_renewed(ledger: Ledger) -> None:
    mine = ledger.leases.acquire(MINE, OVER)
    renewed = ledger.leases.renew(mine, LONG)
    assert renewed is not None
    assert (renewed.token, renewed.acquired_at) == (mine.token, mine.acquired_at)
    assert renewed.expires_at > mine.expires_at
    assert renewed.heartbeat_at > mine.heartbeat_at
    assert ledger.leases.acquire(OTHER, LONG).claim == MINE


def test_a_lease_can_be_taken_over_from_the_holder_that_was_seen_and_no_other(ledger: Ledger) -> None:
    mine = ledger.leases.acquire(MINE, LONG)
    assert ledger.leases.acquire(OTHER, LONG, over=mine.token + 1).claim == MINE
    taken = ledger.leases.acquire(OTHER, LONG, over=mine.token)
    assert taken.claim == OTHER
    third = replace(MINE, holder="b3")
    assert ledger.leases.acquire(third, LONG, over=mine.token) == taken


def test_a_lease_given_back_is_free_and_its_token_stays_used(ledger: Ledger) -> None:
    mine = ledger.leases.acquire(MINE, LONG)
    ledger.leases.release(mine)
    assert ledger.leases.get(Scope("isp")) is None
    assert ledger.leases.renew(mine, LONG) is None
    assert ledger.leases.acquire(OTHER, LONG).token > mine.token


def test_ending_a_row_gives_back_its_lease_and_no_other(ledger: Ledger) -> None:
    for number in ("b1", "b2"):
        ledger.begin(attempt(number))
    mine = ledger.leases.acquire(MINE, LONG)
    ledger.end("b2", outcome(Status.FAILED))
    assert ledger.leases.get(Scope("isp")) == mine
    ledger.end("b1", outcome(Status.SUCCESS))
    assert ledger.leases.get(Scope("isp")) is None


def test_of_many_that_ask_at_once_one_gets_it(ledger: Ledger) -> None:
    expired = ledger.leases.acquire(MINE, OVER)
    claims = [replace(OTHER, holder=f"b{number}") for number in range(10, 18)]
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda claim: ledger.leases.acquire(claim, LONG), claims))
    assert len({lease.claim.holder for lease in seen}) == 1
    assert {lease.token for lease in seen} == {expired.token + 1}
