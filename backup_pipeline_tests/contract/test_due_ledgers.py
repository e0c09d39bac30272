"""What every ledger promises of due times: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backup_pipeline.core.due import KnownDues, Settlement, due_row, settle
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.ledger.attempts import attempt, outcome

MIDNIGHT = datetime(2026, 11, 20, 18, tzinfo=UTC)  # in Dhaka
DAY = timedelta(days=1)
SHOP = catalog({"goods": None})
LATER = MIDNIGHT + 30 * DAY


def _settle(ledger: Ledger, now: datetime) -> Settlement:
    since = min(now, MIDNIGHT - DAY)
    return ledger.dues.settle("shop", lambda known: settle(SHOP, known, now), since=since, now=now)


def _run(backup_id: str, due: datetime | None, at: datetime) -> Attempt:
    return attempt(backup_id, scope=Scope("shop"), due_at=due, created_at=at, started_at=at)


def _shown(ledger: Ledger) -> list[tuple[datetime | None, Status]]:
    return [(row.due_at, row.status) for row in ledger.list(scope=Scope("shop"))]


def test_the_next_due_time_is_expected_and_then_missed_for_good(ledger: Ledger) -> None:
    [expected] = _settle(ledger, MIDNIGHT - DAY / 2).expected
    assert ledger.get(expected.backup_id) == due_row(SHOP, MIDNIGHT)
    assert _settle(ledger, MIDNIGHT - DAY / 3) == Settlement()
    found = _settle(ledger, MIDNIGHT + DAY / 2)
    [missed] = found.missed
    row = ledger.get(expected.backup_id)
    assert row is not None
    assert row == replace(
        expected, status=Status.MISSED, finished_at=MIDNIGHT + DAY / 2, error_message=missed.error_message
    )
    assert missed.error_message
    assert _shown(ledger) == [(MIDNIGHT + DAY, Status.EXPECTED), (MIDNIGHT, Status.MISSED)]


def test_nights_that_nobody_saw_are_rows_too(ledger: Ledger) -> None:
    _settle(ledger, MIDNIGHT - DAY / 2)
    found = _settle(ledger, MIDNIGHT + 2 * DAY + DAY / 2)
    assert [row.due_at for row in found.missed] == [MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY]
    assert [status for _, status in _shown(ledger)] == [Status.EXPECTED] + [Status.MISSED] * 3
    assert found.catch_up == MIDNIGHT + 2 * DAY


def test_of_many_watchers_at_once_one_writes_and_is_told(ledger: Ledger) -> None:
    _settle(ledger, MIDNIGHT - DAY / 2)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: _settle(ledger, MIDNIGHT + DAY + DAY / 2), range(8)))
    assert sorted(len(one.missed) for one in found) == [0] * 7 + [2]
    assert sorted(len(one.expected) for one in found) == [0] * 7 + [1]
    assert [status for _, status in _shown(ledger)] == [Status.EXPECTED, Status.MISSED, Status.MISSED]


def test_what_decide_is_shown_is_what_there_is_since_then(ledger: Ledger) -> None:
    shown: list[KnownDues] = []

    def look(known: KnownDues) -> Settlement:
        shown.append(known)
        return Settlement()

    ledger.begin(_run("old", None, MIDNIGHT - 3 * DAY))
    ledger.begin(_run("new", None, MIDNIGHT))
    ledger.begin(attempt("other", scope=Scope("isp"), created_at=MIDNIGHT))
    ledger.dues.settle("shop", look, since=MIDNIGHT - DAY, now=MIDNIGHT)
    ledger.dues.settle("shop", look, since=MIDNIGHT + DAY, now=MIDNIGHT + DAY)
    assert [known.accounted_until for known in shown] == [None, MIDNIGHT]
    assert [[row.backup_id for row in known.rows] for known in shown] == [["new"], ["new"]]


def test_what_a_schedule_does_not_name_any_more_is_canceled(ledger: Ledger) -> None:
    [expected] = _settle(ledger, MIDNIGHT - DAY / 2).expected
    never = catalog({"goods": None}, schedule=None)
    now = MIDNIGHT - DAY / 3
    found = ledger.dues.settle("shop", lambda known: settle(never, known, now), since=now, now=now)
    assert found.dropped == (expected,)
    row = ledger.get(expected.backup_id)
    assert row is not None
    assert (row.status, row.finished_at) == (Status.CANCELED, now)
    assert "the schedule was changed" in (row.error_message or "")


def test_a_run_takes_over_the_row_of_its_due_time(ledger: Ledger) -> None:
    [expected] = _settle(ledger, MIDNIGHT - DAY / 2).expected
    run = _run("run", MIDNIGHT, MIDNIGHT + timedelta(seconds=3))
    assert ledger.dues.take(run) == run
    assert ledger.get("run") == run
    assert ledger.get(expected.backup_id) is None
    ledger.end("run", outcome())
    _settle(ledger, MIDNIGHT + DAY / 2)
    assert _shown(ledger) == [(MIDNIGHT + DAY, Status.EXPECTED), (MIDNIGHT, Status.SUCCESS)]


def test_a_run_whose_due_time_nobody_expected_is_its_row(ledger: Ledger) -> None:
    run = _run("run", MIDNIGHT, MIDNIGHT)
    assert ledger.dues.take(run) == run
    _settle(ledger, MIDNIGHT + timedelta(minutes=1))
    assert _shown(ledger) == [(MIDNIGHT + DAY, Status.EXPECTED), (MIDNIGHT, Status.RUNNING)]


def test_a_due_time_belongs_to_the_first_run_and_stays_missed(ledger: Ledger) -> None:
    ledger.dues.take(_run("first", MIDNIGHT, MIDNIGHT))
    second = ledger.dues.take(_run("second", MIDNIGHT, MIDNIGHT + DAY / 24))
    assert second.due_at is None
    assert ledger.get("second") == second
    _settle(ledger, MIDNIGHT + DAY / 2)
    _settle(ledger, MIDNIGHT + DAY + DAY / 2)
    late = ledger.dues.take(_run("late", MIDNIGHT + DAY, MIDNIGHT + DAY + DAY / 2))
    assert late.due_at is None
    assert (MIDNIGHT + DAY, Status.MISSED) in _shown(ledger)


def test_of_many_runs_at_once_one_has_the_due_time(ledger: Ledger) -> None:
    _settle(ledger, MIDNIGHT - DAY / 2)
    runs = [_run(f"run {number}", MIDNIGHT, MIDNIGHT) for number in range(6)]
    with ThreadPoolExecutor(4) as threads:
        began = list(threads.map(ledger.dues.take, runs))
    assert sorted(run.due_at is None for run in began) == [False] + [True] * 5
    assert len(ledger.list(scope=Scope("shop"), status=[Status.RUNNING])) == 6


def test_a_run_without_a_due_time_begins_as_ever(ledger: Ledger) -> None:
    run = _run("run", None, MIDNIGHT)
    assert ledger.dues.take(run) == run
    with pytest.raises(LedgerError, match="run is in the ledger already"):
        ledger.dues.take(run)
    with pytest.raises(LedgerError, match="can not begin as expected"):
        ledger.dues.take(replace(run, backup_id="b2", status=Status.EXPECTED))


def test_a_backup_id_begins_once_also_with_a_due_time(ledger: Ledger) -> None:
    ledger.dues.take(_run("run", MIDNIGHT, MIDNIGHT))
    with pytest.raises(LedgerError, match="run is in the ledger already"):
        ledger.dues.take(_run("run", MIDNIGHT + DAY, MIDNIGHT + DAY))


def test_rows_since_are_those_created_or_due_since(ledger: Ledger) -> None:
    ledger.begin(_run("old", None, MIDNIGHT - DAY))
    _settle(ledger, MIDNIGHT - DAY / 2)
    ledger.begin(_run("new", None, MIDNIGHT - timedelta(hours=1)))
    ledger.begin(attempt("other", scope=Scope("isp")))
    found = ledger.dues.since("shop", MIDNIGHT - timedelta(hours=1))
    assert [row.due_at or row.backup_id for row in found] == [MIDNIGHT, "new"]


def test_the_newest_good_is_a_full_backup_and_no_row_that_is_only_due(ledger: Ledger) -> None:
    assert ledger.dues.newest_good("shop", LATER) is None
    for minutes, (backup_id, kind, status) in enumerate(
        [
            ("older", "full", Status.SUCCESS),
            ("newest", "full", Status.SUCCESS_WITH_WARNINGS),
            ("selective", "selective", Status.SUCCESS),
            ("tables", "tables", Status.SUCCESS),
            ("failed", "full", Status.FAILED),
        ]
    ):
        ledger.begin(attempt(backup_id, scope=Scope("shop"), kind=kind, minutes=minutes))
        ledger.end(backup_id, outcome(status, table_counts={"goods": 1}))
    ledger.begin(attempt("running", scope=Scope("shop"), minutes=9))
    now = MIDNIGHT + 5 * DAY
    ledger.dues.settle("shop", lambda known: settle(SHOP, known, now), since=now, now=now)
    newest = ledger.dues.newest_good("shop", LATER)
    assert newest is not None
    assert newest.backup_id == "newest"
    compared = ledger.last_good(Scope("shop"))
    assert compared is not None
    assert compared.backup_id == "selective"
    assert ledger.dues.newest_good("isp", LATER) is None


def test_the_newest_good_is_none_that_a_clock_which_was_ahead_has_dated(ledger: Ledger) -> None:
    for backup_id, at in (("of today", MIDNIGHT), ("of the future", MIDNIGHT + 900 * DAY)):
        ledger.begin(attempt(backup_id, scope=Scope("shop"), created_at=at, started_at=at))
        ledger.end(backup_id, outcome(Status.SUCCESS, table_counts={"goods": 1}))
    newest = ledger.dues.newest_good("shop", MIDNIGHT + DAY)
    assert newest is not None
    assert newest.backup_id == "of today"
    later = ledger.dues.newest_good("shop", MIDNIGHT + 901 * DAY)
    assert later is not None
    assert later.backup_id == "of the future"


def test_what_a_clock_that_was_ahead_missed_is_taken_over_when_its_time_comes(ledger: Ledger) -> None:
    _settle(ledger, MIDNIGHT - DAY / 2)
    assert len(_settle(ledger, MIDNIGHT + 3 * DAY).missed) == 3  # three days before their time
    run = ledger.dues.take(_run("20261120T180100Z-full-00000001", MIDNIGHT, MIDNIGHT + timedelta(minutes=1)))
    assert run.due_at == MIDNIGHT
    row = ledger.get(run.backup_id)
    assert row is not None
    assert (row.status, row.finished_at, row.error_message) == (Status.RUNNING, None, None)


def test_after_a_clock_was_ahead_due_times_are_accounted_for_again(ledger: Ledger) -> None:
    _settle(ledger, MIDNIGHT - DAY / 2)
    _settle(ledger, MIDNIGHT + 900 * DAY)
    found = _settle(ledger, MIDNIGHT + DAY / 2)
    assert [row.due_at for row in found.missed] == [MIDNIGHT]
    assert found.catch_up == MIDNIGHT
    assert [row.due_at for row in _settle(ledger, MIDNIGHT + DAY + DAY / 2).missed] == [MIDNIGHT + DAY]


def test_a_ledger_says_what_time_it_is(ledger: Ledger) -> None:
    before = datetime.now(UTC)
    assert before - timedelta(seconds=5) < ledger.now() < before + timedelta(seconds=60)
    assert ledger.now().tzinfo is UTC
