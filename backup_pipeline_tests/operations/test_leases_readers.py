"""A backup that somebody reads: neither a prune nor a deletion takes it away, until the reader has ended or is dead."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import LedgerUnavailableError, LockedError
from backup_pipeline.core.ledger import STALE_AFTER, Owner, Reading, Status
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger import this_owner
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.leases import readers, reading
from backup_pipeline.operations.retention import prune
from backup_pipeline.operations.retention.hold import DeleteRequest, check_deletable, delete_backup
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import NOW, days
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.operations.shelved import Shelved, old
from backup_pipeline_tests.servers.ledgers import new_ledger

LONG = timedelta(minutes=5)


@pytest.fixture
def shop() -> Shelved:
    """Six backups that stay, and one that the rules let go."""
    made = Shelved()
    made.add(*days(6), *old(1))
    return made


def _read(shop: Shelved, backup_id: str) -> Reading:
    return shop.ledger.readings.begin(Reading(backup_id, "drill", RAHIM, Owner("host-1", 4711, 1.0)), LONG)


def test_a_prune_keeps_what_is_read_and_says_by_whom(shop: Shelved) -> None:
    [gone] = old(1)
    noted = _read(shop, gone.backup_id)
    [verdict] = [one for one in shop.plan().verdicts if one.attempt.backup_id == gone.backup_id]
    assert not verdict.removed
    assert "it is being read by drill (by rahim, host host-1, process 4711, since " in "; ".join(verdict.reasons)
    assert shop.prune().removed == ()
    shop.ledger.readings.end(noted.number)
    assert [removed.backup_id for removed in shop.prune().removed] == [gone.backup_id]


def test_a_reader_that_came_after_the_plan_keeps_it_too(shop: Shelved) -> None:
    [gone] = old(1)
    plan = shop.plan()
    assert [verdict.attempt.backup_id for verdict in plan.removed] == [gone.backup_id]
    _read(shop, gone.backup_id)
    [removed] = prune(plan, shop.wish, shop.ports).removed
    assert removed.kept.startswith("it is being read by drill")
    assert shop.row(gone.backup_id).status is Status.SUCCESS


def test_a_deletion_is_refused_with_exit_code_11_and_names_the_reader(shop: Shelved) -> None:
    row, before = days(6)[3], shop.stored()
    noted = _read(shop, row.backup_id)
    with pytest.raises(LockedError) as caught:
        delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert caught.value.exit_code == 11
    assert "it is being read by drill (by rahim, host host-1, process 4711" in caught.value.what
    assert shop.stored() == before
    shop.ledger.readings.end(noted.number)
    delete_backup(DeleteRequest(row, shop.wish, row.backup_id), shop.ports)
    assert shop.row(row.backup_id).status is Status.DELETED


def test_a_running_restore_counts_as_long_as_it_gives_signs(shop: Shelved) -> None:
    row = days(6)[3]
    request = RestoreRow(row.backup_id, Scope("shop"), "new", "postgresql://t", "db", RAHIM, NOW)
    number = shop.ledger.restores.add(request).id
    shop.ledger.restores.change(number, RestoreChange(RestoreStatus.RUNNING, started_at=NOW, heartbeat_at=NOW))
    with pytest.raises(LockedError, match=f"restore request {number} is running"):
        check_deletable(row, shop.wish, shop.ports)
    shop.now = NOW + STALE_AFTER + timedelta(seconds=1)
    check_deletable(row, shop.wish, shop.ports)


def test_a_ledger_that_can_not_be_written_keeps_nobody_from_reading(caplog: pytest.LogCaptureFixture) -> None:
    whole = new_ledger()
    away = raising(LedgerUnavailableError("It is away."))
    ledger = faulty(whole, readings=faulty(whole.readings, begin=away))
    with reading("b1", "download", RAHIM, _ports(ledger)):
        pass
    assert "download reads b1 is not noted" in caplog.text


@pytest.fixture
def ledger(fresh_ledger: str) -> Iterator[SqlLedger]:
    made = SqlLedger(fresh_ledger)
    yield made
    made.close()


def _ports(ledger: Ledger) -> Ports:
    return ports_for_test(ledger=ledger, clock=lambda: NOW, owner=this_owner())


def _reader(url: str, seconds: float) -> int:
    """A process that reads b1 until it is killed; its pid, once it has begun."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with reading("b1", "verify", RAHIM, _ports(SqlLedger(url)), life=timedelta(seconds=seconds)):
                os.write(into, b"r")
                time.sleep(60)
        finally:
            os._exit(1)
    assert os.read(out, 1) == b"r"
    os.close(out)
    os.close(into)
    return pid


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_reader_that_is_killed_is_seen_to_renew_and_frees_the_backup_after_its_life(
    ledger: SqlLedger, fresh_ledger: str
) -> None:
    pid = _reader(fresh_ledger, 1.0)
    try:
        time.sleep(1.5)  # longer than its life: it lives by its heartbeat
        assert f"it is being read by verify (by rahim, host {os.uname().nodename}, process {pid}" in str(
            readers(_ports(ledger))["b1"]
        )
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert "b1" in readers(_ports(ledger))
    time.sleep(1.1)
    assert readers(_ports(ledger)) == {}


def test_a_reader_that_ends_frees_it_at_once(ledger: SqlLedger) -> None:
    with reading("b1", "verify", RAHIM, _ports(ledger)):
        assert "b1" in readers(_ports(ledger))
    assert readers(_ports(ledger)) == {}
