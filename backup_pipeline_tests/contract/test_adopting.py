"""What every ledger promises about whole rows that a rebuild writes: one suite over memory and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import AuditEvent, Hold, Owner, Status
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import NOBODY
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt

WHOLE = attempt(
    "b1",
    status=Status.SUCCESS_WITH_WARNINGS,
    finished_at=NOON + timedelta(minutes=5),
    snapshot_at=NOON,
    file_name="full.zip",
    file_path="isp/full.zip",
    file_size_bytes=2**40,
    record_count=7,
    table_counts={"গ্রাহক": 7},
    table_bytes={"গ্রাহক": 70},
    sha256="0" * 64,
    consistent=False,
    warnings=("late",),
    verification=Verification(Level.PRESENT, NOON),
    hold=Hold(NOBODY, "hold.json", NOON + timedelta(days=3)),
    owner=Owner("host", 7, 1.5),
    due_at=NOON,
)


def test_rows_come_whole_and_with_their_audit(ledger: Ledger) -> None:
    other = attempt("b2", status=Status.DELETED, error_message="gone", minutes=1)
    events = [AuditEvent(NOON, RAHIM, "rebuild", row.backup_id, {"did": "add"}) for row in (WHOLE, other)]
    ledger.adopt([WHOLE, other], events)
    assert ledger.list() == [other, WHOLE]
    assert ledger.audits() == events[::-1]


def test_a_row_that_is_there_is_replaced_and_no_other_touched(ledger: Ledger) -> None:
    ledger.begin(attempt("b1", reason="old"))
    ledger.begin(attempt("b3", minutes=3))
    ledger.adopt([WHOLE], [])
    ledger.adopt([replace(WHOLE, hold=None)], [])
    row = ledger.get("b1")
    assert row is not None
    assert (row.status, row.reason, row.hold) == (WHOLE.status, "", None)
    assert ledger.get("b3") == attempt("b3", minutes=3)


def test_nothing_at_all_is_no_error(ledger: Ledger) -> None:
    ledger.adopt([], [])
    assert (list(ledger.list()), list(ledger.audits())) == ([], [])


def test_rows_and_audit_come_together_or_not_at_all(sql_ledger: SqlLedger) -> None:
    bad = AuditEvent(NOON, NOBODY, None, "b1")  # type: ignore[arg-type]  # the column refuses it
    with pytest.raises(LedgerError):
        sql_ledger.adopt([WHOLE], [bad])
    assert sql_ledger.get("b1") is None
