"""A machine whose clock is wrong, and what commands say after one was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.due import Settlement
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.wiring import addresses as clock
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.cli.test_retention import aged

YEARS = timedelta(days=1000)


@pytest.fixture(scope="module")
def installation(postgres_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this file's own, because it gets a backup of the future."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("ahead")) as made:  # type: ignore[arg-type]
        yield made


@pytest.fixture(scope="module")
def ahead(installation: Installation) -> Iterator[str]:
    """A backup that was made when the clocks were years ahead: newer than every other."""
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    [row] = aged(ledger, DirectoryStore(installation.store), 1, first=-YEARS.days)
    ledger.dues.settle("shop", lambda _: Settlement(), since=row.created_at, now=row.created_at)
    yield row.backup_id
    ledger.close()


@pytest.fixture
def machine_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this machine's clock, and not the ledger's, is years ahead."""
    now = clock.utc_now
    monkeypatch.setattr(clock, "utc_now", lambda: now() + YEARS)


def files(folder: Path) -> list[str]:
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())


def test_latest_is_the_newest_that_is_not_of_the_future(run: Run, installation: Installation, ahead: str) -> None:
    shown = json.loads(run("show", "latest", "--json").out)
    assert shown["backup"]["backup_id"] == installation.good.backup_id
    listed = run("list").out
    assert ahead in listed or "ahead" in listed
    assert "future" in listed


def test_check_tells_the_truth(run: Run, installation: Installation, ahead: str) -> None:
    [shop] = json.loads(run("check", "--json").out)["catalogs"]
    assert shop["newest"] == installation.good.backup_id
    assert 0 <= shop["age_s"] < 3600 * 24
    line = run("check", "--nagios").out
    assert ahead not in line
    assert not re.search(r"=-|−|-\d+ sec", line)
    assert re.search(r"shop_age=\d+s", line)


def test_nothing_is_pruned_until_the_backup_of_the_future_is_gone(
    run: Run, installation: Installation, ahead: str
) -> None:
    before = files(installation.store)
    ended = run("prune", "--catalog", "shop", "--confirm")
    assert ended.code == 21
    assert f"Backup {ahead} began 1,000 days later than it is now" in ended.err or "999 days later" in ended.err
    assert f"delete those of the future: {ahead}" in ended.err
    assert files(installation.store) == before
    assert run("delete", ahead, "--confirm", ahead, "--reason", "the clock was ahead").code == 0
    assert run("prune", "--catalog", "shop", "--confirm").code == 0


def test_a_machine_years_ahead_prunes_nothing(run: Run, installation: Installation, machine_ahead: None) -> None:
    before = files(installation.store)
    ended = run("prune", "--catalog", "shop", "--confirm")
    assert ended.code == 21
    assert re.search(r"The clock of this machine is (1,000|999) days ahead of that of the ledger", ended.err)
    assert "NTP" in ended.err
    assert files(installation.store) == before


def test_a_machine_years_ahead_still_tells_how_backups_stand(
    run: Run, installation: Installation, machine_ahead: None
) -> None:
    """Ages and due times are reckoned by the ledger's clock."""
    [shop] = json.loads(run("check", "--json").out)["catalogs"]
    assert datetime.fromisoformat(shop["at"]) - installation.good.created_at < timedelta(days=1)
    assert 0 <= shop["age_s"] < 3600 * 24


def test_a_machine_years_ahead_backs_nothing_up(
    run: Run, installation: Installation, machine_ahead: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    before = files(installation.store)
    ended = run("backup", "--catalog", "shop")
    assert ended.code == 21
    assert "The clock of this machine is" in ended.err
    assert files(installation.store) == before
    [row] = json.loads(run("list", "--status", "failed", "--limit", "1", "--json").out)
    assert "The clock of this machine is" in row["error_message"]
    began = datetime.fromisoformat(row["created_at"])
    assert timedelta(0) <= began - installation.good.created_at < timedelta(days=1)
    assert row["partition_date"] == installation.good.partition_date.isoformat()
