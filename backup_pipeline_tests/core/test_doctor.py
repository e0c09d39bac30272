"""What the doctor makes of clocks, disks, ages and the source: ok, or what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backup_pipeline.core.doctor import (
    BucketFacts,
    DumpFacts,
    Line,
    LineState,
    Release,
    SourceFacts,
    Standby,
    judge_age,
    judge_bucket,
    judge_clock,
    judge_dump,
    judge_room,
    judge_snapshot_age,
    judge_source,
)
from backup_pipeline_tests.core.retained import NOW

SECOND = timedelta(seconds=1)
FACTS = SourceFacts("postgresql://db/shop", "backup", "18.1", 18, NOW, NOW, NOW)


def worst(lines: list[Line], word: str) -> list[Line]:
    """The lines about a word that are not ok; each says what to do."""
    found = [line for line in lines if word in line.what and line.state is not LineState.OK]
    assert all(line.do for line in found)
    return found


def source(wanted: tuple[str, ...] = ("public.goods",), **changes: Any) -> list[Line]:
    return list(judge_source("source shop", replace(FACTS, **changes), wanted))


@pytest.mark.parametrize(
    ("off", "state"),
    [(0, "ok"), (5, "ok"), (-5, "ok"), (7, "warning"), (-7, "warning"), (3600, "warning"), (3602, "problem")],
)
def test_a_clock_is_judged_by_how_far_it_is_off(off: int, state: str) -> None:
    line = judge_clock("store", "the store", NOW, NOW + off * SECOND, NOW)
    assert line.state == state
    if state != "ok":
        assert f"{abs(off)} seconds {'ahead of' if off > 0 else 'behind'}" in line.what


def test_the_time_that_asking_takes_is_no_error_of_a_clock() -> None:
    assert judge_clock("store", "it", NOW, NOW + 20 * SECOND, NOW + 40 * SECOND).state is LineState.OK


def test_room_is_three_times_the_newest_backup() -> None:
    assert judge_room("disk", "here", 300, 100).state is LineState.OK
    assert judge_room("disk", "here", 299, 100).state is LineState.WARNING
    assert judge_room("disk", "here", 99, 100).state is LineState.PROBLEM
    assert judge_room("disk", "here", 100, None).state is LineState.WARNING
    assert judge_room("disk", "here", 2**31, None).state is LineState.OK


def test_what_is_long_ago_or_never_was_is_told() -> None:
    day = timedelta(days=1)
    assert judge_age("backups", "a drill", NOW - day, NOW, 2 * day, "Do it.").state is LineState.OK
    assert judge_age("backups", "a drill", NOW - 3 * day, NOW, 2 * day, "Do it.").do == "Do it."
    assert "never" in judge_age("backups", "a drill", None, NOW, day, "Do it.").what


def test_a_source_as_it_should_be_is_ok_in_every_line() -> None:
    assert {line.state for line in source()} == {LineState.OK}


def test_an_old_version_is_told_and_no_problem() -> None:
    [line] = worst(source(version="13.5", major=13), "13.5")
    assert line.state is LineState.WARNING
    assert worst(source(version="15.1", major=15), "15.1") == []


def test_a_role_that_may_write_gets_the_statements_that_end_that() -> None:
    found = source(role='od"d', powers=("a superuser",), writable=("public.goods",), creates=("public",))
    [line] = worst(found, "may more than read")
    for word in ("is a superuser", "may write public.goods", "may create in public"):
        assert word in line.what
    assert 'FROM "od""d"' in line.do


def test_what_the_catalog_lists_and_the_role_may_not_read_is_a_problem() -> None:
    [line] = worst(source(hidden=("public.goods", "public.secrets")), "may not read")
    assert (line.state, line.do) == (LineState.PROBLEM, 'GRANT SELECT ON public.goods TO "backup";')
    assert any("public.secrets: not in the catalog" in line.what for line in source(hidden=("public.secrets",)))


def test_rows_that_are_hidden_are_a_problem_where_the_catalog_lists_the_table() -> None:
    assert worst(source(filtered=("public.goods",)), "row-level")[0].state is LineState.PROBLEM
    assert worst(source(filtered=("public.others",)), "row-level") == []


def test_a_standby_tells_its_lag_and_what_cancels_queries_there() -> None:
    assert worst(source(standby=Standby(2 * SECOND, feedback=True, delay_s=30)), "standby") == []
    assert worst(source(standby=Standby(2 * SECOND, feedback=False, delay_s=-0.001)), "standby") == []
    assert len(worst(source(standby=Standby(400 * SECOND, feedback=True, delay_s=30)), "400 seconds behind")) == 1
    [line] = worst(source(standby=Standby(2 * SECOND, feedback=False, delay_s=30)), "cancel")
    assert "hot_standby_feedback" in line.do
    assert len(worst(source(standby=Standby(None, feedback=True, delay_s=30)), "nothing yet")) == 1


def test_what_ends_a_long_snapshot_is_told() -> None:
    [line] = worst(source(ends=("transaction_timeout = 5min",)), "5min")
    assert "transaction_timeout = 0" in line.do


def test_a_pg_dump_that_is_older_than_the_server_is_a_problem() -> None:
    recent = DumpFacts("/usr/bin/pg_dump", Release(15, 20), Release(15, 20))
    assert judge_dump("source", recent).state is LineState.OK
    older = judge_dump("source", replace(recent, release=Release(18, 4), lent=True))
    assert older.state is LineState.WARNING
    assert "18.4 (with this program's libpq" in older.what
    assert "client programs of PostgreSQL 15" in older.do


def test_a_snapshot_that_was_open_for_long_is_told() -> None:
    assert judge_snapshot_age("backups", timedelta(minutes=5)).state is LineState.OK
    assert judge_snapshot_age("backups", None).state is LineState.OK
    assert judge_snapshot_age("backups", timedelta(hours=2)).state is LineState.WARNING


def test_a_bucket_that_could_lock_and_is_not_asked_to_is_told() -> None:
    facts = BucketFacts(versioned=True, lockable=True, encrypted="AES256")
    assert [line.state for line in judge_bucket("store", facts, refuses=True, locks=True)] == [LineState.OK] * 4
    [line] = worst(list(judge_bucket("store", facts, refuses=True, locks=False)), "can lock")
    assert "BACKUP_S3_LOCK_MODE" in line.do
    unknown = BucketFacts(versioned=None, lockable=None, encrypted=None)
    assert len(worst(list(judge_bucket("store", unknown, refuses=None, locks=False)), "not told")) == 3
