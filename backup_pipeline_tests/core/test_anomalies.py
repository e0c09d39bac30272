"""What is unusual about a table: at the edges of the rules, and for whatever numbers there may be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.anomalies import History, Past, anomaly_check, judge_table, table_shape, unusual
from backup_pipeline.core.catalog.model import Anomalies
from backup_pipeline.core.catalog.rules import AnomalyKind
from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.manifest import AnomalyEntry, TableEntry
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline_tests.core.entries import COLUMNS, good, history, past, table

RULE = Anomalies()
COUNTS = st.integers(0, 10**12)


def kinds(now: TableEntry, before: Past, rule: Anomalies = RULE) -> list[str]:
    return [one.kind for one in judge_table(now, before, rule)]


@pytest.mark.parametrize(
    ("now", "before", "usual"),
    [
        (500, [1000, 1000, 1000], 1000),  # half is far
        (501, [1000, 1000, 1000], None),
        (2000, [1000, 1000, 1000], 1000),  # twice is far
        (1999, [1000, 1000, 1000], None),
        (0, [100, 100, 100], None),  # a small table: no more than the floor is lost
        (0, [101, 101, 101], 101),
        (200, [100, 100, 100], None),
        (201, [100, 100, 100], 100),
        (500, [1000, 600, 1000], None),  # it has been almost as few
        (499, [1000, 600, 1000], 1000),
        (400, [1000, 400, 1000], None),  # it comes and goes
        (900, [400, 200, 100], 200),  # more than twice as many as ever
        (799, [400, 200, 100], None),  # four times the median, but it grows
        (500, [1000, 1000], None),  # two say nothing
    ],
)
def test_far_is_beyond_ratio_floor_and_everything_seen(now: int, before: Sequence[int], usual: int | None) -> None:
    assert unusual(now, before, ratio=0.5, floor=100) == usual


@given(st.lists(COUNTS, max_size=20), COUNTS, st.floats(0.01, 0.99), st.integers(0, 10**6))
def test_nothing_within_what_was_seen_is_far(before: list[int], now: int, ratio: float, floor: int) -> None:
    found = unusual(now, before, ratio=ratio, floor=floor)
    if found is not None:
        assert len(before) >= 3
        assert now < min(before) - floor or now > max(before) + floor
        assert found == statistics.median_low(before)


@given(st.lists(COUNTS, min_size=3, max_size=20), st.integers(0, 10**6), st.data())
def test_what_is_far_below_stays_far_when_still_less_is_left(
    before: list[int], floor: int, data: st.DataObject
) -> None:
    now = data.draw(st.integers(0, min(before)))
    less = data.draw(st.integers(0, now))
    if unusual(now, before, ratio=0.5, floor=floor) is not None:
        assert unusual(less, before, ratio=0.5, floor=floor) is not None


@given(st.lists(COUNTS, min_size=3, max_size=20), st.integers(1, 1000))
def test_a_steady_table_is_never_far(before: list[int], percent: int) -> None:
    steady = [10_000 + percent] * len(before)
    assert unusual(10_000, steady, ratio=0.5, floor=100) is None


def test_half_the_rows_are_told_with_now_usual_change_and_next_step() -> None:
    [found] = judge_table(table(rows=480), past(1000, 1010, 990), RULE)
    assert (found.table, found.kind, found.now, found.usual) == ("orders", "rows", 480, 1000)
    assert found.message == "480 rows, usually 1,000 (median of 3 good backups): 52% fewer rows."
    assert found.change == "52% fewer rows"
    assert "backup-pipeline show b0" in found.do
    assert (found.held, found.standing, found.severity) == ("b0", False, "warning")


def test_emptiness_is_judged_from_the_second_backup_on_and_for_small_tables_too() -> None:
    [found] = judge_table(table(rows=0), past(3), RULE)
    assert (found.kind, found.now, found.usual) == ("emptied", 0, 3)
    assert kinds(table(rows=0), past(3, 0, 5)) == []  # it has been empty before
    assert kinds(table(rows=0), Past()) == []


def test_fewer_than_three_backups_judge_nothing_but_emptiness() -> None:
    assert kinds(table(rows=10), past(1000, 1000)) == []


def test_fewer_bytes_for_as_many_rows_are_told() -> None:
    before = past(1000, 1000, 1000, sizes=[900_000] * 3)
    assert kinds(table(size=450_000), before) == ["bytes"]
    assert kinds(table(size=451_000), before) == []
    assert kinds(table(size=10, rows=10), before) == ["rows"]  # fewer rows are fewer bytes: told once
    assert kinds(table(size=10, columns={"id": "bigint"}), before) == ["vanished_column"]  # and so are fewer columns
    assert kinds(table(size=10), past(1000, 1000, 1000, sizes=[100_000] * 3)) == []  # the floor


def test_columns_that_come_go_or_change_are_told_by_name() -> None:
    now = table(columns={"id": "integer", "title": "text"})
    found = judge_table(now, past(1000), RULE)
    assert [(one.kind, one.subject, one.now, one.usual) for one in found] == [
        ("changed_type", "id", "integer", "bigint"),
        ("new_column", "title", "text", None),
        ("vanished_column", "name", None, "text"),
    ]
    assert found[2].message == "Column name (text) is gone."
    assert [one.severity for one in found] == ["warning", "info", "warning"]


def test_what_the_catalog_begins_or_ceases_to_leave_out_is_a_decision() -> None:
    assert kinds(table(columns={"id": "bigint"}, excluded=["name"]), past(1000)) == []
    left_out = table_shape(table(columns={"id": "bigint"}, excluded=["name"]))
    assert kinds(table(), past(1000, shape=left_out)) == []


def test_keys_that_begin_to_repeat_are_told_and_those_that_always_did_are_not() -> None:
    [found] = judge_table(table(unique=False), past(1000), RULE)
    assert (found.kind, found.message) == ("duplicate_keys", "3 keys (id) stand more than once.")
    always = table_shape(table(unique=False))
    assert kinds(table(unique=False), past(1000, shape=always)) == []


def test_a_kind_that_the_catalog_allows_is_not_told() -> None:
    rule = Anomalies(allow={AnomalyKind.ROWS: "emptied by the billing run"})
    assert kinds(table(rows=10), past(1000, 1000, 1000), rule) == []
    assert kinds(table(rows=0), past(1000, 1000, 1000), rule) == ["emptied"]
    assert kinds(table(rows=0), past(1000, 1000, 1000), Anomalies(trailing=0)) == []


def test_the_check_says_what_was_found() -> None:
    before = past(1000, 1000, 1000)
    well = anomaly_check((), before)
    assert (well.passed, well.blocking) == (True, False)
    bad = anomaly_check(judge_table(table(rows=1, columns={"id": "bigint"}), before, RULE), before)
    assert (bad.passed, bad.blocking, bad.numbers) == (False, False, {"findings": 2})
    assert "1 rows, usually 1,000" in bad.message
    assert "Column name (text) is gone." in bad.message


class Days:
    """Backups of one table, day after day, each judged against those before; a finding holds what it names."""

    def __init__(self, *rows: int) -> None:
        self.attempts = [good(number, {"orders": count}) for number, count in enumerate(rows)]
        self.last = table(rows=rows[-1])

    def history(self) -> History:
        return history(*self.attempts, tables=[self.last])

    def next(self, rows: int, **fields: object) -> tuple[AnomalyEntry, ...]:
        before = self.history().of("orders", RULE.trailing)
        now = table(rows=rows, **fields)  # type: ignore[arg-type]
        found = judge_table(now, before, RULE)
        self.last = now.model_copy(update={"anomalies": found})
        self.attempts.append(good(len(self.attempts), {"orders": rows}))
        for one in found:
            self.hold(one.held, Hold(PROGRAM, "look at it"))
        return found

    def hold(self, backup_id: str | None, hold: Hold | None) -> None:
        at = next(at for at, one in enumerate(self.attempts) if one.backup_id == backup_id)
        self.attempts[at] = good(at, self.attempts[at].table_counts, hold=hold)


def test_a_finding_stands_without_a_new_hold_until_somebody_releases_it() -> None:
    days = Days(1000, 1000, 1000)
    [first] = days.next(400)
    assert (first.held, first.standing) == ("b2", False)
    for _ in range(3):
        [again] = days.next(410)
        assert (again.held, again.standing) == ("b2", True)
        assert again.usual == 1000  # what is in doubt does not become the usual by waiting
    days.hold("b2", None)
    assert days.next(410) == ()
    [worse] = days.next(100)
    assert (worse.held, worse.standing) == ("b7", False)


def test_what_comes_back_ends_its_finding() -> None:
    days = Days(1000, 1000, 1000)
    assert days.next(400)
    assert days.next(1000) == ()
    assert days.next(990) == ()


def test_a_finding_that_gets_worse_is_told_again_and_holds_the_same_backup() -> None:
    days = Days(1000, 1000, 1000)
    [fewer] = days.next(400)
    [empty] = days.next(0)
    assert (empty.kind, empty.standing, empty.held) == ("emptied", False, fewer.held)


def test_a_finding_nobody_looks_at_becomes_the_usual_once_it_fills_the_window() -> None:
    days = Days(*[1000] * 14)
    found = [bool(days.next(400)) for _ in range(20)]
    assert found[:11] == [True] * 11
    assert not any(found[13:])


def test_a_column_that_is_gone_stays_told_until_released_or_back() -> None:
    days = Days(1000)
    [first] = days.next(1000, columns={"id": "bigint"})
    [second] = days.next(1000, columns={"id": "bigint"})
    assert (first.held, second.held, second.standing) == ("b0", "b0", True)
    assert days.next(1000, columns=COLUMNS) == ()
    assert days.next(1000, columns=COLUMNS) == ()
    [typed] = days.next(1000, columns={**COLUMNS, "id": "integer"})
    assert (typed.kind, typed.held) == ("changed_type", "b4")


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12))
def test_whatever_happens_a_finding_holds_an_earlier_good_backup(counts: list[int]) -> None:
    days = Days(1000, 1000, 1000)
    for count in counts:
        known = {one.backup_id for one in days.attempts}
        for one in days.next(count):
            assert one.held in known


def test_only_the_newest_backups_that_hold_the_table_count() -> None:
    attempts = [good(number, {"orders": 7}) for number in range(5)]
    attempts += [good(5, {"other": 1}), *(good(number, {"orders": number}) for number in range(6, 9))]
    before = history(*attempts).of("orders", 4)
    assert (before.rows, before.backup_id, before.shape) == ((8, 7, 6, 7), "b8", None)
    assert history().of("orders", 4) == Past()
