"""The field `retention` of a catalog file: what it may say, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.retention import Retention

HEAD = "catalog: shop\ntimezone: Asia/Dhaka\ntables: {goods: }\n"


def _load(folder: Path, text: str) -> Retention:
    path = folder / "shop.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    return load_catalog(path).retention


def test_without_it_the_defaults_hold(tmp_path: Path) -> None:
    assert _load(tmp_path, "") == Retention()


def test_each_field_is_taken(tmp_path: Path) -> None:
    text = """
retention:
  automatic: {keep_last: 1, keep_within: 2 days, keep_hourly: 3, keep_daily: 4, keep_weekly: 5, keep_monthly: 6,
              keep_yearly: 7, min_keep: 8, grace_minutes: 9}
  manual: {keep_yearly: 10}
  schedule: "30 4 * * 1"
"""
    found = _load(tmp_path, text)
    assert list(found.automatic.model_dump().values()) == [1, "2 days", 3, 4, 5, 6, 7, 8, 9]
    assert (found.manual.keep_yearly, found.manual.keep_within, found.schedule) == (10, None, "30 4 * * 1")
    assert _load(tmp_path, "retention: {schedule: null}").schedule is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "retention: {automatic: {keep_within: 30d}}",
            "retention.automatic.keep_within: '30d' is not a time to keep. Write a number and hours, days, weeks, "
            "months or years, or forever.",
        ),
        (
            "retention: {automatic: {keep_within: 30}}",
            "retention.automatic.keep_within: 30 is read as a number here: put it in quotes; wants a time such as 30 "
            "days, 6 months, 1 year, or forever.",
        ),
        (
            "retention: {manual: {min_keep: 5}}",
            "retention.manual.keep_within: no `keep_` field asks for anything. To keep every backup, write "
            "keep_within: forever.",
        ),
        (
            "retention: {automatic: {keep_dayly: 5}}",
            "retention.automatic.keep_dayly: no such field. Did you mean `keep_daily`? Allowed: keep_last, "
            "keep_within, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, min_keep, grace_minutes.",
        ),
        (
            "retention: {auto: {keep_daily: 5}}",
            "retention.auto: no such field. Did you mean `automatic`? Allowed: automatic, manual, schedule.",
        ),
        ("retention: {automatic: {keep_daily: -1}}", "wants a whole number from 0 to 10000 (given: -1)."),
        ("retention: {automatic: 30 days}", "retention.automatic: wants a rule such as {keep_within: 30 days"),
        ("retention: {schedule: Sundays}", "retention.schedule: 'Sundays' is not a cron line of five fields."),
        ("retention: 30 days", "retention: wants a mapping such as {automatic:"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(CatalogError) as caught:
        _load(tmp_path, text)
    assert caught.value.what.startswith(f"{tmp_path / 'shop.yaml'}:4: ")
    assert told in caught.value.what
