"""What a ledger promises of run requests, progress, events, and what Dagster is yet to be told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from backup_pipeline.core.ledger import Hold, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.runs import (
    OPEN,
    Observation,
    RequestChange,
    RequestStatus,
    RunProgress,
    RunRequest,
    RunVerb,
)
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome

SECOND = timedelta(seconds=1)


def _request(**given: object) -> RunRequest:
    values = {"id": uuid4(), "scope": Scope("isp"), "verb": RunVerb.BACKUP, "actor": RAHIM, "created_at": NOON}
    return RunRequest(**{**values, **given})  # type: ignore[arg-type]


def test_a_request_comes_back_as_it_was_written(ledger: Ledger) -> None:
    request = _request(
        scope=Scope("isp", business="42"), reason="before the move", detail={"tables": ["goods"]}, command="backup x"
    )
    assert ledger.run_requests.add(request) == (request, True)
    assert ledger.run_requests.get(request.id) == request
    assert ledger.run_requests.get(uuid4()) is None
    assert ledger.run_requests.list(catalog="isp") == [request]
    assert ledger.run_requests.list(catalog="shop") == []


def test_the_same_id_is_the_same_request_whoever_comes_second(ledger: Ledger) -> None:
    request = _request(reason="the first click")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: ledger.run_requests.add(replace(request, reason=str(n))), range(8)))
    assert sum(new for _, new in answers) == 1
    assert len({row.reason for row, _ in answers}) == 1
    assert len(ledger.run_requests.list()) == 1


def test_of_all_who_want_to_send_it_one_may_and_the_next_after_a_while(ledger: Ledger) -> None:
    request, _ = ledger.run_requests.add(_request())
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: ledger.run_requests.take(request.id, NOON, 60 * SECOND), range(8)))
    assert sum(taken) == 1
    assert not ledger.run_requests.take(request.id, NOON + 60 * SECOND, 60 * SECOND)
    assert ledger.run_requests.take(request.id, NOON + 61 * SECOND, 60 * SECOND)
    ledger.run_requests.change(request.id, RequestChange(RequestStatus.REFUSED))
    assert not ledger.run_requests.take(request.id, NOON + 900 * SECOND, 60 * SECOND)


def test_one_run_begins_for_a_request_and_no_other(ledger: Ledger) -> None:
    request, _ = ledger.run_requests.add(_request())
    runs = [f"run-{n}" for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        claimed = list(pool.map(lambda run: ledger.run_requests.claim(request.id, run, NOON), runs))
    [row] = [row for row in claimed if row is not None]
    assert row.status is RequestStatus.RUNNING
    assert row.run_id is not None
    assert ledger.run_requests.claim(request.id, row.run_id, NOON + SECOND) == row  # its second step
    assert ledger.run_requests.of_run(row.run_id) == row
    ledger.run_requests.change(request.id, RequestChange(RequestStatus.CANCELED, finished_at=NOON))
    assert ledger.run_requests.claim(request.id, row.run_id, NOON) is None
    assert ledger.run_requests.claim(uuid4(), "run-9", NOON) is None


def test_a_request_that_is_over_stays_so(ledger: Ledger) -> None:
    request, _ = ledger.run_requests.add(_request())
    ledger.run_requests.change(request.id, RequestChange(RequestStatus.REFUSED, error_message="away", finished_at=NOON))
    later = ledger.run_requests.change(request.id, RequestChange(RequestStatus.LAUNCHED, run_id="late"))
    assert (later.status, later.run_id) == (RequestStatus.REFUSED, None)
    told = ledger.run_requests.change(request.id, RequestChange(result={"plan": "p"}))
    assert told.result == {"plan": "p"}
    assert ledger.run_requests.list(status=OPEN) == []


def test_progress_is_the_newest_that_was_written(ledger: Ledger) -> None:
    first = RunProgress("r1", Scope("isp"), NOON, NOON, stage="snapshot")
    ledger.progress.put(first)
    second = replace(first, updated_at=NOON + SECOND, table="goods", rows=7, estimated_rows=70, tables_total=3)
    ledger.progress.put(second)
    assert ledger.progress.list() == [second]
    ended = replace(second, finished_at=NOON + 2 * SECOND)
    ledger.progress.put(ended)
    assert ledger.progress.list() == []
    assert ledger.progress.list(running=False) == [ended]
    assert ledger.progress.forget(NOON) == 0
    assert ledger.progress.forget(NOON + 9 * SECOND) == 1


@pytest.mark.acceptance("3.19")
def test_what_happens_to_backups_and_requests_is_an_event(ledger: Ledger) -> None:
    now = ledger.now()
    ledger.begin(replace(attempt("b1"), scope=Scope("isp", business="42")))
    ledger.beat("b1", now)
    ledger.end("b1", replace(outcome(Status.SUCCESS, sha256="x"), finished_at=now))
    ledger.hold("b1", Hold(RAHIM, "the audit"))
    request, _ = ledger.run_requests.add(_request())
    ledger.run_requests.change(request.id, RequestChange(RequestStatus.LAUNCHED, run_id="r1"))
    events = ledger.events.since(0, 99)
    assert [(event.kind, event.subject, event.detail.get("status")) for event in events] == [
        ("backup", "b1", "running"),
        ("backup", "b1", "success"),
        ("hold", "b1", None),
        ("run_request", str(request.id), "requested"),
        ("run_request", str(request.id), "launched"),
    ]
    assert {(event.catalog, event.business) for event in events[:3]} == {("isp", "42")}
    assert ledger.events.newest() == events[-1].number
    assert ledger.events.since(events[1].number, 2) == events[2:4]
    assert ledger.events.forget(now - timedelta(days=1)) == 0
    assert ledger.events.forget(now + timedelta(days=1)) == 5


def test_what_a_rebuild_brings_back_is_no_news(ledger: Ledger) -> None:
    old = replace(attempt("b1"), status=Status.SUCCESS, finished_at=NOON - timedelta(days=300))
    ledger.adopt([old], [])
    assert ledger.events.since(0, 9) == []


def test_a_backup_that_goes_is_news_however_old_it_is(ledger: Ledger) -> None:
    ended = ledger.now() - timedelta(days=300)
    ledger.adopt([replace(attempt("b1"), status=Status.SUCCESS, finished_at=ended)], [])
    ledger.end("b1", replace(outcome(Status.EXPIRED), finished_at=ledger.now()))
    row = ledger.get("b1")
    assert row is not None
    assert row.finished_at == ended
    assert [(event.subject, event.detail["status"]) for event in ledger.events.since(0, 9)] == [("b1", "expired")]


def test_numbers_grow_in_the_order_of_the_commits(ledger: Ledger, fresh_ledger: str) -> None:
    """A transaction that began first and ends last has the greater number: who reads by number misses none of it."""
    first, second = (ledger.run_requests.add(_request())[0].id for _ in range(2))
    seen = ledger.events.newest()
    change = b"UPDATE run_requests SET status = 'launched' WHERE id = %s"
    with psycopg.connect(fresh_ledger) as slow:
        slow.execute(change, [first])
        ledger.run_requests.change(second, RequestChange(RequestStatus.LAUNCHED))
        [quick] = ledger.events.since(seen, 9)
        assert quick.subject == str(second)
        slow.commit()
    [late] = ledger.events.since(quick.number, 9)
    assert late.subject == str(first)


def test_events_of_many_writers_reach_a_reader_who_follows_the_numbers(ledger: Ledger) -> None:
    ended, seen = threading.Event(), list[str]()

    def follow() -> None:
        number = 0
        while True:
            over = ended.is_set()
            for event in ledger.events.since(number, 50):
                seen.append(event.subject)
                number = event.number
            if over:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    wanted = [uuid4() for _ in range(60)]

    def write(number: UUID) -> None:
        ledger.run_requests.add(_request(id=number))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, wanted))
    ended.set()
    reader.join(20)
    assert sorted(seen) == sorted(str(number) for number in wanted)


def test_what_dagster_is_to_be_told_is_kept_until_it_was(ledger: Ledger) -> None:
    held, released = (Observation("isp", ("isp", "bundle"), text, "2026-01-01") for text in ("held", "released"))
    for observation in (held, released):
        ledger.observations.add(observation, NOON)
    first = ledger.observations.claim()
    assert first is not None
    assert first[1] == held
    ledger.observations.settle(first[0], "away", NOON, away=True)
    again = ledger.observations.claim()
    assert again is not None
    assert again[1] == held
    ledger.observations.settle(again[0], None, NOON)
    other = ledger.observations.claim()
    assert other is not None
    assert other[1] == released
    for _ in range(9):
        ledger.observations.settle(other[0], "there is no such asset", NOON)
        ledger.observations.claim()
    assert ledger.observations.claim() is None
    assert ledger.observations.forget(NOON + SECOND) == 2
