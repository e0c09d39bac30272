"""The plan of a prune beyond the backups themselves: what belongs to whom in a store, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.retention.prune import (
    PrunePlan,
    StoreFacts,
    Unfinished,
    make_plan,
    records_first,
    sorted_days,
    sorted_folders,
)
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.core.retained import NOW, backup, basis, days

OLD = NOW - timedelta(hours=5)


def stored(*keys: str) -> list[StoredObject]:
    return [StoredObject(key, 10, OLD) for key in keys]


def plan(*rows: Attempt, facts: StoreFacts) -> PrunePlan:
    return make_plan(Scope("shop"), rows, facts, basis())


def test_folders_are_told_apart_and_what_has_another_shape_is_left_alone() -> None:
    found = sorted_folders(
        Scope("shop"),
        stored(
            "shop/backups/backup_date=2026-11-21/a/full.zip",
            "shop/backups/backup_date=2026-11-21/a/hold.json",
            "shop/backups/backup_date=2026-11-21/a/manifest.json",
            "shop/backups/backup_date=2026-11-21/b/full.zip",
            "shop/backups/backup_date=2026-13-45/c/full.zip",
            "shop/backups/backup_date=2026-11-21/loose.txt",
            "shop/backups/backup_date=2026-11-21/d/deeper/full.zip",
            "shop/backups/notes/e/full.zip",
        ),
    )
    assert set(found) == {"a", "b"}
    assert found["a"].pointers == ("shop/backups/backup_date=2026-11-21/a/manifest.json",)
    assert [key.rpartition("/")[2] for key in found["a"].data] == ["full.zip", "hold.json"], "what protects goes last"
    assert (found["a"].has_manifest, found["a"].has_hold, found["a"].bytes) == (True, True, 30)
    assert (found["b"].has_manifest, found["b"].has_hold) == (False, False)


def test_days_are_those_of_partitions_and_schemas_alone() -> None:
    found = sorted_days(
        Scope("shop"),
        stored(
            "shop/tables/goods/backup_date=2026-11-21/partition.json",
            "shop/schema/backup_date=2026-11-21/schema.sql",
            "shop/tables/goods/backup_date=2026-11-20/part-00000.parquet",
            "shop/backups/backup_date=2026-11-21/a/full.zip",
            "shop/tables/goods/readme.txt",
        ),
    )
    assert {day: len(objects) for day, objects in found.items()} == {date(2026, 11, 20): 1, date(2026, 11, 21): 2}


def test_the_records_of_partitions_go_before_their_files() -> None:
    keys = ["t/part-00000.parquet", "t/partition.json", "t/sheet-00000.csv", "u/partition.json", "schema.sql"]
    assert records_first(keys) == (
        ("t/partition.json", "u/partition.json"),
        ("t/part-00000.parquet", "t/sheet-00000.csv", "schema.sql"),
    )


RUNNING = backup(NOW - timedelta(hours=8), status=Status.RUNNING)


@pytest.mark.parametrize(
    ("key", "age", "rows", "goes"),
    [
        ("shop/backups/backup_date=2026-11-21/dead/full.zip", 5, (), True),
        ("shop/backups/backup_date=2026-11-21/dead/full.zip", 0.5, (), False),
        ("shop/backups/backup_date=2026-11-21/dead/full.zip", 5, (RUNNING,), True),
        (f"shop/backups/backup_date=2026-11-21/{RUNNING.backup_id}/full.zip", 5, (RUNNING,), False),
        ("shop/tables/goods/backup_date=2026-11-21/part-00000.parquet", 5, (RUNNING,), False),
        ("shop/tables/goods/backup_date=2026-11-21/part-00000.parquet", 5, (), True),
        (".partial/4711-0", 5, (), True),
    ],
)
def test_unfinished_uploads_go_unless_they_are_young_or_a_runs(
    key: str, age: float, rows: tuple[Attempt, ...], goes: bool
) -> None:
    found = Unfinished(key, NOW - timedelta(hours=age), "token")
    made = plan(*rows, facts=StoreFacts({}, {}, unfinished=(found,)))
    assert made.unfinished == ((found,) if goes else ())


def test_only_what_was_removed_on_purpose_is_removed_for_good() -> None:
    """What somebody else deleted in a versioned bucket may be wanted back."""
    ours = replace(days(9)[8], status=Status.EXPIRED)
    good = days(9)[3]
    hidden = stored(
        f"shop/backups/backup_date={ours.partition_date}/{ours.backup_id}/full.zip",
        f"shop/tables/goods/backup_date={ours.partition_date}/part-00000.parquet",
        f"shop/backups/backup_date={good.partition_date}/{good.backup_id}/manifest.json",
        f"shop/tables/goods/backup_date={good.partition_date}/part-00000.parquet",
        "shop/backups/backup_date=2026-01-01/unknown/full.zip",
    )
    made = plan(ours, good, facts=StoreFacts({}, {}, hidden=tuple(hidden)))
    assert [found.key for found in made.hidden] == [hidden[0].key, hidden[1].key]
    assert made.bytes == 20


def test_an_expected_or_missed_backup_is_none() -> None:
    rows = [
        replace(row, status=status)
        for row, status in zip(days(3), (Status.EXPECTED, Status.MISSED, Status.FAILED), strict=True)
    ]
    made = plan(*rows, facts=StoreFacts({}, {}))
    assert (made.verdicts, made.remarks, made.empty) == ((), (), True)
