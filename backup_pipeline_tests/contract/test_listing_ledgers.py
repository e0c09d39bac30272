"""What the ledger promises of its lists: pages by key, filters, totals that are those of SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from backup_pipeline.core.due import calendar, freshness
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.listing import BackupFilter, BackupTotals, Position, parse_position
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import SCHEDULE, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger.migrate import WRITER
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.ledger.attempts import NOON, attempt
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

HOUR = timedelta(hours=1)


def _row(number: int, **fields: Any) -> Attempt:
    at = NOON + number // 2 * HOUR  # two of each instant
    given = {
        "table_counts": {"goods": 5} if number % 2 else {},
        "tables_wanted": ("goods",),
        "status": Status.SUCCESS,
        "file_size_bytes": 100 + number,
        "record_count": 10 + number,
        "sha256": "x",
    }
    return attempt(f"b{number:03}", created_at=at, started_at=at, **{**given, **fields})


ROWS = (
    *(_row(number, type=Trigger.AUTOMATIC if number % 3 else Trigger.MANUAL) for number in range(11)),
    _row(11, status=Status.FAILED, error_message="100% of the disk_is full", file_size_bytes=None, record_count=None),
    _row(12, status=Status.DELETED),
    _row(13, status=Status.RUNNING, reason="Before the Update"),
    _row(14, scope=Scope("shop"), actor=SCHEDULE, file_name="shop_backup.zip"),
    _row(15, scope=Scope("shop"), kind=Kind.TABLES),
    _row(-2, status=Status.EXPECTED),
)


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    made = new_ledger()
    made.put(*ROWS)
    return made


def _ids(rows: Sequence[Attempt]) -> list[str]:
    return [row.backup_id for row in rows]


def _wanted(fits: Any) -> list[str]:
    return _ids(
        sorted((row for row in ROWS if fits(row)), key=lambda row: (row.created_at, row.backup_id), reverse=True)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_follow_each_other_by_key_and_show_each_row_once(ledger: ScratchLedger, size: int) -> None:
    seen: list[str] = []
    after: Position | None = None
    while True:
        page = ledger.listings.page(BackupFilter(), after=after, limit=size)
        seen += _ids(page.rows)
        if page.following is None:
            break
        after = parse_position(str(page.following))
    assert seen == _wanted(lambda row: row.status not in {Status.EXPECTED, Status.DELETED})


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (BackupFilter(catalog="shop"), lambda row: row.scope == Scope("shop")),
        (BackupFilter(statuses=(Status.FAILED,)), lambda row: row.status is Status.FAILED),
        (BackupFilter(statuses=tuple(Status)), lambda _: True),
        (BackupFilter(type=Trigger.MANUAL, statuses=tuple(Status)), lambda row: row.type is Trigger.MANUAL),
        (BackupFilter(kind=Kind.TABLES), lambda row: row.kind is Kind.TABLES),
        (
            BackupFilter(since=NOON + HOUR, until=NOON + 3 * HOUR),
            lambda row: NOON + HOUR <= row.created_at < NOON + 3 * HOUR,
        ),
        (BackupFilter(text="0% of the DISK_is"), lambda row: row.backup_id == "b011"),
        (BackupFilter(text="before the update"), lambda row: row.backup_id == "b013"),
        (BackupFilter(text="schedule"), lambda row: row.backup_id == "b014"),
        (BackupFilter(text="SHOP_backup"), lambda row: row.backup_id == "b014"),
        (BackupFilter(text="%"), lambda row: row.backup_id == "b011"),
        (BackupFilter(text="\x00\ud800'; DROP TABLE backup_logs"), lambda _: False),
    ],
)
def test_a_filter_lets_through_what_fits_and_nothing_else(
    ledger: ScratchLedger, wanted: BackupFilter, fits: Any
) -> None:
    assert _ids(ledger.listings.page(wanted).rows) == _wanted(fits)


@pytest.mark.parametrize("catalog", [None, "isp", "shop", "none"])
def test_totals_are_those_of_the_backups_that_are_there(ledger: ScratchLedger, catalog: str | None) -> None:
    there = [
        row for row in ROWS if row.status.good and row.kind.bundled and (catalog is None or str(row.scope) == catalog)
    ]
    types = {trigger: sum(row.type is trigger for row in there) for trigger in Trigger}
    totals = ledger.listings.totals(catalog)
    assert totals == BackupTotals(
        len(there),
        sum(row.record_count or 0 for row in there),
        sum(row.file_size_bytes or 0 for row in there),
        {trigger: count for trigger, count in types.items() if count},
    )
    assert [totals.of(trigger) for trigger in Trigger] == [types[trigger] for trigger in Trigger]


def test_the_first_row_is_no_expected_one(ledger: ScratchLedger) -> None:
    assert ledger.listings.first("isp") == ROWS[0].created_at
    assert ledger.listings.first("none") is None


def test_the_backup_that_a_drill_restored_last(ledger: ScratchLedger) -> None:
    assert ledger.listings.rehearsed() == {}
    for number, (level, hours, passed) in enumerate(
        [(Level.RESTORED, 1, True), (Level.RESTORED, 2, True), (Level.RESTORED, 3, False), (Level.CONTENTS, 4, True)]
    ):
        ledger.verified(f"b{number:03}", Verification(level, NOON + hours * HOUR, passed=passed))
    assert {name: row.backup_id for name, row in ledger.listings.rehearsed().items()} == {"isp": "b001"}
    assert replace(ROWS[1], verification=None) == replace(ledger.listings.rehearsed()["isp"], verification=None)


def test_days_are_the_rows_as_far_as_a_calendar_looks_at_them(ledger: ScratchLedger) -> None:
    shop = catalog({"goods": None}, catalog="isp")
    at = NOON + HOUR
    whole, slim = ledger.dues.since("isp", at), ledger.listings.days("isp", at)
    assert _ids(slim) == _ids(whole)
    assert len(slim) > 5
    now = NOON + 40 * HOUR
    assert calendar(shop, slim, now, days=5) == calendar(shop, whole, now, days=5)
    assert freshness(shop, None, slim, now) == freshness(shop, None, whole, now)
    assert [(row.table_counts, row.verification, row.finished_at, row.owner) for row in slim] == [
        (row.table_counts, row.verification, row.finished_at, row.owner) for row in whole
    ]


def test_the_version_of_a_catalog_changes_with_any_of_its_rows_and_with_no_other() -> None:
    ledger = new_ledger()
    ledger.put(*ROWS)
    isp, shop = (ledger.listings.version(name) for name in (ROWS[0].scope.catalog, "shop"))
    assert ledger.listings.version("shop") == shop
    ledger.put(replace(ROWS[0], reason="another"))
    assert ledger.listings.version(ROWS[0].scope.catalog) != isp
    assert ledger.listings.version("shop") == shop
    before = ledger.listings.version(ROWS[0].scope.catalog)
    ledger.execute("DELETE FROM backup_logs WHERE backup_id = 'b002'")
    assert ledger.listings.version(ROWS[0].scope.catalog) != before
    assert ledger.listings.version("unknown") == "0 None"


_TICKS = """
INSERT INTO business_ticks (catalog, scheduled_at, status, snapshot_at, finished_at, left_out)
SELECT 'retail', t, 'success', t, t, CASE WHEN t > %(last)s THEN '["b1"]' ELSE '[]' END::jsonb
FROM generate_series(%(first)s + interval '5 minutes', %(last)s + interval '5 minutes', interval '5 minutes') AS t
"""
_LOOKED_AT = "SELECT confirmed_until FROM backup_records WHERE catalog = 'retail' AND business_id = 'b1'"


def _rows_of(relation: str, plan: dict[str, Any]) -> float:
    own = plan["Actual Rows"] * plan["Actual Loops"] if plan.get("Relation Name") == relation else 0
    return own + sum(_rows_of(relation, each) for each in plan.get("Plans", ()))


@pytest.mark.acceptance("3.21")
def test_until_when_a_business_is_right_is_found_at_its_newest_tick() -> None:
    """A business that did not change for weeks costs no look at the thousands of ticks since."""
    ledger, last = new_ledger(), NOON + timedelta(days=7)
    ledger.put(
        attempt(
            "b", scope=Scope("retail", business="b1"), type=Trigger.AUTOMATIC, status=Status.SUCCESS, snapshot_at=NOON
        )
    )
    with psycopg.connect(ledger.url, autocommit=True) as session:
        session.execute(f"SET ROLE {WRITER}".encode())
        session.execute(_TICKS, {"first": NOON, "last": last})
        session.execute("RESET ROLE")
        session.execute("ANALYZE business_ticks, backup_logs")
        session.execute(f"SET ROLE {WRITER}".encode())
        assert session.execute(_LOOKED_AT).fetchone() == (last,), "the newest left it out"
        answer = session.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {_LOOKED_AT}".encode()).fetchone()
    assert answer is not None
    assert _rows_of("business_ticks", answer[0][0]["Plan"]) < 10
