"""What is kept keeps its chain: backups of businesses, full and incremental, of any history and at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.catalog.businesses import USUAL_RULE
from backup_pipeline.core.ledger import Attempt, Hold
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.retention import (
    ManualRule,
    Retention,
    RetentionBasis,
    Rule,
    objections,
    plan_retention,
)
from backup_pipeline.core.retention.chains import LONGEST, Chains
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification, has_failed
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import NOW, backup

HOUR = timedelta(hours=1)
DAMAGED = Verification(Level.BYTES, NOW, passed=False)
USUAL = Retention(automatic=USUAL_RULE.model_copy(update={"min_keep": 0, "grace_minutes": 0}))


def business_backup(minutes: float, salt: int, before: Attempt | None = None, **fields: Any) -> Attempt:
    """A backup of a business so many minutes ago: the changes since `before`, or everything."""
    at = NOW - timedelta(minutes=minutes)
    kind = Kind.FULL if before is None else Kind.INCREMENTAL
    usual: dict[str, Any] = {
        "backup_id": f"{at:%Y%m%dT%H%M%SZ}-{kind}-{salt:08x}",
        "scope": Scope("retail", business="42"),
        "kind": kind,
        "finished_at": at,
        "goes_on_from": before.backup_id if before else None,
    }
    return backup(at, **(usual | fields))


def chain(full_at: float, count: int, *, every: float = 5, salt: int = 0, **fields: Any) -> list[Attempt]:
    """A full and the incremental backups after it, oldest first."""
    rows = [business_backup(full_at, salt, **fields)]
    for number in range(1, count):
        rows.append(business_backup(full_at - number * every, salt + number, rows[-1], **fields))
    return rows


def on(retention: Retention = USUAL, **given: Any) -> RetentionBasis:
    return RetentionBasis(retention, "Asia/Dhaka", NOW, **given)


def stays(rows: Sequence[Attempt], basis: RetentionBasis) -> list[Attempt]:
    return [each.attempt for each in plan_retention(rows, basis) if not each.removed]


def restorable(row: Attempt, there: Sequence[Attempt]) -> bool:
    """Whether all that the backup is restored from is there and good: looked for by itself, in another way."""
    known = {each.backup_id: each for each in there if not has_failed(each.verification)}
    seen = 0
    while row.backup_id in known and seen < LONGEST:
        if row.kind is Kind.FULL:
            return True
        row, seen = known.get(row.goes_on_from or "", replace(row, backup_id="nothing")), seen + 1
    return False


def test_an_hourly_one_keeps_its_chain_and_no_more() -> None:
    """A chain of two hours, four days ago, of 5 minutes each: what is kept of its end needs all before it."""
    old, newest = chain(96 * 60 - 1, 20), chain(60, 3, salt=100)
    retention = Retention(automatic=Rule(keep_within="48 hours", keep_monthly=2, min_keep=0))
    assert len(stays([*old, *newest], on(retention))) == 3, "one month: its newest backup is of the new chain"
    held = [*old[:9], replace(old[9], hold=Hold(RAHIM, "the audit")), *old[10:]]
    found = {each.attempt.backup_id: each for each in plan_retention([*held, *newest], on(retention))}
    assert [found[row.backup_id].removed for row in old] == [False] * 10 + [True] * 10
    assert found[old[0].backup_id].reasons == (f"{old[9].backup_id} goes on from it",)


def test_full_and_incremental_ones_fill_the_same_places() -> None:
    rows = [*chain(180, 10), *chain(60, 2, salt=50)]
    rule = Rule(keep_within="1 hour", keep_hourly=1, min_keep=0, grace_minutes=0)
    kept = stays(rows, on(Retention(automatic=rule)))
    assert [row.backup_id for row in kept] == [row.backup_id for row in reversed(rows[10:])]


def test_a_backup_of_before_the_column_goes_on_from_the_nearest_older_one() -> None:
    rows = [replace(row, goes_on_from=None) for row in chain(96 * 60, 12)]
    manual = business_backup(96 * 60 - 7, 77, type=Trigger.MANUAL)
    assert [row.backup_id for row in Chains([*rows[::-1]], {}).of(rows[-1]).links] == [r.backup_id for r in rows[::-1]]
    mixed = [*rows[:2], manual, *rows[2:]]
    assert manual not in Chains(mixed[::-1], {}).of(rows[-1]).links, "no chain goes on from one by hand"


def test_one_that_lacks_a_link_stands_in_for_nobody() -> None:
    """The newest good backup is then one before it, and stays however old it is."""
    old, new = chain(400 * 24 * 60, 2), chain(399 * 24 * 60, 3, salt=10)
    retention = Retention(automatic=Rule(keep_within="1 hour"))
    damaged = replace(new[1], verification=DAMAGED)
    for rows in ([*old, new[0], new[2]], [*old, new[0], damaged, new[2]]):
        found = {each.attempt.backup_id: each for each in plan_retention(rows, on(retention))}
        reason = f"{damaged.backup_id}, which comes after it, is not verified"
        newest = "the newest good backup" if damaged not in rows else reason
        assert found[new[0].backup_id].reasons[0] == newest
    broken = {new[0].backup_id: "its bundle is not in the store"}
    found = {each.attempt.backup_id: each for each in plan_retention([*old, *new], on(retention, broken=broken))}
    assert "the newest good backup" in found[old[1].backup_id].reasons
    assert found[old[0].backup_id].reasons[-1] == f"{old[1].backup_id} goes on from it"


def test_nobody_may_delete_what_another_one_goes_on_from_or_the_next_one_will() -> None:
    rows = chain(96 * 60, 4)
    manual = business_backup(60, 99, type=Trigger.MANUAL)
    assert objections(rows[1], [*rows, manual], on()) == (
        f"later backups of its business go on from it: 2, up to {rows[3].backup_id}",
    )
    assert objections(rows[3], [*rows, manual], on()) == ("the next incremental backup goes on from it",)
    later = business_backup(30, 100)
    assert objections(rows[3], [*rows, manual, later], on()) == ()


def test_rounds_take_nothing_before_what_goes_on_from_it() -> None:
    first, second = chain(96 * 60, 5), chain(90 * 60, 2, salt=40)
    newest_first = [*first, *second][::-1]
    rounds = list(Chains(newest_first, {}).rounds(newest_first))
    places = {row.backup_id: place for place, rows in enumerate(rounds) for row in rows}
    assert len(rounds) == 5
    assert all(places[row.goes_on_from] > places[row.backup_id] for row in newest_first if row.goes_on_from)


@pytest.mark.parametrize("count", [LONGEST, LONGEST + 1])
def test_a_chain_is_as_long_as_a_restore_reads(count: int) -> None:
    rows = chain(60 * 24, count)[::-1]
    assert bool(Chains(rows, {}).of(rows[0]).lacking) is (count > LONGEST)


RULES = st.fixed_dictionaries(
    {
        "keep_within": st.sampled_from(["1 hour", "48 hours", "10 days"]),
        "keep_hourly": st.integers(0, 6),
        "keep_daily": st.integers(0, 4),
        "keep_monthly": st.integers(0, 3),
        "min_keep": st.integers(0, 3),
        "grace_minutes": st.sampled_from([0, 60]),
    }
).map(Rule.model_validate)


@st.composite
def histories(draw: st.DrawFn) -> list[Attempt]:
    """Chains of two businesses over up to a year, forked and cut short, with backups by hand, damaged and held ones."""
    rows: list[Attempt] = []
    for business in ("42", "43"):
        minutes, open_chain = draw(st.integers(1, 366 * 24 * 60)), list[Attempt]()
        for _ in range(draw(st.integers(0, 16))):
            kind = draw(st.sampled_from(["full", "incremental", "incremental", "incremental", "manual", "lost"]))
            fields: dict[str, Any] = {
                "scope": Scope("retail", business=business),
                "hold": draw(st.sampled_from([None] * 6 + [Hold(RAHIM, "")])),
                "verification": draw(st.sampled_from([Verification(Level.BYTES, NOW)] * 5 + [DAMAGED, None])),
            }
            salt = len(rows) + 1000 * int(business)
            if kind == "manual":
                rows.append(business_backup(minutes, salt, type=Trigger.MANUAL, **fields))
            elif kind == "lost" and open_chain:
                open_chain.append(business_backup(minutes, salt, open_chain[-1], **fields))
            else:
                before = draw(st.sampled_from(open_chain[-2:])) if kind == "incremental" and open_chain else None
                row = business_backup(minutes, salt, before, **fields)
                open_chain = [*open_chain, row] if before else [row]
                rows.append(row)
            minutes -= draw(st.sampled_from([5, 5, 60, 1440, 30 * 1440]))
    return rows


@pytest.mark.acceptance("3.37")
@given(histories(), RULES, st.randoms())
@settings(max_examples=200, deadline=None)
def test_what_is_kept_can_be_restored_and_pruning_twice_is_pruning_once(
    rows: list[Attempt], rule: Rule, random: Any
) -> None:
    basis = on(Retention(automatic=rule))
    kept = stays(random.sample(rows, len(rows)), basis)
    assert stays(kept, basis) == kept, "pruning twice is pruning once"
    ids = {row.backup_id for row in kept}
    for row in rows:
        if row.hold is not None or row.type is Trigger.MANUAL:
            assert row.backup_id in ids
        if row.backup_id in ids and restorable(row, rows):
            assert restorable(row, kept)
    for business in ("42", "43"):
        own = [row for row in rows if row.scope.business == business]
        good = [r for r in own if restorable(r, rows) and (r.snapshot_at or NOW) <= NOW]
        newest = max(good, key=lambda r: (r.snapshot_at or NOW, r.backup_id), default=None)
        assert newest is None or newest.backup_id in ids
        for row in own:
            if row.backup_id not in ids:
                later = [r for r in good if r.backup_id in ids and (r.snapshot_at or NOW) > (row.snapshot_at or NOW)]
                assert later, "whoever loses a backup has a later one that can be restored"


@given(histories(), RULES)
@settings(max_examples=60, deadline=None)
def test_nobody_objects_to_what_the_rules_let_go_once_what_went_on_from_it_is_gone(
    rows: list[Attempt], rule: Rule
) -> None:
    """In the order of the rounds, the newest first: at no moment is one there that its chain is not."""
    basis = on(Retention(automatic=rule, manual=ManualRule(keep_within="forever")))
    going = [each.attempt for each in plan_retention(rows, basis) if each.removed]
    left = list(rows)
    for rows_of_round in Chains(sorted(rows, key=lambda r: r.backup_id, reverse=True), {}).rounds(going):
        for row in rows_of_round:
            found = objections(row, left, basis)
            assert [why for why in found if "on from it" in why] == []
        left = [row for row in left if row not in rows_of_round]
