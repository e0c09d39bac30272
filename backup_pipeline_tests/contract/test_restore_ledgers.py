"""What the ledger promises of restore requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Ledger, Restores
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.ledger.restores import wish


@pytest.fixture
def restores(ledger: Ledger) -> Restores:
    return ledger.restores


def _of(restores: Restores, number: int) -> RestoreRow:
    found = restores.get(number)
    assert found is not None
    return found


def test_requests_are_numbered_and_come_back_as_they_were_written(restores: Restores) -> None:
    full = wish(
        tables=("customers", "payments"),
        mode="upsert",
        into_schema="rescued",
        rename={"customers": "‘old’ customers"},
        fill={"customers.kind": "home"},
        safety_backup=False,
        store="second",
        reason="a wrong UPDATE; বাংলা",
        run_id="run-1",
        owner=Owner("host", 4711, 1795252163.77),
        heartbeat_at=NOON,
        plan={"tables": [{"rows_now": 3, "kept": None}], "refused": False},
    )
    first, second = restores.add(full), restores.add(wish())
    assert second.id > first.id > 0
    assert first == replace(full, id=first.id)
    assert _of(restores, first.id) == first
    assert _of(restores, second.id) == replace(wish(), id=second.id)
    assert restores.get(second.id + 1) is None


def test_times_come_back_in_utc(restores: Restores) -> None:
    added = restores.add(wish(created_at=NOON.astimezone(timezone(timedelta(hours=6)))))
    row = _of(restores, added.id)
    assert row.created_at == NOON
    assert type(restores).__name__ == "MemoryRestores" or row.created_at.tzinfo is UTC


@pytest.mark.parametrize("status", sorted(set(RestoreStatus) - {RestoreStatus.REQUESTED}))
def test_nothing_begins_as_what_it_must_become(restores: Restores, status: RestoreStatus) -> None:
    with pytest.raises(LedgerError, match=f"can not begin as {status}"):
        restores.add(wish(status=status))
    assert restores.list() == []


def test_a_change_is_written_into_its_row_and_no_other(restores: Restores) -> None:
    other, row = restores.add(wish()), restores.add(wish())
    approved = RestoreChange(RestoreStatus.APPROVED, decided_actor=KARIM, decided_at=NOON, decision_reason="right")
    running = RestoreChange(RestoreStatus.RUNNING, started_at=NOON, owner=Owner("h", 1, 2.0), heartbeat_at=NOON)
    done = RestoreChange(RestoreStatus.DONE, finished_at=NOON, report={"seconds": 1.5}, run_id="r")
    for change in (RestoreChange(plan={"refused": False}), approved, running):
        restores.change(row.id, change)
    written = restores.change(row.id, done)
    expected: dict[str, Any] = {
        "status": RestoreStatus.DONE,
        "decided_actor": KARIM,
        "decided_at": NOON,
        "decision_reason": "right",
        "started_at": NOON,
        "finished_at": NOON,
        "plan": {"refused": False},
        "report": {"seconds": 1.5},
        "owner": Owner("h", 1, 2.0),
        "heartbeat_at": NOON,
        "run_id": "r",
    }
    assert written == replace(row, **expected)
    assert _of(restores, row.id) == written
    assert _of(restores, other.id) == other


def test_a_row_that_has_ended_changes_no_more(restores: Restores) -> None:
    row = restores.add(wish())
    restores.change(row.id, RestoreChange(RestoreStatus.REJECTED, decided_actor=KARIM))
    with pytest.raises(LedgerError, match=f"request {row.id} is rejected and can not become running"):
        restores.change(row.id, RestoreChange(RestoreStatus.RUNNING))
    with pytest.raises(LedgerError, match=f"request {row.id} is rejected"):
        restores.change(row.id, RestoreChange(plan={"refused": False}))
    assert _of(restores, row.id).plan is None


def test_of_many_that_start_a_restore_at_once_one_wins(restores: Restores) -> None:
    row = restores.add(wish())

    def start(number: int) -> bool:
        try:
            restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, run_id=str(number)))
        except LedgerError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = [str(number) for number, mine in enumerate(threads.map(start, range(8))) if mine]
    assert [_of(restores, row.id).run_id] == won


def test_a_row_that_is_not_there_neither_changes_nor_beats(restores: Restores) -> None:
    with pytest.raises(LedgerError, match="request 99 is not in the ledger"):
        restores.change(99, RestoreChange(RestoreStatus.RUNNING))
    with pytest.raises(LedgerError, match="request 99 is not in the ledger"):
        restores.beat(99, NOON)


def test_only_a_running_restore_has_a_heart(restores: Restores) -> None:
    row = restores.add(wish())
    restores.beat(row.id, NOON)
    assert _of(restores, row.id).heartbeat_at is None
    restores.change(row.id, RestoreChange(RestoreStatus.RUNNING))
    restores.beat(row.id, NOON + timedelta(seconds=1))
    restores.change(row.id, RestoreChange(RestoreStatus.FAILED))
    restores.beat(row.id, NOON + timedelta(hours=1))
    assert _of(restores, row.id).heartbeat_at == NOON + timedelta(seconds=1)


def test_rows_are_listed_newest_first_and_filtered(restores: Restores) -> None:
    first = restores.add(wish(run_id="r1"))
    second = restores.add(wish(scope=Scope("retail")))
    third = restores.add(wish())
    restores.change(third.id, RestoreChange(RestoreStatus.CANCELED))

    def ids(**wanted: object) -> list[int]:
        return [row.id for row in restores.list(**wanted)]  # type: ignore[arg-type]

    assert ids() == [third.id, second.id, first.id]
    assert ids(limit=1) == [third.id]
    assert ids(scope=Scope("isp")) == [third.id, first.id]
    assert ids(status=[RestoreStatus.REQUESTED]) == [second.id, first.id]
    assert ids(run_id="r1") == [first.id]
    assert ids(scope=Scope("nothing")) == []
