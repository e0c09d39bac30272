"""What a command reads is noted in the ledger while it does, so that nobody removes it under its hands."""

from __future__ import annotations

from typing import Any

import pytest

from backup_pipeline.core.errors import BackupError
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation


@pytest.mark.parametrize(
    ("work", "command", "reads"),
    [
        ("verify", ("verify", "latest"), "backup_pipeline.operations.verify.verify_backup"),
        ("download", ("download", "latest"), "backup_pipeline.operations.download.download_bundle"),
        ("download", ("download", "latest", "--as", "json"), "backup_pipeline.operations.download.render_backup"),
        ("query", ("query", "FROM goods", "--catalog", "shop"), "backup_pipeline.formats.query.DuckQueries.rows"),
        ("query", ("query", "FROM goods", "--as-of", "latest"), "backup_pipeline.formats.query.DuckQueries.rows"),
        ("drill", ("drill",), "backup_pipeline.operations.drill.rehearse"),
    ],
)
def test_who_reads_is_noted_and_a_deletion_refused_with_11(
    run: Run,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    command: tuple[str, ...],
    reads: str,
) -> None:
    refused = []
    good = installation.good.backup_id

    def reading_now(*_: Any, **__: Any) -> None:
        refused.append(run("delete", good, "--confirm", good))
        message = "It was looked at."
        raise BackupError(message)

    monkeypatch.setattr(reads, reading_now)
    assert run(*command).code == 1
    [ended] = refused
    assert ended.code == 11
    assert f"it is being read by {work} (by rahim, host " in ended.err
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    assert ledger.readings.list() == []
    ledger.close()
