"""What every ledger promises of copies: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Copies, Ledger
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.ledger.copies import FULL, SECOND, a_copy

NEWER = "20261121T180000Z-full-00000001"


@pytest.fixture
def copies(ledger: Ledger) -> Copies:
    return ledger.copies


def test_a_copy_comes_back_as_it_was_written(copies: Copies) -> None:
    failed = a_copy(
        status=CopyStatus.FAILED,
        bytes=None,
        sha256=None,
        verification=None,
        error_message="no room; বাংলা",
        owner=Owner("host", 4711, 1795252163.77),
    )
    copies.put(failed)
    assert copies.get(FULL, SECOND) == failed
    assert copies.get(FULL, "file:///other") is None
    assert copies.get(NEWER, SECOND) is None


def test_a_later_word_takes_the_place_of_an_earlier_one(copies: Copies) -> None:
    copies.put(a_copy(status=CopyStatus.COPYING, finished_at=None, owner=Owner("h", 1, 2.0)))
    copies.put(a_copy())
    assert list(copies.list()) == [a_copy()]


def test_the_same_backup_may_be_in_several_stores(copies: Copies) -> None:
    there, elsewhere = a_copy(), a_copy(store="file:///second", status=CopyStatus.FAILED)
    for copy in (there, elsewhere):
        copies.put(copy)
    assert list(copies.list(backup_id=FULL)) == [elsewhere, there]
    assert list(copies.list(store=SECOND)) == [there]


def test_the_newest_backup_comes_first_and_a_catalog_can_be_chosen(copies: Copies) -> None:
    older, newer, other = a_copy(), a_copy(backup_id=NEWER), a_copy(backup_id=FULL[:-1] + "f", scope=Scope("shop"))
    for copy in (older, newer, other):
        copies.put(copy)
    assert list(copies.list(scope=Scope("isp"))) == [newer, older]
    assert list(copies.list()) == [newer, other, older]


def test_times_come_back_in_utc(copies: Copies) -> None:
    copies.put(a_copy(at=NOON.astimezone(timezone(timedelta(hours=6)))))
    found = copies.get(FULL, SECOND)
    assert found is not None
    assert found.at == NOON
    assert type(copies).__name__ == "MemoryCopies" or found.at.tzinfo is UTC


def test_text_that_a_database_can_not_hold_does_not_keep_a_row_from_being_written(copies: Copies) -> None:
    copies.put(a_copy(status=CopyStatus.FAILED, error_message="nul \x00, lone \udcff"))
    found = copies.get(FULL, SECOND)
    assert found is not None
    assert "nul" in (found.error_message or "")


def test_many_threads_that_write_one_row_leave_one(copies: Copies) -> None:
    rows = [replace(a_copy(), bytes=number) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(copies.put, rows))
    assert len(copies.list()) == 1
    assert copies.list()[0] in rows
