"""The report of a drill, the same in a terminal and on a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from backup_pipeline.core.drill import (
    DrillFinding,
    DrillRemark,
    DrillReport,
    Fault,
    How,
    InsertTrial,
    ObjectCount,
    Stages,
    TableDrill,
    TableSeconds,
)
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.verification import drill_document
from backup_pipeline_tests.presentation.drawing import in_terminal

TABLES = (
    TableDrill("goods", 2000, 2000, How.BYTES, How.FINGERPRINT, seconds=TableSeconds(0.5, 1, 2, 3)),
    TableDrill("totals", 3, None, How.NOT_COMPARED, How.DIFFERENT, restored=False),
)
REPORT = DrillReport(
    "b1",
    "shop",
    datetime(2026, 11, 20, 18, tzinfo=UTC),
    "level 3 (references)",
    bytes=1_200_000,
    bytes_to_fetch=600_000,
    server="PostgreSQL 17",
    tables=TABLES,
    objects=(ObjectCount("tables", 2, 2),),
    inserts=(InsertTrial("goods", ("id",), ("7",)), InsertTrial("totals", (), not_tried="it is a view")),
    remarks=(DrillRemark("goods", "has [no] key"),),
    stages=Stages(fetch=2, restore=4),
    seconds=9.5,
)
FAILED = replace(REPORT, findings=(DrillFinding("goods", "rows are missing", "Take another backup."),))


def test_a_good_drill_in_a_terminal() -> None:
    lines = in_terminal(drill_document(REPORT)).splitlines()
    assert lines[0] == "Drill of backup b1: everything came back as it was"
    assert "Its rows are those of 2026-11-20 18:00:00 UTC" in lines
    assert ["goods", "2,000", "2,000", "bytes", "fingerprint", "0.50", "1.00", "2.00", "3.00"] in [
        line.split() for line in lines
    ]
    assert next(line.split()[:7] for line in lines if line.startswith("totals")) == [
        "totals",
        "(view)",
        "3",
        "-",
        "not",
        "compared",
        "different",
    ]
    assert "There and valid: 2 of 2 tables." in lines
    assert "Inserted and taken back, with the next number: goods 7." in lines
    assert "Insert not tried, totals: it is a view." in lines
    assert "Note: goods: has [no] key" in lines
    assert "about 5.0 s on a machine like this one: 600.0 kB to fetch" in lines[-2]
    assert lines[-1] == "The backup can be restored: level 4 is recorded."


def test_a_page_says_the_same() -> None:
    page = markdown(drill_document(REPORT))
    assert page.startswith("**Drill of backup b1: everything came back as it was**")
    assert "| goods | 2,000 | 2,000 | bytes | fingerprint | 0.50 | 1.00 | 2.00 | 3.00 |" in page
    assert r"- Note: goods: has \[no\] key" in page
    assert "The backup can be restored: level 4 is recorded." in page


def test_what_is_different_comes_before_the_tables_with_what_to_do() -> None:
    shown, page = in_terminal(drill_document(FAILED)), markdown(drill_document(FAILED))
    assert shown.splitlines()[0] == "Drill of backup b1: 1 finding"
    assert "DIFFERENT: goods: rows are missing\n  What to do: Take another backup.\n" in shown
    assert "- **DIFFERENT**: goods: rows are missing *What to do:* Take another backup." in page
    assert shown.index("DIFFERENT:") < shown.index("Came back")
    assert "level 4" not in shown


def test_a_fault_that_was_put_in_and_age_are_told() -> None:
    report = replace(FAILED, injected=Fault.DROP_ROW, tables=(), stale="It is old.", stages=Stages())
    shown = in_terminal(drill_document(report))
    assert "FAULT INJECTED: drop-row. No level is recorded, and nobody is alerted." in shown
    assert shown.endswith("Stale: It is old.")
    assert "a machine like this one" not in shown
