"""What the ledger promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import AuditEvent, Outcome, Owner, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import SCHEDULE, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome


def test_what_never_began_is_not_there(ledger: Ledger) -> None:
    assert ledger.get("nothing") is None


def test_an_attempt_comes_back_as_it_was_written(ledger: Ledger) -> None:
    written = attempt(
        reason="before the ‘upgrade’; বাংলা",
        late=True,
        scope=Scope("isp", business="b-7"),
        run_id="run-1",
        owner=Owner("host", 4711, 1795252163.77),
        heartbeat_at=NOON,
        tables_wanted=("customers", "payments"),
    )
    ledger.begin(written)
    assert ledger.get("b1") == written


def test_times_come_back_in_utc(ledger: Ledger) -> None:
    dhaka = timezone(timedelta(hours=6))
    ledger.begin(attempt(created_at=NOON.astimezone(dhaka)))
    row = ledger.get("b1")
    assert row is not None
    assert row.created_at == NOON
    assert row.created_at.tzinfo is UTC


def test_a_backup_id_begins_once(ledger: Ledger) -> None:
    ledger.begin(attempt())
    with pytest.raises(LedgerError, match="b1 is in the ledger already"):
        ledger.begin(attempt(reason="again"))
    row = ledger.get("b1")
    assert row is not None
    assert row.reason == ""


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED, Status.MISSED])
def test_nothing_begins_as_what_it_must_become(ledger: Ledger, status: Status) -> None:
    with pytest.raises(LedgerError, match=f"can not begin as {status}"):
        ledger.begin(attempt(status=status))
    assert ledger.list() == []


def test_an_outcome_is_written_into_its_row_and_no_other(ledger: Ledger) -> None:
    ledger.begin(attempt("b1"))
    ledger.begin(attempt("b2"))
    end = outcome(
        Status.SUCCESS_WITH_WARNINGS,
        snapshot_at=NOON,
        file_name="full.zip",
        file_path="isp/backups/full.zip",
        file_size_bytes=5_000_000_000,
        record_count=3_000_000_000,
        table_counts={"customers": 7, "পেমেন্ট": 0},
        table_bytes={"customers": 70_000, "পেমেন্ট": 4},
        sha256="ab" * 32,
        consistent=True,
        warnings=("one", "two"),
    )
    ledger.end("b1", end)
    row = ledger.get("b1")
    assert row is not None
    assert {name: getattr(row, name) for name in vars(end)} == vars(end)
    assert ledger.get("b2") == attempt("b2")


def test_what_an_outcome_leaves_out_stays_as_it_is(ledger: Ledger) -> None:
    ledger.begin(attempt())
    ledger.end("b1", outcome(minutes=5, file_name="full.zip", table_counts={"a": 1}, warnings=("w",)))
    before = ledger.get("b1")
    ledger.end("b1", outcome(Status.DELETED, minutes=90))
    assert before is not None
    assert ledger.get("b1") == replace(before, status=Status.DELETED)


def test_a_row_that_has_ended_can_not_end_otherwise(ledger: Ledger) -> None:
    ledger.begin(attempt())
    ledger.end("b1", outcome(Status.FAILED, error_message="customers: gone"))
    with pytest.raises(LedgerError, match="b1 is failed and can not become success"):
        ledger.end("b1", outcome(Status.SUCCESS, error_message="all well"))
    row = ledger.get("b1")
    assert row is not None
    assert (row.status, row.error_message) == (Status.FAILED, "customers: gone")


def test_of_many_that_end_a_row_at_once_one_wins(ledger: Ledger) -> None:
    ledger.begin(attempt())

    def end(number: int) -> bool:
        try:
            ledger.end("b1", outcome(Status.FAILED, error_message=str(number)))
        except LedgerError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = [number for number, mine in enumerate(threads.map(end, range(8))) if mine]
    row = ledger.get("b1")
    assert row is not None
    assert [row.error_message] == [str(number) for number in won]


def test_a_row_that_is_not_there_can_neither_end_nor_beat(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="b9 is not in the ledger"):
        ledger.end("b9", outcome())
    with pytest.raises(LedgerError, match="b9 is not in the ledger"):
        ledger.beat("b9", NOON)


def test_a_beat_moves_the_heartbeat_of_a_running_row_only(ledger: Ledger) -> None:
    ledger.begin(attempt())
    ledger.beat("b1", NOON)
    ledger.end("b1", outcome())
    ledger.beat("b1", NOON + timedelta(hours=1))
    row = ledger.get("b1")
    assert row is not None
    assert row.heartbeat_at == NOON


def test_rows_are_listed_newest_first_and_filtered(ledger: Ledger) -> None:
    for backup_id, catalog, minutes in [("a", "isp", 0), ("c", "isp", 2), ("b", "retail", 1), ("d", "isp", 2)]:
        ledger.begin(attempt(backup_id, scope=Scope(catalog), minutes=minutes))
    ledger.end("a", outcome())
    ledger.end("c", outcome(Status.FAILED))

    def ids(**wanted: object) -> list[str]:
        return [row.backup_id for row in ledger.list(**wanted)]  # type: ignore[arg-type]

    assert ids() == ["d", "c", "b", "a"]
    assert ids(limit=2) == ["d", "c"]
    assert ids(scope=Scope("isp")) == ["d", "c", "a"]
    assert ids(status=[Status.RUNNING]) == ["d", "b"]
    assert ids(scope=Scope("isp"), status=[Status.SUCCESS, Status.FAILED]) == ["c", "a"]
    assert ids(scope=Scope("nothing")) == []


def test_the_newest_row_of_a_run_is_found(ledger: Ledger) -> None:
    ledger.begin(attempt("a", run_id="r1", minutes=0))
    ledger.begin(attempt("b", run_id="r1", minutes=1))
    ledger.begin(attempt("c", run_id="r2", minutes=2))
    found = ledger.of_run("r1")
    assert found is not None
    assert found.backup_id == "b"
    assert ledger.of_run("r3") is None


def test_the_last_good_backup_is_one_that_can_be_compared_with(ledger: Ledger) -> None:
    counted = {"customers": 3}
    cases: list[tuple[str, dict[str, Any], Outcome]] = [
        ("oldest", {}, outcome(table_counts=counted)),
        ("best", {"kind": Kind.SELECTIVE}, outcome(Status.SUCCESS_WITH_WARNINGS, table_counts=counted)),
        ("failed", {}, outcome(Status.FAILED, table_counts=counted)),
        ("uncounted", {}, outcome()),
        ("tables", {"kind": Kind.TABLES}, outcome(table_counts=counted)),
        ("elsewhere", {"scope": Scope("retail")}, outcome(table_counts=counted)),
    ]
    for minutes, (backup_id, fields, end) in enumerate(cases):
        ledger.begin(attempt(backup_id, minutes=minutes, **fields))
        ledger.end(backup_id, end)
    ledger.begin(attempt("running", minutes=20))
    newest, older = ledger.last_good(Scope("isp")), ledger.last_good(Scope("isp"), NOON + timedelta(minutes=1))
    assert newest is not None
    assert older is not None
    assert (newest.backup_id, older.backup_id) == ("best", "oldest")
    assert ledger.last_good(Scope("isp"), NOON) is None


def test_audit_rows_are_kept_newest_first(ledger: Ledger) -> None:
    first = AuditEvent(NOON, RAHIM, "begin", "b1", {"tables": ["customers"], "reason": "‘so’"})
    second = AuditEvent(NOON, RAHIM, "end", "b1")
    other = AuditEvent(NOON + timedelta(seconds=1), SCHEDULE, "login")
    for event in (first, second, other):
        ledger.audit(event)
    assert ledger.audits() == [other, second, first]
    assert ledger.audits("b1") == [second, first]
    assert ledger.audits(limit=1) == [other]


def test_the_outcome_of_a_verification_takes_the_place_of_an_earlier_one_and_of_nothing_else(ledger: Ledger) -> None:
    ledger.begin(attempt())
    ledger.begin(attempt(backup_id="b2"))
    ledger.end("b1", outcome(verification=Verification(Level.BYTES, NOON)))
    before, other = ledger.get("b1"), ledger.get("b2")
    assert before is not None
    assert before.verification == Verification(Level.BYTES, NOON)
    later = NOON + timedelta(days=3)
    for level, passed in ((Level.CONTENTS, True), (Level.BYTES, False), (None, False)):
        verification = Verification(level, later, passed=passed)
        ledger.verified("b1", verification)
        assert ledger.get("b1") == replace(before, verification=verification)
    assert ledger.get("b2") == other


def test_what_is_not_there_can_not_be_verified(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="nothing"):
        ledger.verified("nothing", Verification(Level.CONTENTS, NOON))
