"""A run of Dagster with recipients set: its whole backup is encrypted; a bad recipient is a failed run with its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.verification import Level
from backup_pipeline.formats.keys import new_identity
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.orchestration.installation import TABLES, Installation

SECRET, PUBLIC = new_identity()


def readable(store: Path, *words: bytes) -> list[str]:
    return [
        str(file) for file in store.rglob("*") if file.is_file() and any(word in file.read_bytes() for word in words)
    ]


@pytest.mark.acceptance("3.26")
def test_everything_that_a_run_stores_is_encrypted(installation: Installation) -> None:
    installation.configure(BACKUP_AGE_RECIPIENTS=PUBLIC)
    assert installation.run().success
    assert readable(installation.home / "store", b"Customer 17", b"joined_at", b"CREATE TABLE", b"row_count") == []
    manifest = installation.manifest()
    assert manifest.encryption is not None
    assert {table.name for table in manifest.tables} == set(TABLES)
    # One table again, and a bundle of partitions of both runs, on the server that has no key.
    assert installation.run("orders").success
    with installation.instance() as instance:
        assert installation.run_job("shop_full_backup", "bundle", instance=instance).success
    assert installation.manifest().consistent is False


def test_with_the_key_it_verifies_and_the_audit_names_the_key(installation: Installation) -> None:
    installation.configure(BACKUP_AGE_RECIPIENTS=PUBLIC)
    assert installation.run().success
    attempt = installation.attempt()
    installation.configure(BACKUP_AGE_RECIPIENTS="", BACKUP_AGE_IDENTITY=SECRET)
    with open_ports(installation.settings, "shop") as ports:
        request = VerifyRequest(Level.REFERENCES)
        report = verify_attempt(attempt, request, ports, actor=TESTER)
    assert (report.findings, report.level) == ((), Level.REFERENCES)
    used = [event for event in installation.audits() if event.action == "key used"]
    assert [(event.backup_id, event.detail) for event in used] == [(attempt.backup_id, {"identity": PUBLIC})]


def test_a_bad_recipient_fails_the_run_before_anything_is_stored(installation: Installation) -> None:
    installation.configure(BACKUP_AGE_RECIPIENTS="age1nonsense")
    with installation.instance() as instance:
        assert not installation.run_job("shop_full_backup", instance=instance).success
    attempt = installation.attempt()
    assert attempt.status == "failed"
    assert "'age1nonsense' is no age recipient" in (attempt.error_message or "")
    assert readable(installation.home / "store", b"") == []
