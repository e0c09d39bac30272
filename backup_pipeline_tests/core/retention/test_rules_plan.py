"""Which backups retention keeps: each rule by example, then what holds for all rules and all backups."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.ledger import Attempt, Hold, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.retention import Retention, RetentionBasis, objections, plan_retention
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification, depth_of, has_failed
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import DHAKA, NOW, backup, basis, days, kept, plan

HOUR = timedelta(hours=1)
DAMAGED = Verification(Level.BYTES, NOW, passed=False)
_VERIFICATIONS = (
    *(Verification(level, NOW) for level in (Level.BYTES, Level.CONTENTS, Level.PRESENT)),
    DAMAGED,
    Verification(None, NOW, passed=False),
)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=DHAKA)


@pytest.mark.acceptance("2.10")
def test_automatic_backups_of_thirty_days_are_kept_by_default_and_manual_ones_for_ever() -> None:
    rows = days(45)
    old = backup(local("2020-02-29 10:00"), type=Trigger.MANUAL)
    found = plan([*rows, old])
    assert [verdict.removed for verdict in found.values()] == [False] * 30 + [True] * 15 + [False]
    assert found[old.backup_id].reasons == ("kept for ever",)
    assert found[rows[0].backup_id].reasons == ("the newest good backup", "keep_within: 30 days")
    assert found[rows[30].backup_id].reasons == ("keep_within: 30 days were over at 2026-11-21 18:00 UTC",)
    assert found[rows[5].backup_id].expires_at == (rows[5].snapshot_at or NOW) + timedelta(days=30)


def test_twenty_days_by_count() -> None:
    rows = days(20)
    assert kept(rows, keep_last=4) == [f"2026-11-{day} 00:00" for day in (22, 21, 20, 19)]
    assert kept(rows, keep_daily=5) == [f"2026-11-{day} 00:00" for day in (22, 21, 20, 19, 18)]


def test_the_last_backup_of_an_hour_and_of_a_day_is_the_one_that_stays() -> None:
    rows = [backup(NOW - timedelta(minutes=20 * count)) for count in range(3 * 30)]  # thirty hours, three an hour
    assert kept(rows, keep_hourly=3, min_keep=0, grace_minutes=0) == [
        "2026-11-22 03:00",
        "2026-11-22 02:40",
        "2026-11-22 01:40",
    ]
    assert kept(rows, keep_daily=2, min_keep=0, grace_minutes=0) == ["2026-11-22 03:00", "2026-11-21 23:40"]


def test_only_periods_that_have_a_backup_count() -> None:
    rows = [backup(local(text)) for text in ("2026-11-20 00:00", "2026-09-01 00:00", "2026-03-01 00:00")]
    assert len(kept(rows, keep_daily=3, min_keep=0)) == 3
    assert kept(rows, keep_monthly=2, min_keep=0) == ["2026-11-20 00:00", "2026-09-01 00:00"]


def test_a_day_is_that_of_the_catalogs_timezone() -> None:
    """Both are of 20 November in UTC; in Dhaka the later one is of the 21st."""
    rows = [backup(datetime(2026, 11, 20, hour, tzinfo=UTC)) for hour in (19, 12)]
    assert len(kept(rows, keep_daily=2, min_keep=0)) == 2
    assert [
        each.removed for each in plan_retention(rows, replace(basis(keep_daily=2, min_keep=0), timezone="UTC"))
    ] == [
        False,
        True,
    ]


def test_weeks_are_iso_weeks_also_over_the_turn_of_the_year() -> None:
    """2026 has a week 53, which ends on Sunday 3 January 2027."""
    now = local("2027-01-12 03:00")
    rows = days(20, until=now)
    found = plan(rows, now, keep_weekly=3, min_keep=0)
    told = [verdict.reasons[-1] for verdict in found.values() if not verdict.removed]
    assert told == [
        "keep_weekly: the last of 2027-W02, 1 of 3",
        "keep_weekly: the last of 2027-W01, 2 of 3",
        "keep_weekly: the last of 2026-W53, 3 of 3",
    ]
    assert kept(rows, now, keep_weekly=3, min_keep=0) == ["2027-01-12 00:00", "2027-01-10 00:00", "2027-01-03 00:00"]


def test_months_end_where_they_end_and_years_may_be_leap_years() -> None:
    now = local("2028-03-05 03:00")
    rows = days(70, until=now)
    assert kept(rows, now, keep_monthly=3, min_keep=0) == ["2028-03-05 00:00", "2028-02-29 00:00", "2028-01-31 00:00"]
    assert kept(rows, now, keep_yearly=2, min_keep=0) == ["2028-03-05 00:00", "2027-12-31 00:00"]


def test_an_hour_that_the_clocks_show_twice_is_two_hours() -> None:
    rows = [backup(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (1, 0)]  # 02:30 twice in Berlin
    found = plan_retention(rows, replace(basis(keep_hourly=2, min_keep=0), timezone="Europe/Berlin"))
    assert [each.removed for each in found] == [False, False]


def test_what_any_rule_asks_for_is_kept_with_every_reason() -> None:
    rows = days(10)
    found = plan(rows, keep_last=1, keep_daily=2, keep_weekly=2, min_keep=0)
    assert found[rows[0].backup_id].reasons == (
        "the newest good backup",
        "keep_last: 1 of 1",
        "keep_daily: the last of 2026-11-22, 1 of 2",
        "keep_weekly: the last of 2026-W47, 1 of 2",
    )
    assert found[rows[3].backup_id].reasons == ("keep_last, keep_daily, keep_weekly ask for others",)


def test_manual_and_automatic_backups_fill_their_own_places() -> None:
    rows = [
        backup(NOW - count * 24 * HOUR, type=Trigger.MANUAL if count % 2 else Trigger.AUTOMATIC)
        for count in range(1, 9)
    ]
    retention = Retention.model_validate({"automatic": {"keep_last": 2, "min_keep": 0}, "manual": {"keep_last": 1}})
    found = plan_retention(rows, RetentionBasis(retention, "Asia/Dhaka", NOW))
    assert [each.attempt.type for each in found if not each.removed] == ["manual", "automatic", "automatic"]


def test_at_least_min_keep_stay_however_old_they_are() -> None:
    now = local("2030-01-01 00:00")
    found = plan(days(10), now)
    assert [each.removed for each in found.values()] == [False] * 3 + [True] * 7
    assert list(found.values())[1].reasons == ("min_keep: 3 automatic backups always stay",)


def test_the_newest_good_backup_stays_even_without_a_floor() -> None:
    assert kept(days(4), local("2040-01-01 00:00"), keep_within="1 hour", min_keep=0) == ["2026-11-22 00:00"]


def test_a_backup_within_the_grace_stays() -> None:
    rows = [backup(NOW - timedelta(minutes=minutes)) for minutes in (10, 40, 64, 66)]  # each took five
    found = plan(rows, keep_last=1, min_keep=0)
    assert [each.removed for each in found.values()] == [False, False, False, True]
    assert list(found.values())[1].reasons == (
        "younger than the grace of 60 minutes: it stays until 2026-11-21 21:25 UTC",
    )


def test_a_held_backup_stays_until_its_time_is_over() -> None:
    rows = days(40)
    held = replace(rows[35], hold=Hold(RAHIM, "the audit", NOW + HOUR))
    found = plan([*rows[:35], held, *rows[36:]])
    assert found[held.backup_id].reasons == ("held by rahim until 2026-11-21 22:00 UTC: the audit",)
    over = replace(held, hold=Hold(RAHIM, "the audit", NOW))
    assert plan([*rows[:35], over, *rows[36:]])[over.backup_id].removed
    for_ever = replace(held, hold=Hold(RAHIM, "the audit"))
    assert not plan([*rows[:35], for_ever, *rows[36:]])[for_ever.backup_id].removed


def test_a_backup_that_something_reads_stays() -> None:
    rows = days(40)
    claims = {rows[35].backup_id: "restore request 7 is running: it reads this backup"}
    found = {each.attempt.backup_id: each for each in plan_retention(rows, basis(claims=claims))}
    assert found[rows[35].backup_id].reasons == (claims[rows[35].backup_id],)


@pytest.mark.parametrize(
    ("level", "proven"), [(Level.BYTES, True), (Level.REFERENCES, True), (Level.PRESENT, False), (None, False)]
)
def test_a_backup_stays_while_its_successor_is_not_verified(level: Level | None, proven: bool) -> None:
    rows = days(40)
    rows[34] = replace(rows[34], verification=Verification(level, NOW) if level is not None else None)
    found = plan(rows)
    assert found[rows[35].backup_id].removed is proven
    assert found[rows[36].backup_id].removed
    if not proven:
        told = f"{rows[34].backup_id}, which comes after it, is not verified"
        assert found[rows[35].backup_id].reasons == (told,)


def test_a_damaged_backup_takes_nobodys_place() -> None:
    rows = days(5)
    rows[0] = replace(rows[0], verification=DAMAGED)
    assert kept(rows, keep_last=2, min_keep=0) == [f"2026-11-{day} 00:00" for day in (22, 21, 20)]
    assert plan(rows, keep_last=2, min_keep=0)[rows[1].backup_id].reasons[0].endswith("is not verified")


def test_a_backup_of_the_future_is_kept_and_replaces_nothing() -> None:
    rows = [backup(NOW + 24 * HOUR), *days(3)]
    found = plan(rows, keep_last=1, min_keep=0)
    assert found[rows[0].backup_id].reasons[0].startswith("taken at 2026-11-22 21:00 UTC, which is yet to come")
    assert found[rows[1].backup_id].reasons[:1] == ("the newest good backup",)
    assert found[rows[1].backup_id].reasons[1] == "keep_last: 1 of 1"


@pytest.mark.parametrize("status", [status for status in Status if not status.good])
def test_what_is_no_good_backup_is_not_judged_and_counts_for_nothing(status: Status) -> None:
    rows = days(5)
    other = backup(NOW - HOUR, status=status)
    assert other.backup_id not in plan([other, *rows])
    assert kept([other, *rows], keep_last=1, min_keep=0) == ["2026-11-22 00:00"]


def test_a_full_backup_is_not_replaced_by_a_selective_one_but_the_reverse() -> None:
    full = backup(NOW - 40 * 24 * HOUR)
    chosen = backup(NOW - 39 * 24 * HOUR, kind=Kind.SELECTIVE, table_counts={"goods": 1}, salt=1)
    rules: dict[str, Any] = {"keep_within": "1 day", "min_keep": 0}
    assert len(kept([full, chosen], **rules)) == 2
    later = backup(NOW - 38 * 24 * HOUR, salt=2)
    assert kept([full, chosen, later], **rules) == ["2026-10-15 03:00"]
    other = replace(later, table_counts={"sold": 2})
    assert plan([full, chosen, other], **rules)[chosen.backup_id].reasons == ("the newest good backup of its tables",)


def test_partitions_without_a_bundle_replace_no_bundle() -> None:
    chosen = backup(NOW - 39 * 24 * HOUR, kind=Kind.SELECTIVE, table_counts={"goods": 1})
    only = backup(NOW - 38 * 24 * HOUR, kind=Kind.TABLES, table_counts={}, tables_wanted=("goods",), salt=1)
    rules: dict[str, Any] = {"keep_within": "1 day", "min_keep": 0}
    assert len(kept([chosen, only], **rules)) == 2
    newer = replace(only, backup_id="newer", snapshot_at=NOW - 37 * 24 * HOUR, verification=None)
    assert plan([chosen, only, newer], **rules)[only.backup_id].removed


def test_each_business_has_its_own_newest_backup() -> None:
    rows = [backup(NOW - (40 + n) * 24 * HOUR, scope=Scope("shop", business=f"b{n % 3}"), salt=n) for n in range(9)]
    found = plan(rows, keep_within="1 day", min_keep=0)
    assert [each.removed for each in found.values()] == [False] * 3 + [True] * 6


def test_objections_are_what_protects_a_backup_from_a_person_too() -> None:
    rows = days(40)
    manual = backup(NOW - 100 * 24 * HOUR, type=Trigger.MANUAL)
    every = [*rows, manual]
    assert objections(rows[20], every, basis()) == ()
    assert objections(manual, every, basis()) == ()
    assert objections(rows[0], every, basis()) == ("the newest good backup",)
    held = replace(rows[20], hold=Hold(RAHIM, "the audit"))
    assert objections(rows[20], [held], basis())[0] == "held by rahim until it is released: the audit"
    three = rows[:3]
    assert objections(rows[2], three, basis()) == ("min_keep: 3 automatic backups always stay, and 2 would be left",)
    assert objections(backup(NOW, status=Status.FAILED), rows, basis()) == ()


def test_what_a_chain_goes_on_from_stays_until_the_chain_is_gone() -> None:
    """Also where a later backup could stand in for it: the ones between could not be read any more."""
    made = [
        (Kind.FULL, Trigger.AUTOMATIC),
        (Kind.INCREMENTAL, Trigger.AUTOMATIC),
        (Kind.FULL, Trigger.MANUAL),
        (Kind.INCREMENTAL, Trigger.AUTOMATIC),
        (Kind.FULL, Trigger.AUTOMATIC),
    ]
    scope, long_ago = Scope("shop", business="42"), NOW - timedelta(days=90)
    rows = [
        backup(long_ago + number * HOUR, kind=kind, type=type_, scope=scope, salt=number)
        for number, (kind, type_) in enumerate(made)
    ]
    base, first, manual, last, _ = rows
    go_on = "later backups of its business go on from it: "
    on = basis(keep_within="1 day", min_keep=0)
    assert objections(base, rows, on) == (f"{go_on}2, up to {last.backup_id}",)
    assert objections(first, rows, on) == (f"{go_on}1, up to {last.backup_id}",)
    assert objections(last, rows, on) == objections(manual, rows, on) == ()
    assert objections(base, [base, *rows[2:3], rows[4]], on) == ()


# What holds for every rule and every set of backups.

RULES = st.fixed_dictionaries(
    {
        "min_keep": st.integers(0, 4),
        "grace_minutes": st.sampled_from([0, 60, 3000]),
        "keep_within": st.sampled_from([None, "2 hours", "3 days", "1 month", "1 year"]),
        **{name: st.integers(0, 4) for name in ("keep_last", "keep_hourly", "keep_daily", "keep_weekly")},
        **{name: st.integers(0, 3) for name in ("keep_monthly", "keep_yearly")},
    }
).filter(lambda rule: any(value for name, value in rule.items() if name.startswith("keep_")))


@st.composite
def histories(draw: st.DrawFn) -> list[Attempt]:
    """Up to 14 backups of the last three years or so, some not verified, damaged, held, selective, of the future."""
    rows = []
    for salt in range(draw(st.integers(0, 14))):
        minutes = draw(st.integers(-2000, 3 * 366 * 24 * 60))
        at = NOW - timedelta(minutes=minutes)
        changed: dict[str, Any] = {
            "type": draw(st.sampled_from([Trigger.AUTOMATIC, Trigger.AUTOMATIC, Trigger.MANUAL])),
            "kind": draw(st.sampled_from([Kind.FULL, Kind.FULL, Kind.FULL, Kind.SELECTIVE])),
            "verification": draw(st.sampled_from(_VERIFICATIONS)),
            "hold": draw(st.sampled_from([None, None, None, Hold(RAHIM, "")])),
        }
        changed["table_counts"] = {"goods": 1} if changed["kind"] == "selective" else {"goods": 1, "sold": 2}
        rows.append(backup(at, salt=salt, **changed))
    return rows


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    return Retention.model_validate({"automatic": draw(RULES), "manual": draw(RULES)})


@given(histories(), retentions(), st.randoms())
@settings(max_examples=120, deadline=None)
def test_nothing_that_must_stay_is_ever_removed(rows: list[Attempt], retention: Retention, random: Any) -> None:
    on = RetentionBasis(retention, "Asia/Dhaka", NOW)
    found = plan_retention(rows, on)
    assert sorted(each.attempt.backup_id for each in found) == sorted(row.backup_id for row in rows)
    assert all(each.reasons and all(each.reasons) for each in found)
    stay, gone = ([each.attempt for each in found if each.removed is removed] for removed in (False, True))
    for row in gone:
        assert row.hold is None
        assert NOW - (row.finished_at or NOW) >= retention.of(row.type).grace
        assert any(_better(other, row) for other in stay), (
            "whoever loses a backup has a later, verified one with its tables"
        )
    for kind in Trigger:
        sound = [row for row in rows if row.type == kind and row.kind == "full" and _sound(row)]
        left = [row for row in sound if row in stay]
        assert len(left) >= min(retention.of(kind).min_keep, len(sound))
    shuffled = random.sample(rows, len(rows))
    assert plan_retention(shuffled, on) == found


@given(histories(), RULES, st.sampled_from(["keep_last", "keep_daily", "keep_weekly", "keep_monthly", "min_keep"]))
@settings(max_examples=50, deadline=None)
def test_a_rule_that_asks_for_more_removes_no_more(rows: list[Attempt], rule: dict[str, Any], name: str) -> None:
    """But for the floor: what a rule asks for counts toward it, so the floor then adds less."""
    rule = rule if name == "min_keep" else rule | {"min_keep": 0}
    wider = rule | {name: rule[name] + 1}
    less, more = (
        {each.attempt.backup_id for each in plan_retention(rows, basis(**given)) if each.removed}
        for given in (rule, wider)
    )
    assert more <= less


@given(histories(), retentions())
@settings(max_examples=50, deadline=None)
def test_what_may_go_by_the_rules_nobody_objects_to_but_the_floor(rows: list[Attempt], retention: Retention) -> None:
    on = RetentionBasis(retention, "Asia/Dhaka", NOW)
    for each in plan_retention(rows, on):
        if each.removed:
            assert [why for why in objections(each.attempt, rows, on) if not why.startswith("min_keep")] == []


@given(histories(), retentions())
@settings(max_examples=50, deadline=None)
def test_pruning_again_at_once_never_goes_below_what_protects(rows: list[Attempt], retention: Retention) -> None:
    """A second prune may let go what only waited for a successor that is gone now; then it comes to rest."""
    on = RetentionBasis(retention, "Asia/Dhaka", NOW)
    for _ in range(len(rows) + 1):
        left = [each.attempt for each in plan_retention(rows, on) if not each.removed]
        if len(left) == len(rows):
            break
        assert any(_sound(row) for row in left) or not any(_sound(row) for row in rows)
        rows = left
    assert [each for each in plan_retention(rows, on) if each.removed] == []


def _sound(row: Attempt) -> bool:
    return not has_failed(row.verification) and (row.snapshot_at or NOW) <= NOW


def _better(other: Attempt, row: Attempt) -> bool:
    later = (other.snapshot_at or NOW, other.backup_id) > (row.snapshot_at or NOW, row.backup_id)
    whole = other.kind == "full" or (row.kind != "full" and set(other.table_counts) >= set(row.table_counts))
    return later and whole and _sound(other) and depth_of(other.verification) >= 1
