"""Tests of where things lie in the store: the keys are a contract."""

from __future__ import annotations

from datetime import date

from backup_pipeline.core.layout import (
    BackupPlace,
    PartitionPlace,
    backups_prefix,
    parquet_name,
    schema_key,
    sheet_name,
)
from backup_pipeline.core.scope import Scope
from backup_pipeline.stores.files import check_key, check_prefix

DAY = date(2026, 11, 21)
BACKUP = BackupPlace(Scope("isp"), DAY, "20261120T180000Z-full-1f3a9c2e")
PARTITION = PartitionPlace(Scope("isp"), "customers", DAY)


def test_a_bundle_and_its_manifest_lie_under_date_and_id() -> None:
    folder = "isp/backups/backup_date=2026-11-21/20261120T180000Z-full-1f3a9c2e/"
    assert BACKUP.prefix == folder
    assert BACKUP.manifest == folder + "manifest.json"
    assert BACKUP.bundle("full_backup_2026-11-21_00-00.zip") == folder + "full_backup_2026-11-21_00-00.zip"
    assert BACKUP.prefix.startswith(backups_prefix(Scope("isp")))


def test_a_partition_lies_under_table_and_date() -> None:
    folder = "isp/tables/customers/backup_date=2026-11-21/"
    assert PARTITION.prefix == folder
    assert PARTITION.record == folder + "partition.json"
    assert PARTITION.file(parquet_name(0)) == folder + "part-00000.parquet"
    assert PARTITION.file(sheet_name(12)) == folder + "sheet-00012.csv"


def test_a_year_before_1000_keeps_four_digits() -> None:
    assert "backup_date=0999-01-01" in PartitionPlace(Scope("isp"), "t", date(999, 1, 1)).prefix


def test_a_table_and_another_that_starts_with_its_name_do_not_share_a_folder() -> None:
    other = PartitionPlace(Scope("isp"), "customers_old", DAY)
    assert not other.record.startswith(PARTITION.prefix)


def test_no_two_places_are_the_same_and_every_store_can_hold_them() -> None:
    keys = [
        BACKUP.manifest,
        BACKUP.bundle("a.zip"),
        PARTITION.record,
        PARTITION.file(parquet_name(0)),
        PARTITION.file(sheet_name(0)),
        schema_key(Scope("isp"), DAY),
    ]
    assert len(set(keys)) == len(keys)
    assert [check_key(key) for key in keys] == keys
    assert check_prefix(PARTITION.prefix) == PARTITION.prefix
