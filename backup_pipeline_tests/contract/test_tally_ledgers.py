"""What every ledger promises of its tallies: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from backup_pipeline.core.due import KnownDues, Settlement, due_row
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome

SHOP = catalog({"goods": None})


def _ended(ledger: Ledger, backup_id: str, *ends: Status) -> None:
    ledger.begin(attempt(backup_id))
    for end in ends:
        ledger.end(backup_id, outcome(end, sha256="x"))


def _due(backup_id: str) -> Attempt:
    return replace(due_row(SHOP, NOON), backup_id=backup_id, scope=Scope("isp"))


def test_an_attempt_counts_once_it_has_ended(ledger: Ledger) -> None:
    assert ledger.tallies.ends() == {}
    ledger.begin(attempt("b1"))
    assert ledger.tallies.ends() == {}
    ledger.beat("b1", NOON)
    ledger.end("b1", outcome(Status.SUCCESS))
    assert ledger.tallies.ends() == {(Scope("isp"), Status.SUCCESS): 1}


def test_what_became_of_its_backup_changes_nothing(ledger: Ledger) -> None:
    _ended(ledger, "b1", Status.SUCCESS, Status.EXPIRED, Status.DELETED)
    _ended(ledger, "b2", Status.SUCCESS_WITH_WARNINGS)
    _ended(ledger, "b3", Status.SUCCESS)
    ledger.hold("b3", None)
    assert ledger.tallies.ends() == {(Scope("isp"), Status.SUCCESS): 2, (Scope("isp"), Status.SUCCESS_WITH_WARNINGS): 1}


def test_a_due_time_counts_when_it_was_missed_and_not_before(ledger: Ledger) -> None:
    def decided(expected: tuple[Attempt, ...], missed: tuple[Attempt, ...]) -> None:
        def decide(_: KnownDues) -> Settlement:
            return Settlement(expected=expected, missed=missed)

        ledger.dues.settle("isp", decide, since=NOON, now=NOON + timedelta(hours=1))

    decided((_due("due"),), ())
    assert ledger.tallies.ends() == {}
    decided((), (_due("due"),))
    decided((), (replace(_due("never-expected"), due_at=NOON + timedelta(days=1)),))
    assert ledger.tallies.ends() == {(Scope("isp"), Status.MISSED): 2}


def test_what_a_rebuild_writes_counts_too(ledger: Ledger) -> None:
    found = [replace(attempt(f"b{n}"), status=Status.SUCCESS, sha256="x") for n in range(3)]
    ledger.adopt(found, ())
    ledger.adopt(found, ())
    assert ledger.tallies.ends() == {(Scope("isp"), Status.SUCCESS): 3}
