"""Bundles of encrypted partitions, without a key; and what happens when keys are changed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from backup_pipeline.core.errors import BackupError, DecryptError, RefusedError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.verification import Level
from backup_pipeline.operations.attempts import Request, Work, begin, end_failed
from backup_pipeline.operations.backup import bundle_attempt
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.operations.vault import (
    ESCROW,
    OWNER,
    OWNER_SECRET,
    STRANGER,
    STRANGER_SECRET,
    VAULT,
    Machine,
    Vault,
    cipher_of,
    every_byte,
)


def rebundled(machine: Machine, shop_url: str) -> Attempt:
    """A bundle made of the partitions that are there."""
    ports = machine.place.ports(shop_url)
    tables = tuple(VAULT.tables)
    day = machine.ledger.list()[-1].partition_date
    request = Request(VAULT, Kind.FULL, tables, day, type=Trigger.MANUAL, actor=TESTER, reads=False)
    attempt = begin(request, ports)
    try:
        bundle_attempt(Work(request, attempt, replace(ports, spool=machine.home / "spool")))
    except BackupError as error:
        end_failed(attempt, error, ports)
        raise
    found = machine.ledger.get(attempt.backup_id)
    assert found is not None
    return found


def test_a_server_with_recipients_only_bundles_partitions_of_other_runs(vault: Vault, shop_url: str) -> None:
    vault.server.place.back_up(shop_url, VAULT, tables=("goods",), bundle=False)
    attempt = rebundled(vault.server, shop_url)
    report = vault.server.owner.verify(attempt, Level.CONTENTS)
    assert (report.findings, report.level) == ((), Level.CONTENTS)
    assert attempt.consistent is False


def test_a_server_that_did_not_write_them_needs_the_key(vault: Vault, shop_url: str) -> None:
    with pytest.raises(DecryptError, match=re.escape(f"partition.json is encrypted to {OWNER}, {ESCROW}")):
        rebundled(vault.server.elsewhere("new", OWNER, ESCROW), shop_url)
    rebundled(vault.server.elsewhere("new", OWNER, ESCROW, keys=[OWNER_SECRET]), shop_url)


@pytest.mark.parametrize("recipients", [(), (OWNER,), (OWNER, STRANGER)])
def test_partitions_encrypted_otherwise_are_not_bundled(
    vault: Vault, shop_url: str, recipients: tuple[str, ...]
) -> None:
    changed = replace(vault.server, cipher=cipher_of(*recipients))
    with pytest.raises(RefusedError, match="The partitions of goods, sold are encrypted otherwise"):
        rebundled(changed, shop_url)


def test_readable_partitions_are_not_bundled_once_encryption_is_on(vault: Vault, shop_url: str) -> None:
    plain = replace(vault.server, cipher=cipher_of())
    plain.place.back_up(shop_url, VAULT, tables=("sold",), bundle=False)
    with pytest.raises(RefusedError, match="The partitions of sold are encrypted otherwise"):
        rebundled(vault.server, shop_url)
    vault.server.place.back_up(shop_url, VAULT, tables=("sold",), bundle=False)
    rebundled(vault.server, shop_url)
    for where, data in every_byte(vault.server.raw):
        assert b"good_id" not in data, where


def test_after_a_change_of_keys_old_backups_open_with_the_old_key_and_new_ones_with_the_new(
    vault: Vault, shop_url: str
) -> None:
    newer = replace(vault.server, cipher=cipher_of(STRANGER)).place.back_up(shop_url, VAULT)
    reader = vault.server.elsewhere("reader", keys=[OWNER_SECRET, STRANGER_SECRET])
    for attempt in (vault.attempt, newer):
        assert reader.verify(attempt, Level.CONTENTS).passed
    with pytest.raises(DecryptError):
        vault.server.owner.verify(newer, Level.CONTENTS)
