"""Which backups should exist: every due time is accounted for once, whatever stood still meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import KnownDues, Settlement, due_at_start, due_row, settle, start_deadline
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.schedule import due_times
from backup_pipeline.core.scope import SCHEDULE
from backup_pipeline_tests.core.values import catalog as catalog_of

MIDNIGHT = datetime(2026, 11, 20, 18, tzinfo=UTC)  # in Dhaka, where the catalog is
DAY = timedelta(days=1)
GRACE = timedelta(minutes=120)
SECOND = timedelta(seconds=1)
SHOP = catalog_of({"goods": None})


def _known(*rows: Attempt, until: datetime | None = MIDNIGHT) -> KnownDues:
    return KnownDues(until, rows)


def _dues(rows: tuple[Attempt, ...]) -> list[datetime | None]:
    return [row.due_at for row in rows]


def _began(at: datetime, status: Status = Status.RUNNING, **fields: object) -> Attempt:
    return replace(due_row(SHOP, at), status=status, **{"due_at": None, **fields})  # type: ignore[arg-type]


def test_the_row_of_a_due_time_says_what_it_is() -> None:
    row = due_row(SHOP, MIDNIGHT)
    assert (row.status, row.kind, row.type, row.actor) == (Status.EXPECTED, "full", "automatic", SCHEDULE)
    assert (row.due_at, row.created_at, row.partition_date) == (MIDNIGHT, MIDNIGHT, date(2026, 11, 21))
    assert row.backup_id.startswith("20261120T180000Z-full-")
    assert due_row(SHOP, MIDNIGHT) == row
    assert due_row(catalog_of({"goods": None}, catalog="other"), MIDNIGHT).backup_id != row.backup_id


def test_before_the_first_accounting_nothing_was_due() -> None:
    found = settle(SHOP, _known(until=None), MIDNIGHT + DAY / 2)
    assert (_dues(found.expected), found.missed, found.catch_up) == ([MIDNIGHT + DAY], (), None)


def test_what_is_expected_already_is_not_added_again() -> None:
    assert settle(SHOP, _known(due_row(SHOP, MIDNIGHT + DAY)), MIDNIGHT + DAY / 2) == Settlement()


@pytest.mark.parametrize(("after", "missed"), [(GRACE, 0), (GRACE + SECOND, 1)])
def test_it_is_missed_once_its_grace_is_over(after: timedelta, missed: int) -> None:
    found = settle(SHOP, _known(due_row(SHOP, MIDNIGHT)), MIDNIGHT + after)
    assert _dues(found.missed) == [MIDNIGHT] * missed
    assert (found.catch_up is not None) == bool(missed)


def test_a_catalog_without_grace_gives_a_run_time_to_begin() -> None:
    strict = catalog_of({"goods": None}, grace_minutes=0)
    assert start_deadline(strict, MIDNIGHT) == MIDNIGHT + timedelta(minutes=15)
    assert settle(strict, _known(due_row(strict, MIDNIGHT)), MIDNIGHT + timedelta(minutes=14)).missed == ()


def test_three_nights_without_a_scheduler_are_three_rows_and_one_run_for_today() -> None:
    found = settle(SHOP, _known(due_row(SHOP, MIDNIGHT)), MIDNIGHT + 2 * DAY + DAY / 2)
    assert _dues(found.missed) == [MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY]
    assert _dues(found.expected) == [MIDNIGHT + 3 * DAY]
    assert found.catch_up == MIDNIGHT + 2 * DAY
    assert found.missed[0].error_message == (
        "No run began for what was due 2026-11-20 18:00 UTC; it had until 2026-11-20 20:00 UTC."
    )
    assert found.reasons[-1].startswith("One catch-up run is wanted, filed under 2026-11-23:")


def test_within_the_grace_of_the_newest_due_time_the_scheduler_may_still_come() -> None:
    found = settle(SHOP, _known(due_row(SHOP, MIDNIGHT)), MIDNIGHT + DAY + GRACE / 2)
    assert _dues(found.missed) == [MIDNIGHT]
    assert _dues(found.expected) == [MIDNIGHT + DAY, MIDNIGHT + 2 * DAY]
    assert found.catch_up is None


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.EXPECTED, Status.MISSED}))
def test_once_anything_was_tried_there_is_no_catch_up(status: Status) -> None:
    tried = _began(MIDNIGHT + GRACE + SECOND, status)
    found = settle(SHOP, _known(due_row(SHOP, MIDNIGHT), tried), MIDNIGHT + DAY / 2)
    assert _dues(found.missed) == [MIDNIGHT]
    assert found.catch_up is None
    assert found.reasons[-1].startswith("No catch-up run: a full backup has begun since")


def test_a_run_of_single_tables_is_no_backup_of_the_night() -> None:
    tables = _began(MIDNIGHT + GRACE, Status.SUCCESS, kind=Kind.TABLES)
    assert settle(SHOP, _known(due_row(SHOP, MIDNIGHT), tables), MIDNIGHT + DAY / 2).catch_up == MIDNIGHT


def test_what_was_missed_before_still_wants_its_catch_up() -> None:
    missed = replace(due_row(SHOP, MIDNIGHT), status=Status.MISSED)
    found = settle(SHOP, _known(missed, due_row(SHOP, MIDNIGHT + DAY), until=MIDNIGHT + DAY / 2), MIDNIGHT + DAY / 2)
    assert (found.missed, found.expected, found.catch_up) == ((), (), MIDNIGHT)


def test_a_night_that_a_run_has_taken_over_is_accounted_for() -> None:
    taken = replace(_began(MIDNIGHT + 2 * DAY, Status.FAILED), due_at=MIDNIGHT + 2 * DAY)
    found = settle(SHOP, _known(due_row(SHOP, MIDNIGHT), taken), MIDNIGHT + 2 * DAY + DAY / 2)
    assert _dues(found.missed) == [MIDNIGHT, MIDNIGHT + DAY]
    assert found.catch_up is None


def _failed_night(**fields: object) -> Attempt:
    """The run of midnight, which failed ten minutes later."""
    begun = MIDNIGHT + SECOND
    told = {"due_at": MIDNIGHT, "finished_at": begun + timedelta(minutes=10), "backup_id": "failed", **fields}
    return replace(_began(begun, Status.FAILED), **told)  # type: ignore[arg-type]


def _again(now: datetime, *rows: Attempt, of: Catalog = SHOP) -> Settlement:
    return settle(of, _known(*rows, due_row(of, MIDNIGHT + DAY), until=now), now)


def test_a_night_that_failed_is_tried_once_more_after_an_hour_with_its_own_date() -> None:
    failed = _failed_night()
    early = _again(MIDNIGHT + timedelta(minutes=70), failed)
    assert (early.catch_up, early.failed) == (None, None)
    found = _again(MIDNIGHT + timedelta(minutes=71), failed)
    assert (found.catch_up, found.failed, found.missed) == (MIDNIGHT, failed, ())
    assert found.reasons == ("One more run is wanted today: failed, which was due 2026-11-20 18:00 UTC, failed.",)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.SUCCESS, Status.FAILED, Status.CANCELED])
def test_there_is_never_a_third_try(status: Status) -> None:
    second = _began(MIDNIGHT + timedelta(hours=2), status)
    assert _again(MIDNIGHT + timedelta(hours=9), _failed_night(), second).catch_up is None


def test_it_is_not_tried_again_on_another_day() -> None:
    assert _again(MIDNIGHT + DAY - timedelta(hours=2), _failed_night()).failed is not None
    late = catalog_of({"goods": None}, schedule="0 23 * * *")
    due = MIDNIGHT - timedelta(hours=1)
    failed = replace(_failed_night(), due_at=due, created_at=due, started_at=due)
    assert _again(due + timedelta(hours=3), failed, of=late).catch_up is None


def test_where_the_next_one_is_near_that_one_tries() -> None:
    hourly = catalog_of({"goods": None}, schedule="0 * * * *")
    for minutes in range(0, 60, 5):
        assert _again(MIDNIGHT + timedelta(minutes=minutes), _failed_night(), of=hourly).catch_up is None
    assert _again(MIDNIGHT + DAY - timedelta(minutes=30), _failed_night()).catch_up is None


@pytest.mark.parametrize("fields", [{"status": Status.CANCELED}, {"due_at": None}, {"kind": Kind.SELECTIVE}])
def test_what_somebody_stopped_or_made_by_hand_is_not_tried_again(fields: dict[str, object]) -> None:
    assert _again(MIDNIGHT + timedelta(hours=9), _failed_night(**fields)).catch_up is None


def test_a_changed_schedule_drops_what_was_not_due_yet_and_invents_no_past() -> None:
    later = catalog_of({"goods": None}, schedule="0 3 * * *")
    found = settle(later, _known(due_row(SHOP, MIDNIGHT + DAY), until=MIDNIGHT + DAY / 2), MIDNIGHT + DAY / 2 + SECOND)
    three = MIDNIGHT + DAY + timedelta(hours=3)
    assert (_dues(found.dropped), _dues(found.expected), found.missed) == ([MIDNIGHT + DAY], [three], ())


def test_what_was_due_before_the_schedule_was_changed_is_missed_all_the_same() -> None:
    never = catalog_of({"goods": None}, schedule=None)
    found = settle(never, _known(due_row(SHOP, MIDNIGHT), until=MIDNIGHT + SECOND), MIDNIGHT + DAY / 2)
    assert (_dues(found.missed), found.dropped, found.expected) == ([MIDNIGHT], (), ())


@pytest.mark.parametrize(
    ("at", "due"),
    [
        (MIDNIGHT, MIDNIGHT),
        (MIDNIGHT + GRACE, MIDNIGHT),
        (MIDNIGHT + GRACE + SECOND, None),
        (MIDNIGHT - SECOND, None),
    ],
)
def test_a_run_is_for_the_due_time_in_whose_grace_it_begins(at: datetime, due: datetime | None) -> None:
    assert due_at_start(SHOP, at) == due
    assert due_at_start(catalog_of({"goods": None}, schedule=None), at) is None


ZONES = st.sampled_from(["Asia/Dhaka", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"])
LINES = st.sampled_from(["0 0 * * *", "30 2 * * *", "0 */6 * * *", "0 3 * * 0", "45 1 1,15 * *"])


@settings(max_examples=60, deadline=None)
@given(
    zone=ZONES,
    line=LINES,
    grace=st.sampled_from([0, 30, 120, 600]),
    start=st.integers(0, 60 * 24 * 400),
    gaps=st.lists(st.integers(1, 60 * 24 * 5), min_size=1, max_size=25),
    runs=st.sets(st.integers(0, 60)),
)
def test_however_seldom_it_is_looked_each_due_time_gets_one_row(
    zone: str, line: str, grace: int, start: int, gaps: list[int], runs: set[int]
) -> None:
    """Watchers come now and then; some due times are run, a minute late. At the end each has exactly one row."""
    catalog = catalog_of({"goods": None}, timezone=zone, schedule=line, grace_minutes=grace)
    begun = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    rows: dict[datetime, Attempt] = {}
    until: datetime | None = None
    now = begun
    for gap in [0, *gaps]:
        ticks = enumerate(due_times(line, zone, after=now, until=now + timedelta(minutes=gap)))
        for number, due in ticks:
            if number in runs:
                _run(catalog, rows, due)
        now += timedelta(minutes=gap)
        _apply(settle(catalog, KnownDues(until, tuple(rows.values())), now), rows)
        until = now
    wanted = set(due_times(line, zone, after=begun, until=now))
    assert wanted <= set(rows)
    for due, row in rows.items():
        over = start_deadline(catalog, due) < now
        assert row.status is (Status.RUNNING if row.owner else Status.MISSED if over else Status.EXPECTED)
    assert len({row.backup_id for row in rows.values()}) == len(rows)


def _run(catalog: Catalog, rows: dict[datetime, Attempt], due: datetime) -> None:
    """What the ledger's `take` does."""
    began = due + timedelta(minutes=1)
    assert due_at_start(catalog, began) == due
    from backup_pipeline_tests.doubles.ports import NOBODY

    row = replace(due_row(catalog, due), backup_id=f"run {due}", status=Status.RUNNING, created_at=began, owner=NOBODY)
    if due not in rows or rows[due].status is Status.EXPECTED:
        rows[due] = row


def _apply(found: Settlement, rows: dict[datetime, Attempt]) -> None:
    """What the ledger's `settle` does."""
    assert found.dropped == ()
    for row in (*found.expected, *found.missed):
        assert row.due_at is not None
        assert row.due_at not in rows or rows[row.due_at].status is Status.EXPECTED
        rows[row.due_at] = row
    for row in found.missed:
        assert row.due_at is not None
        rows[row.due_at] = replace(row, status=Status.MISSED)
