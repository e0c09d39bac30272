"""Statistics of ledger rows: what is counted, slopes that a few odd values do not move, and the forecast."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.ledger import Attempt, Hold, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import forecast, percentile, robust_slope, statistics_of
from backup_pipeline.operations.health import catalog_statistics
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.core.entries import AT, good
from backup_pipeline_tests.core.values import catalog

NOW = AT + timedelta(days=10)


def days(count: int, *, first: int = 0, rows: int = 1000, **fields: object) -> list[Attempt]:
    """A good backup a day; a hundred rows and ten bytes of the bundle more each time."""
    return [
        good(n, {"orders": rows + 100 * n}, table_bytes={"orders": 5000}, file_size_bytes=1000 + 10 * n, **fields)
        for n in range(first, first + count)
    ]


def test_what_is_there_is_counted_by_type_kind_and_size() -> None:
    rows = [
        *days(3),
        good(3, {"orders": 5}, type=Trigger.MANUAL, kind=Kind.SELECTIVE, file_size_bytes=7, hold=Hold(KARIM, "")),
    ]
    rows += [good(4, {}, kind=Kind.TABLES), replace(good(5, {"orders": 1}), status=Status.DELETED)]
    found = statistics_of(Scope("isp"), rows, now=NOW, days=90)
    assert (found.backups, found.held) == (4, 1)
    assert (found.by_type, found.by_kind) == ({"automatic": 3, "manual": 1}, {"full": 3, "selective": 1})
    assert found.sizes is not None
    assert (found.sizes.total, found.sizes.newest, found.sizes.largest) == (3037, 7, 1020)


def test_the_success_rate_leaves_out_what_runs_is_expected_or_was_canceled() -> None:
    ended = {Status.FAILED: 2, Status.MISSED: 1, Status.CANCELED: 5, Status.RUNNING: 1, Status.EXPECTED: 1}
    rows = days(6) + [
        replace(good(7 + n, {}), status=status, sha256=None, backup_id=f"{status}{n}")
        for status, count in ended.items()
        for n in range(count)
    ]
    rows.append(replace(good(0, {}), status=Status.DELETED, backup_id="gone"))  # it was good in its time
    found = statistics_of(Scope("isp"), rows, now=NOW + timedelta(days=9), days=90)
    assert found.success_rate == pytest.approx(7 / 10)
    assert found.ends == {"success": 7, "failed": 2, "missed": 1, "canceled": 5}


def test_what_is_only_expected_is_no_attempt() -> None:
    expected = replace(good(7, {}), status=Status.EXPECTED, sha256=None, backup_id="expected")
    assert statistics_of(Scope("isp"), [*days(3), expected], now=NOW, days=90).attempts == 3


def test_other_catalogs_and_older_days_do_not_count() -> None:
    rows = [*days(3), *(replace(row, scope=Scope("retail")) for row in days(5))]
    found = statistics_of(Scope("isp"), rows, now=AT + timedelta(days=3), days=2)
    assert (found.backups, found.attempts) == (3, 1)


def test_growth_is_told_per_table_and_day() -> None:
    found = statistics_of(Scope("isp"), days(10), now=NOW, days=90)
    orders = found.tables["orders"]
    assert (orders.rows, orders.bytes, orders.rows_per_day, orders.bytes_per_day) == (1900, 5000, 100.0, 0.0)


def test_a_few_odd_backups_do_not_move_the_growth() -> None:
    rows = days(14)
    rows[0], rows[8] = good(0, {"orders": 9_000}), good(8, {"orders": 9_000_000})
    slope = statistics_of(Scope("isp"), rows, now=NOW + timedelta(days=9), days=90).tables["orders"].rows_per_day
    assert slope == pytest.approx(100, rel=0.1)


@given(st.integers(3, 300), st.floats(-1e6, 1e6), st.floats(-1e4, 1e4))
def test_the_slope_of_a_line_is_the_line_s(count: int, start: float, slope: float) -> None:
    points = [(AT + timedelta(days=n), start + slope * n) for n in range(count)]
    assert robust_slope(points) == pytest.approx(slope, abs=1e-4, rel=1e-6)


@given(st.lists(st.integers(0, 10**9), min_size=3, max_size=40))
def test_a_slope_lies_between_the_steepest_steps(values: list[int]) -> None:
    points = [(AT + timedelta(days=n), float(value)) for n, value in enumerate(values)]
    steps = [b - a for a, b in pairwise(values)]
    found = robust_slope(points)
    assert found is not None
    assert min(steps) - 1e-6 <= found <= max(steps) + 1e-6


def test_little_is_not_called_a_slope() -> None:
    assert robust_slope([(AT, 1.0), (AT + timedelta(days=1), 2.0)]) is None
    assert robust_slope([(AT + timedelta(hours=n), float(n)) for n in range(20)]) is None
    assert statistics_of(Scope("isp"), [], now=NOW, days=90).success_rate is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


@pytest.mark.acceptance("2.22")
def test_durations_are_those_of_good_backups() -> None:
    rows = days(20)
    rows[4] = replace(rows[4], finished_at=rows[4].started_at + timedelta(seconds=600))
    rows.append(replace(good(21, {}), status=Status.FAILED, finished_at=AT + timedelta(days=99)))
    found = statistics_of(Scope("isp"), rows, now=NOW + timedelta(days=20), days=90)
    assert found.durations is not None
    assert (found.durations.median, found.durations.p95) == (30.0, 30.0)


def test_without_retention_every_backup_to_come_is_kept_and_grows() -> None:
    rows = days(10)
    month, *_, year = forecast(rows, now=AT + timedelta(days=9), days=90)
    assert (month.days, month.backups) == (30, 40)
    assert month.bytes == sum(1000 + 10 * n for n in range(40))
    assert (year.days, year.backups) == (365, 375)


def test_retention_removes_what_it_will_have_removed() -> None:
    shop = catalog({"orders": None}, retention={"automatic": {"keep_within": "7 days", "min_keep": 3}})
    rows = [replace(row, scope=Scope("shop")) for row in days(10)]
    found = catalog_statistics(rows, Scope("shop"), shop, now=AT + timedelta(days=9), days=90)
    assert [ahead.backups for ahead in found.forecast] == [pytest.approx(8, abs=1)] * 3
    assert found.forecast[0].bytes < found.forecast[2].bytes < 60_000
    assert "retention" in found.forecast_basis
    plain = catalog_statistics(rows, Scope("shop"), None, now=AT + timedelta(days=9), days=90)
    assert plain.forecast[2].backups == 375


def test_one_day_of_backups_forecasts_nothing() -> None:
    assert forecast(days(1), now=NOW, days=90) == ()
    assert catalog_statistics(days(1), Scope("isp"), None, now=NOW, days=90).forecast == ()


def test_very_many_backups_are_forecast_only_as_far_as_they_were_imagined() -> None:
    rows = [
        replace(good(0, {"orders": 1}), backup_id=f"h{n}", started_at=AT + timedelta(hours=n), snapshot_at=None)
        for n in range(48)
    ]
    found = forecast(rows, now=AT + timedelta(days=2), days=90)
    assert [ahead.days for ahead in found] == [30]
