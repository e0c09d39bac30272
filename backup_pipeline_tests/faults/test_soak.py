"""The soak: random steps without one wrong word, and faults of the program, put there on purpose, that it finds."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.faults.fault import Before
from backup_pipeline_tests.faults.soak import backups, harm, troubled, upkeep, verifying
from backup_pipeline_tests.faults.soak.loop import Action, Soak, SoakError, summary, world
from backup_pipeline_tests.faults.soak.model import Harm
from backup_pipeline_tests.faults.soak.mutations import MUTATIONS
from backup_pipeline_tests.faults.soak.spots import Spot
from backup_pipeline_tests.faults.soak.turn import Turn, World
from backup_pipeline_tests.servers.swift import SwiftServer

MEMORY = Path("/dev/shm")


@pytest.fixture
def home() -> Iterator[Path]:
    """In memory where there is such a place: SQLite and the store wait for the disk at every step."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=place))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_few_random_steps(home: Path, postgres_server: EmbeddedPostgres, s3_server: SwiftServer) -> None:
    with world(home, postgres_server, s3_server) as made:
        Soak(made, seed=335).run(3)
        assert made.tally["restores compared"]["new"] >= len(made.sites)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_two_hundred_random_steps(home: Path, postgres_server: EmbeddedPostgres, s3_server: SwiftServer) -> None:
    """Others each time; what fails says with which seed it comes again."""
    seed = secrets.randbelow(10**6)
    with world(home, postgres_server, s3_server) as made:
        Soak(made, seed).run(200)
        print(f"seed {seed}\n{summary(made)}")  # noqa: T201  `pytest -rP` shows it
        for kind in ("kills of backups", "faults fired", "restores compared", "damages found", "pruned"):
            assert made.tally[kind].total(), f"seed {seed}: there were no {kind}"


def _flip_a_bit(turn: Turn) -> str:
    return harm.do_harm(turn, turn.whole()[0], Harm.FLIP)


def _verify_it(turn: Turn) -> str:
    return verifying.verify_fully(turn, next(iter(turn.site.good.values())), 1)


def _prune_later(turn: Turn) -> str:
    return upkeep.prune(turn, timedelta(minutes=10))


def _kill_before_the_manifest(turn: Turn) -> str:
    return troubled.killed(turn, Spot("store", "manifest", Before()))


_SCRIPTS: dict[str, tuple[str, Sequence[Callable[[Turn], str]]]] = {
    "the verifier trusts the manifest": ("directory", [_flip_a_bit, _verify_it]),
    "prune forgets holds": ("directory", [upkeep.hold, backups.full, backups.full, _prune_later]),
    "a backup is listed before its manifest is there": ("s3", [_kill_before_the_manifest]),
}
_FOUND = {
    "the verifier trusts the manifest": "FALSE GREEN: .* verified at level 1",
    "prune forgets holds": "removed, and protected",
    "a backup is listed before its manifest is there": "is listed as success, and has no manifest in the store",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation",
    MUTATIONS,
)
def test_a_fault_of_the_program_is_found(
    mutation: str, home: Path, postgres_server: EmbeddedPostgres, s3_server: SwiftServer
) -> None:
    store, script = _SCRIPTS[mutation]
    with (
        world(home, postgres_server, s3_server, stores=[store], mutation=mutation) as made,
        pytest.raises(SoakError, match=_FOUND[mutation]),
    ):
        _scripted(made, script)


@pytest.mark.slow
def test_without_it_the_same_steps_pass(home: Path, postgres_server: EmbeddedPostgres, s3_server: SwiftServer) -> None:
    for number, (store, script) in enumerate(_SCRIPTS.values()):
        with world(home / str(number), postgres_server, s3_server, stores=[store]) as made:
            _scripted(made, script)


def _scripted(made: World, script: Sequence[Action]) -> None:
    Soak(made, seed=1, script=script).run(1 + len(script))
