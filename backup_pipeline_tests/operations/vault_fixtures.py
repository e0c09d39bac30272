"""Fixtures of an encrypted backup: each test gets a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.vault import (
    ESCROW,
    OWNER,
    VAULT,
    Machine,
    Vault,
    cipher_of,
)
from backup_pipeline_tests.servers.ledgers import new_ledger


@pytest.fixture(scope="session")
def untouched_vault(shop_url: str, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    home = tmp_path_factory.mktemp("machines") / "server"
    server = Machine(MemoryStore(), new_ledger(), home, cipher_of(OWNER, ESCROW), [])
    place = server.place
    return Vault(server, place.back_up(shop_url, VAULT), place.manifest)


@pytest.fixture
def vault(untouched_vault: Vault, tmp_path: Path) -> Vault:
    """The backup in a store and a ledger of this test's own, on a machine that still knows what it wrote."""
    raw, ledger = MemoryStore(), new_ledger()
    for stored in untouched_vault.server.raw.list(""):
        raw.put(stored.key, [untouched_vault.server.raw.get(stored.key)])
    ledger.put(untouched_vault.attempt)
    shutil.copytree(untouched_vault.server.home / "written", tmp_path / "server" / "written")
    server = Machine(raw, ledger, tmp_path / "server", untouched_vault.server.cipher, [])
    return Vault(server, untouched_vault.attempt, untouched_vault.manifest)
