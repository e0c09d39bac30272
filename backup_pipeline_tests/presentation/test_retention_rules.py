"""The rules of retention as sentences."""

from __future__ import annotations

from typing import Any

import pytest

from backup_pipeline.core.retention import ManualRule, Rule
from backup_pipeline.presentation.retention import rule_sentences


@pytest.mark.parametrize(
    ("rule", "sentences"),
    [
        (
            {"keep_within": "30 days"},
            ["Each one is kept for 30 days.", "At least 3 always stay, whatever the other rules say."],
        ),
        ({"keep_within": "forever", "min_keep": 0}, ["Each one is kept for ever."]),
        (
            {"keep_last": 1, "keep_daily": 7, "keep_yearly": 1, "min_keep": 0},
            [
                "The newest one is kept.",
                "The last one of each of the newest 7 days that have one is kept.",
                "The last one of the newest year that has one is kept.",
            ],
        ),
    ],
)
def test_each_rule_is_a_sentence(rule: dict[str, Any], sentences: list[str]) -> None:
    assert rule_sentences(Rule(**rule)) == [*sentences, "Nothing goes that is younger than 60 minutes."]


def test_a_rule_without_floor_and_grace_says_neither() -> None:
    rule = ManualRule(keep_last=4, grace_minutes=0)
    assert rule_sentences(rule) == ["The newest 4 are kept."]
