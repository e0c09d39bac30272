"""Tests of backup ids and the file names people see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.names import (
    BackupId,
    Kind,
    bundle_template,
    local_name,
    new_backup_id,
    parse_backup_id,
)
from backup_pipeline_tests.core.values import INSTANTS


@given(at=INSTANTS, kind=st.sampled_from([*Kind]), salt=st.integers(0, 2**64))
def test_an_id_reads_back_as_it_was_made(at: datetime, kind: Kind, salt: int) -> None:
    made = new_backup_id(at, kind, salt)
    assert parse_backup_id(str(made)) == made
    assert made.at == at.replace(microsecond=0)


@given(first=INSTANTS, second=INSTANTS)
def test_ids_sort_by_time_as_text(first: datetime, second: datetime) -> None:
    one, two = new_backup_id(first, Kind.FULL, 1), new_backup_id(second, Kind.FULL, 1)
    assert (str(one) < str(two)) == (one < two)


def test_an_id_looks_as_documented() -> None:
    dhaka = timezone(timedelta(hours=6))
    made = new_backup_id(datetime(2026, 11, 21, 0, 0, 0, 999_999, tzinfo=dhaka), Kind.FULL, 0x1F3A9C2E)
    assert str(made) == "20261120T180000Z-full-1f3a9c2e"
    assert ":" not in str(made)


def test_an_id_of_an_unknown_kind_is_none() -> None:
    with pytest.raises(UsageError, match="is not a backup id"):
        parse_backup_id("20261120T180000Z-partial-1f3a9c2e")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        "20261120T180000Z-full",
        "20261120T180000Z-full-1F3A9C2E",
        "20261120T180000Z-full-1f3a9c2e\n",
        " 20261120T180000Z-full-1f3a9c2e",
        "20261320T180000Z-full-1f3a9c2e",  # month 13
        "20260230T180000Z-full-1f3a9c2e",  # 30 February
        "20261120T250000Z-full-1f3a9c2e",  # 25 o'clock
        "২০২৬১১২০T180000Z-full-1f3a9c2e",  # Bangla digits
        "../20261120T180000Z-full-1f3a9c2e",
    ],
)
def test_what_is_no_id_is_a_usage_error_that_shows_one(text: str) -> None:
    with pytest.raises(UsageError, match="is not a backup id") as refused:
        parse_backup_id(text)
    assert "20261120T180000Z-full-1f3a9c2e" in refused.value.do


def test_parsing_gives_the_parts() -> None:
    assert parse_backup_id("20261120T180000Z-full-1f3a9c2e") == BackupId(
        datetime(2026, 11, 20, 18, tzinfo=UTC), Kind.FULL, "1f3a9c2e"
    )


@pytest.mark.parametrize(
    ("template", "at", "name"),
    [
        (
            "full_backup_%Y-%m-%d_%H-%M.zip",
            datetime(2026, 11, 20, 18, 0, tzinfo=UTC),
            "full_backup_2026-11-21_00-00.zip",
        ),
        ("backup_%Y-%m-%d_%H-%M.csv", datetime(2026, 3, 1, 12, 30, tzinfo=UTC), "backup_2026-03-01_18-30.csv"),
    ],
)
def test_file_names_are_in_local_time(template: str, at: datetime, name: str) -> None:
    assert local_name(template, at, "Asia/Dhaka") == name


@pytest.mark.parametrize(
    ("template", "kind", "expected"),
    [
        ("full_backup_%Y-%m-%d_%H-%M.zip", Kind.FULL, "full_backup_2026-11-21_16-43.zip"),
        ("full_backup_%Y-%m-%d_%H-%M.zip", Kind.SELECTIVE, "selective_backup_2026-11-21_16-43.zip"),
        ("customer_backup_%F.zip", Kind.SELECTIVE, "selective_customer_backup_2026-11-21.zip"),
        ("customer_backup_%F.zip", Kind.FULL, "customer_backup_2026-11-21.zip"),
        ("my_full_%F.zip", Kind.SELECTIVE, "selective_my_full_2026-11-21.zip"),
    ],
)
def test_a_selective_bundle_does_not_pose_as_a_full_one(template: str, kind: Kind, expected: str) -> None:
    at = datetime(2026, 11, 21, 10, 43, tzinfo=UTC)
    assert local_name(bundle_template(template, kind), at, "Asia/Dhaka") == expected
