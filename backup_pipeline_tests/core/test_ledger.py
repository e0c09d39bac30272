"""Tests of the moves between statuses: every pair, against the rules in words."""

from __future__ import annotations

from itertools import product

import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import GOOD, MOVES, Status, check_move

ALLOWED = {
    ("expected", "running"),
    ("expected", "missed"),
    ("expected", "canceled"),
    ("running", "success"),
    ("running", "success_with_warnings"),
    ("running", "failed"),
    ("running", "canceled"),
    ("success", "expired"),
    ("success", "deleted"),
    ("success_with_warnings", "expired"),
    ("success_with_warnings", "deleted"),
    ("failed", "deleted"),
    ("canceled", "deleted"),
    ("expired", "deleted"),
}


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_exactly_the_listed_moves_are_allowed(before: Status, after: Status) -> None:
    if (before.value, after.value) in ALLOWED:
        check_move("b1", before, after)
        return
    with pytest.raises(LedgerError, match=f"b1 is {before} and can not become {after}"):
        check_move("b1", before, after)


def test_every_status_has_its_moves() -> None:
    assert set(MOVES) == set(Status)


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(LedgerError, match="it can become canceled, missed, running"):
        check_move("b1", Status.EXPECTED, Status.SUCCESS)
    with pytest.raises(LedgerError, match="it can become nothing"):
        check_move("b1", Status.DELETED, Status.RUNNING)


def test_no_way_leads_back_to_running_or_good() -> None:
    def ends_of(status: Status) -> set[Status]:
        return set(MOVES[status]).union(*(ends_of(after) for after in MOVES[status]))

    for status in set(Status) - {Status.EXPECTED, Status.RUNNING}:
        assert not ends_of(status) & (GOOD | {Status.RUNNING})


def test_good_means_that_the_backup_is_there() -> None:
    assert {status for status in Status if status.good} == {Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS}
