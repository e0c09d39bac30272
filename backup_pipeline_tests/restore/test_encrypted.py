"""Restoring an encrypted backup: exactly as a plain one with the key, and not a row of the target touched without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backup_pipeline.core.errors import DecryptError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import SHOP_SQL
from backup_pipeline_tests.operations.vault import (
    OWNER,
    STRANGER_SECRET,
    VAULT,
    Machine,
    cipher_of,
)
from backup_pipeline_tests.restore.bench import Bench, everything, one, run
from backup_pipeline_tests.servers.ledgers import new_ledger


@dataclass
class ByKey(Bench):
    """A bench whose restores read with what `machine` has."""

    machine: Machine | None = None

    @property
    def ports(self) -> Ports:
        assert self.machine is not None
        return replace(super().ports, store=self.machine.store, formats=self.machine.formats)


@pytest.fixture
def bench(fresh_database: str, tmp_path: Path) -> ByKey:
    run(fresh_database, SHOP_SQL)
    server = Machine(MemoryStore(), new_ledger(), tmp_path / "server", cipher_of(OWNER), [])
    attempt = server.place.back_up(fresh_database, VAULT)
    return ByKey(server.place, attempt, tmp_path / "restore", machine=server.owner)


def test_it_comes_back_as_it_was(bench: ByKey, fresh_database: str, empty_database: str) -> None:
    bench.restore(empty_database, Mode.NEW)
    assert everything(empty_database)[1] == everything(fresh_database)[1]
    assert bench.machine is not None
    assert set(bench.machine.used) == {(bench.attempt.backup_id, OWNER)}


@pytest.mark.parametrize("keys", [[], [STRANGER_SECRET]])
def test_without_its_key_nothing_is_touched(bench: ByKey, fresh_database: str, keys: list[str]) -> None:
    run(fresh_database, "DELETE FROM sold WHERE id < 100")
    assert bench.machine is not None
    for machine in (bench.machine.elsewhere("anybody", keys=keys), bench.machine.elsewhere("server", keys=keys)):
        with pytest.raises(DecryptError, match=OWNER):
            replace(bench, machine=machine).restore(fresh_database, Mode.REPLACE)
    assert one(fresh_database, "SELECT count(*) FROM sold") == 1901
