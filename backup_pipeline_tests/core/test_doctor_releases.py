"""Releases of PostgreSQL, compared across their branches."""

from __future__ import annotations

import pytest

from backup_pipeline.core.doctor import Release


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", Release(15, 20)),
        ("19beta1", Release(19, 0)),
        ("PostgreSQL", None),
    ],
)
def test_a_release_is_read_from_what_programs_say(text: str, release: Release | None) -> None:
    assert Release.read(text) == release


def test_a_servers_number_is_its_release() -> None:
    assert [str(Release.of(number)) for number in (150020, 180004)] == ["15.20", "18.4"]


@pytest.mark.parametrize(
    ("program", "server", "recent"),
    [
        ("15.20", "15.20", True),
        ("15.19", "15.20", False),
        ("18.4", "15.20", False),
        ("18.6", "15.20", True),
        ("18.1", "17.7", True),
        ("18.1", "17.8", False),
        ("16.11", "14.20", True),
        ("99.0", "18.4", True),
    ],
)
def test_minor_releases_of_all_branches_come_on_the_same_day(program: str, server: str, recent: bool) -> None:
    first, second = Release.read(program), Release.read(server)
    assert first
    assert second
    assert first.is_as_recent(second) is recent
    assert first.reads(second)
    assert not Release(second.major - 1, 99).reads(second)
