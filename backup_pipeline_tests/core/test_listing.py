"""Positions in a list of backups: written into a URL and read from it, whatever somebody puts there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.listing import Position, parse_position


def test_a_position_comes_back_as_it_was() -> None:
    position = Position(datetime(2026, 11, 30, 10, 55, 36, 42, tzinfo=UTC), "20261130T105536Z-full-ab~0\n1bc3")
    assert parse_position(str(position)) == position


@pytest.mark.parametrize("text", ["", "x", "20261130T105536.000000Z", "20269930T105536.000000Z~a", "'; --~b", "~"])
def test_anything_else_is_a_wrong_request(text: str) -> None:
    with pytest.raises(UsageError, match="not known"):
        parse_position(text)
