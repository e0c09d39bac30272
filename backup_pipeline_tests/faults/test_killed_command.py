"""kill -9 of the real command, `backup-pipeline backup` through Dagster, in its own process group, at a few stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import pytest

from backup_pipeline_tests.faults.fault import After, Before, Fault, Moment, kill_group
from backup_pipeline_tests.faults.oracles import assert_all_ended, assert_no_debris, assert_nothing_partial, made
from backup_pipeline_tests.faults.world import GOOD, World

COMMAND = [sys.executable, "-c", "from backup_pipeline.cli import main; raise SystemExit(main())"]


def _begun(world: World, *words: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BACKUP_", "DAGSTER_", "AWS_"))}
    return subprocess.Popen(
        [*COMMAND, *words],
        env={**kept, **world.environment},
        cwd=world.home,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _done(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, told = process.communicate(timeout=100)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, told


def _ran(world: World, *words: str, codes: Sequence[int] = (0,)) -> str:
    code, out, told = _done(_begun(world, *words))
    assert code in codes, told
    return out


def _killed(world: World, proxy: str, stage: str, moment: Moment) -> None:
    fault = world.proxies[proxy].on(Fault(kill_group(lambda: process.pid), stage, moment))
    process = _begun(world, "backup")
    code, _, told = _done(process)
    world.proxies[proxy].clear()
    assert fault.fired == 1, told
    assert code == -signal.SIGKILL


def _listed(world: World) -> dict[str, str]:
    return {row["backup_id"]: row["status"] for row in json.loads(_ran(world, "list", "--json"))}


def _assert_recovers(world: World) -> None:
    """By the commands that a person has."""
    done = json.loads(_ran(world, "backup", "--json"))
    listed = _listed(world)
    assert listed[done["backup_id"]] in GOOD
    for backup_id, status in listed.items():
        assert status in {*GOOD, "failed"}
        if status in GOOD:
            _ran(world, "verify", backup_id, "--level", "2")
    _ran(world, "prune", "--confirm")
    assert_nothing_partial(world)
    assert_all_ended(world)
    assert_no_debris(world)


@pytest.mark.slow
def test_a_killed_command_is_a_failed_backup_and_the_next_one_succeeds(s3_world: World) -> None:
    _killed(s3_world, "source", 'COPY .*"sold"', After())
    assert_nothing_partial(s3_world)
    assert made(s3_world) == frozenset()
    _assert_recovers(s3_world)
    assert sorted(row["status"] for row in s3_world.rows()) == ["failed", "success"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("moment", [Before(), After()], ids=["before", "after"])
@pytest.mark.parametrize(
    ("proxy", "stage"),
    [
        ("ledger", "INSERT INTO backup_logs"),
        ("source", "pg_export_snapshot"),
        ("source", 'COPY .*"notes"'),
        ("store", "PUT .*partition.json"),
        ("store", "PUT .*[.]zip"),
        ("store", "PUT .*manifest.json"),
        ("ledger", "UPDATE backup_logs SET file_name"),
    ],
)
def test_a_command_killed_at_each_stage(s3_world: World, proxy: str, stage: str, moment: Moment) -> None:
    _killed(s3_world, proxy, stage, moment)
    assert_nothing_partial(s3_world)
    _assert_recovers(s3_world)
