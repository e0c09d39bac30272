"""Cron lines as people say them."""

from __future__ import annotations

import pytest

from backup_pipeline.core.schedule import cron_in_words


@pytest.mark.acceptance("2.13")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0 * * *", "every day at 00:00"),
        ("0 2 * * *", "every day at 02:00"),
        ("0 4 * * 0", "every Sunday at 04:00"),
        ("0 3 * * 7", "every Sunday at 03:00"),
        ("30 1 * * 1-2", "every Monday, Tuesday at 01:30"),
        ("*/5 * * * *", "every 5 minutes"),
        ("* * * * *", "every minute"),
        ("0 * * * *", "every hour"),
        ("15,45 * * * *", "every hour at minute 15, 45"),
        ("*/15 * * * 6", "every 15 minutes, every Saturday"),
        ("0 0,12 * * *", "every day at 00:00, 12:00"),
        ("0 9-17 * * *", "every day at 09:00, 10:00, 11:00, 12:00 and 5 more times"),
        ("0 2 1 * *", "on day 1 of every month at 02:00"),
        ("0 2 * 2 *", "every day in February at 02:00"),
        ("0 3 1 6 *", "on day 1 in June at 03:00"),
    ],
)
def test_a_line_in_words(line: str, words: str) -> None:
    assert cron_in_words(line) == words
