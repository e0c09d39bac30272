"""kill -9 at every stage: nothing partial is listed, the row ends, the next run succeeds, no debris stays."""

from __future__ import annotations

import re

import pytest

from backup_pipeline_tests.faults.deeds import BackUp
from backup_pipeline_tests.faults.killing import (
    Kill,
    all_kills,
    assert_dead_row_is_told,
    assert_recovers,
    kill,
    kill_on_disk,
)
from backup_pipeline_tests.faults.on_disk import OnDisk
from backup_pipeline_tests.faults.world import World

_IN_THE_LEDGER = ["INSERT INTO backup_logs", "INSERT INTO leases", "SET file_name"]
_IN_THE_SOURCE = ["pg_export_snapshot", 'COPY .*"sold"']
_IN_S3 = ["[.]zip", "manifest[.]json"]
_EVERY = 50
"""`make test` kills at some of the changes on disk only."""
PARTS = BackUp(part_bytes=5 << 20)


def _chosen(kills: list[Kill], *patterns: str) -> list[Kill]:
    """The first stage that each pattern finds, before and after."""
    found = []
    for pattern in patterns:
        matching = [each for each in kills if re.search(pattern, each.stage)]
        assert matching, f"no stage is like {pattern}"
        found += [each for each in matching if each.stage == matching[0].stage]
    return found


def _one_after_the_other(world: World, kills: list[Kill], subtests: pytest.Subtests) -> None:
    """Each run finds what the killed one before it left, and closes its row; the last one goes through."""
    for each in kills:
        with subtests.test(str(each)):
            kill(world, each)
    assert_dead_row_is_told(world)
    assert_recovers(world)


def test_killed_at_stages_of_ledger_and_source(directory_world: World, subtests: pytest.Subtests) -> None:
    kills = all_kills(directory_world, BackUp())
    _one_after_the_other(directory_world, _chosen(kills, *_IN_THE_LEDGER, *_IN_THE_SOURCE), subtests)


def test_killed_at_stages_of_s3(s3_world: World, subtests: pytest.Subtests) -> None:
    kills = all_kills(s3_world, BackUp())
    _one_after_the_other(s3_world, _chosen(kills, *_IN_S3), subtests)


def test_killed_at_changes_on_disk(directory_world: World, subtests: pytest.Subtests) -> None:
    _killed_on_disk(directory_world, _EVERY, subtests)


def _killed_on_disk(world: World, every: int, subtests: pytest.Subtests) -> None:
    watched = OnDisk(BackUp(), str(world.home))
    world.do(BackUp())
    changes = world.do(watched).changes
    assert any("os.rename" in change and "/store/" in change for change in changes)
    killed = 0
    for at in range(1, len(changes), every):
        with subtests.test(f"before {at}: {changes[at - 1]}"):
            killed += kill_on_disk(world, at)
    assert killed > len(changes) // every * 0.8
    assert_dead_row_is_told(world)
    assert_recovers(world)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_every_stage_with_a_recovery_after_each(s3_world: World, subtests: pytest.Subtests) -> None:
    kills = all_kills(s3_world, BackUp())
    assert len(kills) > 90
    for each in kills:
        with subtests.test(str(each)):
            kill(s3_world, each)
            assert_dead_row_is_told(s3_world)
            assert_recovers(s3_world)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_every_part_of_an_upload(s3_world: World, subtests: pytest.Subtests) -> None:
    s3_world.fill("goods", kib=24)
    kills = [each for each in all_kills(s3_world, PARTS) if "upload" in each.stage]
    assert sum("partNumber" in each.stage for each in kills) >= 2 * 5
    for each in kills:
        with subtests.test(str(each)):
            kill(s3_world, each, PARTS)
            assert_dead_row_is_told(s3_world)
            assert_recovers(s3_world)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_every_change_on_disk(directory_world: World, subtests: pytest.Subtests) -> None:
    _killed_on_disk(directory_world, 1, subtests)
