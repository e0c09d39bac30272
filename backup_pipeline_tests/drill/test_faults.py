"""The drill drilled: each fault that is put into a copy is found, and the backup itself stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.core.drill import BLIND, Fault
from backup_pipeline.core.errors import BackupError, NotFoundError, StaleError, VerificationError
from backup_pipeline.postgres.drill import PostgresScratch
from backup_pipeline_tests.drill.rehearsing import Rehearsing, backed_up, run
from backup_pipeline_tests.operations.conftest import SHOP, SHOP_SQL


@pytest.fixture
def shop(fresh_database: str, tmp_path: Path) -> Iterator[Rehearsing]:
    """A backed up shop, whose store, ledger row and folder are afterwards as they were, and nobody was alerted."""
    run(fresh_database, SHOP_SQL)
    made = backed_up(fresh_database, tmp_path, SHOP)
    stored, level = made.stored(), made.level()
    yield made
    assert made.stored() == stored
    assert made.level() == level == (1, True)
    assert made.alerter.alerts == []
    assert made.left() == []


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.BITFLIP, "has the SHA-256"),
        (Fault.DROP_FILE, "parquet/sold/part-00000.parquet: level 2 (contents): is missing."),
        (Fault.DROP_ROW, "sold: 2,000 rows are in the backup, 1,999 came back."),
    ],
)
def test_an_injected_fault_is_found_and_said_to_be_injected(shop: Rehearsing, fault: Fault, seen: str) -> None:
    report, outcome = shop.inject(fault)
    assert isinstance(outcome, VerificationError)
    assert outcome.exit_code == 20
    assert f"Injected fault {fault} was FOUND" in outcome.what
    assert "was not touched; nothing was recorded" in outcome.do
    assert any(str(finding).endswith(seen) or seen in finding.message for finding in report.findings)
    assert report.injected is fault
    [event] = shop.audits("drill with injected fault")
    assert event.detail["outcome"] == outcome.what
    assert shop.audits() == []


def test_a_drill_that_does_not_see_the_fault_is_blind(shop: Rehearsing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresScratch, "drop_row", lambda *_: None)
    _, outcome = shop.inject(Fault.DROP_ROW)
    assert outcome.exit_code == 1
    assert BLIND in outcome.what
    assert "no drill can be trusted" in outcome.do


def test_a_stale_backup_is_noticed_by_its_schedule(shop: Rehearsing) -> None:
    _, outcome = shop.inject(Fault.STALE)
    assert isinstance(outcome, StaleError)
    assert outcome.exit_code == 22
    assert "Injected fault stale was FOUND" in outcome.what


def test_without_a_schedule_nothing_is_ever_stale_and_the_drill_blind(shop: Rehearsing) -> None:
    unscheduled = SHOP.model_copy(update={"schedule": None})
    for catalog, why in ((unscheduled, "no schedule"), (None, "not there")):
        _, outcome = shop.inject(Fault.STALE, catalog=catalog)
        assert outcome.exit_code == 1
        assert BLIND in outcome.what
        assert why in outcome.what


def test_no_fault_goes_into_a_backup_that_is_gone(shop: Rehearsing) -> None:
    gone = [key for key in shop.stored() if key.endswith((".zip", "shop/manifest.json"))]
    kept = {key: shop.place.store.get(key) for key in gone}
    shop.place.store.delete(gone)
    with pytest.raises(NotFoundError):
        shop.inject(Fault.BITFLIP)
    for key, content in kept.items():
        shop.place.store.put(key, [content])


def test_an_injected_drill_that_can_not_be_done_is_no_found_fault(
    shop: Rehearsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise BackupError("no server today")

    monkeypatch.setattr(PostgresScratch, "server_version", broken)
    with pytest.raises(BackupError, match="no server today") as failed:
        shop.inject(Fault.DROP_ROW)
    assert failed.value.exit_code == 1
