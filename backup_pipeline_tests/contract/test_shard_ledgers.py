"""What every ledger promises of shards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from backup_pipeline.core.ledger import Owner, ShardStatus
from backup_pipeline.core.ports import Ledger

FIRST, SECOND = Owner("host", 4711, 1795252163.77), Owner("elsewhere", 1, 2.0)
WORK = "20261120T180000Z-full-1f3a9c2e"


def _statuses(ledger: Ledger, work: str = WORK) -> list[ShardStatus]:
    return [shard.status for shard in ledger.shards.list(work)]


def test_of_many_that_take_at_once_no_two_get_the_same(ledger: Ledger) -> None:
    ledger.shards.offer(WORK, [{"n": n, "text": "a\0b"} for n in range(6)])
    ledger.shards.offer("another", [{"n": 9}])
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: ledger.shards.take(WORK, FIRST, f"run {n}"), range(8)))
    assert sorted(shard.number for shard in taken if shard) == [1, 2, 3, 4, 5, 6]
    assert taken.count(None) == 2
    [mine] = [shard for shard in taken if shard and shard.number == 3]
    assert (mine.detail, mine.owner, mine.tries) == ({"n": 2, "text": "a�b"}, FIRST, 1)
    assert mine.heartbeat_at is not None
    assert _statuses(ledger, "another") == [ShardStatus.WAITING]


def test_who_has_lost_a_shard_neither_keeps_nor_ends_it(ledger: Ledger) -> None:
    ledger.shards.offer(WORK, [{}])
    dead = ledger.shards.take(WORK, FIRST, None)
    assert dead is not None
    assert ledger.shards.give_back(dead)
    assert not ledger.shards.beat(dead)
    living = ledger.shards.take(WORK, SECOND, "run 2")
    assert living is not None
    assert living.tries == 2
    assert not ledger.shards.beat(dead)
    assert not ledger.shards.end(dead, {"rows": 1})
    assert not ledger.shards.give_back(dead)
    assert ledger.shards.beat(living)
    assert ledger.shards.end(living, {"rows": 2})
    assert not ledger.shards.give_back(living)
    [shard] = ledger.shards.list(WORK)
    assert (shard.status, shard.result, shard.run_id) == (ShardStatus.DONE, {"rows": 2}, "run 2")


def test_what_is_withdrawn_or_closed_is_nobodys_and_new_ones_come_behind(ledger: Ledger) -> None:
    ledger.shards.offer(WORK, [{"n": 1}, {"n": 2}, {"n": 3}])
    taken = ledger.shards.take(WORK, FIRST, None)
    assert taken is not None
    ledger.shards.withdraw(WORK, [1, 2])
    assert not ledger.shards.beat(taken)
    assert [shard.number for shard in ledger.shards.offer(WORK, [{"n": 4}])] == [4]
    assert [shard.detail for shard in ledger.shards.list(WORK)] == [{"n": 3}, {"n": 4}]
    ledger.shards.close(WORK)
    assert ledger.shards.list(WORK) == []
    assert ledger.shards.take(WORK, FIRST, None) is None
    assert ledger.shards.offer(WORK, []) == []
