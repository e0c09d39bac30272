"""What goes in the days to come, against what a clean-up does once they have come."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from backup_pipeline.core import retention
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Attempt, Hold
from backup_pipeline.core.names import Trigger
from backup_pipeline.core.retention import Retention
from backup_pipeline.core.retention.forecast import Forecast, forecast_retention, going_now
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.retention import forecast as reckoned
from backup_pipeline.operations.retention.forecast import MOST_NAMED, Forecasts, SystemForecast
from backup_pipeline.operations.retention.hold import hold_backup
from backup_pipeline.operations.retention.plan import PruneRequest, basis_of
from backup_pipeline_tests.actors import RAHIM, TESTER
from backup_pipeline_tests.core.retained import NOW, backup, days
from backup_pipeline_tests.operations.shelved import Shelved

DAY = timedelta(days=1)


def catalog(schedule: str | None = "0 0 * * *", cleanup: str | None = "0 3 * * 0", **automatic: Any) -> Catalog:
    rules = {"automatic": automatic or {"keep_within": "30 days"}, "schedule": cleanup}
    return Catalog.model_validate(
        {
            "catalog": "shop",
            "timezone": "Asia/Dhaka",
            "schedule": schedule,
            "retention": rules,
            "tables": {"goods": {}, "sold": {}},
        }
    )


def shelf(of: Catalog, *rows: Attempt) -> Shelved:
    made = Shelved(wish=PruneRequest(Scope("shop"), TESTER, of.retention, of.timezone))
    made.add(*rows, partitions=False)
    return made


def foretold(of: Catalog, made: Shelved, days_ahead: int = 30) -> Forecast:
    rows = made.ledger.list(scope=Scope("shop"))
    return forecast_retention(of, Scope("shop"), rows, basis_of(made.wish, made.ports), days=days_ahead)


def lived_through(of: Catalog, made: Shelved, forecast: Forecast) -> list[tuple[str, datetime]]:
    """What really goes: a backup at each midnight in Dhaka, a prune at each clean-up."""
    midnight = NOW.replace(hour=18, minute=0)
    due = [midnight + number * DAY for number in range(31)]
    gone: list[tuple[str, datetime]] = []
    for at in forecast.cleanups:
        while of.schedule and due and due[0] <= at:
            made.add(backup(due.pop(0)), partitions=False)
        made.now = at
        plan = made.plan()
        gone += [(verdict.attempt.backup_id, at) for verdict in plan.removed]
        assert not made.prune().partial
    return gone


def _tagged(backup_id: str) -> str:
    """Ids of backups to come differ in their salt alone."""
    return backup_id.partition("-")[0]


@pytest.mark.parametrize(
    ("schedule", "rules"),
    [
        ("0 0 * * *", {"keep_within": "30 days"}),
        ("0 0 * * *", {"keep_last": 5, "min_keep": 2}),
        ("0 0 * * *", {"keep_daily": 7, "keep_weekly": 4, "keep_monthly": 2}),
        (None, {"keep_within": "10 days", "min_keep": 20}),
        (None, {"keep_last": 5, "keep_within": "12 days"}),
    ],
)
def test_what_is_foretold_is_what_goes(schedule: str | None, rules: dict[str, Any]) -> None:
    of = catalog(schedule, **rules)
    hold = Hold(RAHIM, "the audit", NOW + 9 * DAY)
    rows = days(45)
    made = shelf(of, *(replace(row, hold=hold) if number == 40 else row for number, row in enumerate(rows)))
    forecast = foretold(of, made)
    assert len(forecast.cleanups) == 4
    real = lived_through(of, made, forecast)
    assert [(_tagged(each.attempt.backup_id), each.at) for each in forecast.departures] == [
        (_tagged(backup_id), at) for backup_id, at in real
    ]


def test_a_hold_that_ends_lets_its_backup_go_at_the_next_clean_up() -> None:
    of = catalog(keep_last=2, min_keep=0)
    rows = days(6)
    held = replace(rows[-1], hold=Hold(RAHIM, "the audit", NOW + 9 * DAY))
    forecast = foretold(of, shelf(of, *rows[:-1], held))
    [departure] = [each for each in forecast.departures if each.attempt.backup_id == held.backup_id]
    assert departure.at == NOW + 14 * DAY
    assert departure.reasons == ("keep_last asks for others",)


def test_backups_that_are_yet_to_come_go_too_and_are_told_apart() -> None:
    of = catalog(keep_last=2, min_keep=0)
    forecast = foretold(of, shelf(of, *days(3)))
    assert {each.expected for each in forecast.departures} == {True, False}
    assert all(each.attempt.created_at > NOW for each in forecast.departures if each.expected)


def test_if_backups_stop_less_goes() -> None:
    """No id that goes without backups to come stays with them."""
    rows = days(45)
    for rules in ({"keep_within": "30 days"}, {"keep_daily": 9}, {"keep_last": 40, "min_keep": 1}):
        on, off = catalog(**rules), catalog(None, **rules)
        more = {each.attempt.backup_id for each in foretold(on, shelf(on, *rows)).departures}
        less = {each.attempt.backup_id for each in foretold(off, shelf(off, *rows)).departures}
        assert less <= more


def test_without_a_schedule_of_clean_ups_nothing_goes_by_itself_and_what_could_is_known() -> None:
    of = catalog(cleanup=None)
    made = shelf(of, *days(45))
    assert foretold(of, made).departures == ()
    rows = made.ledger.list(scope=Scope("shop"))
    now = {each.attempt.backup_id for each in going_now(rows, basis_of(made.wish, made.ports))}
    assert now == {verdict.attempt.backup_id for verdict in made.plan().removed} != set()


def test_manual_backups_stay_for_ever_unless_a_rule_says_otherwise() -> None:
    of = catalog(keep_last=1, min_keep=0)
    by_hand = [replace(row, type=Trigger.MANUAL) for row in days(40)]
    assert [each for each in foretold(of, shelf(of, *by_hand)).departures if not each.expected] == []
    assert of.retention.manual == Retention().manual


def test_the_same_rows_are_reckoned_once_and_a_change_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    of = catalog()
    made = shelf(of, *days(90))
    forecasts, plans = Forecasts(days=30), 0

    def counted(*given: Any, **more: Any) -> Forecast:
        nonlocal plans
        plans += 1
        return forecast_retention(*given, **more)

    monkeypatch.setattr(reckoned, "forecast_retention", counted)

    def foretell() -> tuple[int, SystemForecast]:
        forecast = forecasts.of(of, TESTER, Versions.REPORT, made.ports)
        return plans, forecast

    once, first = foretell()
    assert foretell() == (once, first)
    whole = foretold(of, made)
    assert [(each.at, each.backups) for each in first.going] == sorted(
        Counter(departure.at for departure in whole.departures).items()
    )
    assert first.going[0].backups > MOST_NAMED == len(first.going[0].first)
    held = made.ledger.list(scope=Scope("shop"))[-1]
    hold_backup(held, Hold(TESTER, "the audit", None), made.ports)
    again, after = foretell()
    assert again > once
    assert after.going[0].backups == first.going[0].backups - 1
    made.now += timedelta(minutes=11)
    assert foretell()[0] > again


def test_who_sees_all_gets_the_forecast_of_a_moment_ago_while_it_is_reckoned_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of, forecasts = catalog(), Forecasts(days=30)
    made = shelf(of, *days(90))
    forecasts.ahead = True
    forecasts.reckon(of, TESTER, Versions.REPORT, made.ports)
    given = (of, TESTER, Versions.REPORT, made.ports)
    first = forecasts.of(*given, sees_all=True)
    assert first.as_of is None
    hold_backup(made.ledger.list(scope=Scope("shop"))[-1], Hold(TESTER, "the audit", None), made.ports)
    with monkeypatch.context() as nobody_waits:
        nobody_waits.setattr(reckoned, "forecast_retention", lambda *_, **__: pytest.fail("it was reckoned"))
        at = made.now
        assert forecasts.of(*given, sees_all=True) == replace(first, as_of=at)
    mine = forecasts.of(*given)
    assert mine.going[0].backups == first.going[0].backups - 1, "who sees less waits: there is none of a moment ago"
    forecasts.reckon(*given)
    assert forecasts.of(*given, sees_all=True) == mine
    made.now += timedelta(minutes=11)
    assert forecasts.of(*given, sees_all=True).as_of is None, "what is too old is no forecast"


def test_a_plan_looks_at_each_backup_a_few_times_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    of = catalog()
    looks, replaces = Counter[str](), retention.replaces

    def counted(newer: Attempt, row: Attempt, basis: Any) -> bool:
        looks[row.backup_id] += 1
        return replaces(newer, row, basis)

    monkeypatch.setattr(retention, "replaces", counted)
    made = shelf(of, *days(150))
    for plan in (lambda: foretold(of, made), made.plan):
        looks.clear()
        plan()
        assert max(looks.values()) < 30, "a forecast is six plans"
