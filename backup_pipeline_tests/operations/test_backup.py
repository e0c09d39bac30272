"""Rows whose process is gone: the store decides whether they are backups; nothing in it may block the next start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline.operations.backup import close_orphans
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.ledgers import new_ledger


def _closed(made: Made, spool: Path) -> Status:
    """How the made backup's row ends when its process died before it closed the row."""
    ledger = new_ledger()
    ledger.begin(replace(made.attempt, status=Status.RUNNING, finished_at=None))
    ports = Place(spool, made.store, ledger).ports("postgresql://nobody@127.0.0.1:1/none")
    assert [attempt.backup_id for attempt in close_orphans(replace(ports, alive=lambda _: False))] == [
        made.attempt.backup_id
    ]
    closed = ledger.get(made.attempt.backup_id)
    assert closed is not None
    return closed.status


def test_a_run_that_died_after_its_manifest_has_made_a_backup(made: Made, tmp_path: Path) -> None:
    assert _closed(made, tmp_path) is Status.SUCCESS


@pytest.mark.parametrize("content", [b"", b"{}", b"not json"])
def test_a_damaged_manifest_is_no_backup_and_blocks_nobody(made: Made, tmp_path: Path, content: bytes) -> None:
    made.store.put(made.place.manifest, [content])
    assert _closed(made, tmp_path) is Status.FAILED


def test_a_bundle_that_is_gone_is_no_backup(made: Made, tmp_path: Path) -> None:
    made.store.delete([made.bundle])
    assert _closed(made, tmp_path) is Status.FAILED
