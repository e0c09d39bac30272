"""A backup that was made, everything about one, and the audit, in a terminal and on a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import AuditEvent, Status
from backup_pipeline.core.manifest import CheckEntry
from backup_pipeline.core.scope import Scope
from backup_pipeline.presentation import ReportDocument
from backup_pipeline.presentation.backup import audit_document, backup_document, made_document, summary_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.test_manifest import stored, table
from backup_pipeline_tests.ledger.attempts import NOON, attempt
from backup_pipeline_tests.presentation.drawing import in_terminal

ENTRIES = (
    table(
        checks=(CheckEntry(name="row_count", passed=True, message="2 rows."),),
        notes=("a | note",),
        excluded_columns={"token": "secret"},
    ),
    table(name="sold", checks=(CheckEntry(name="unique", passed=False, message="3 keys stand twice."),)),
)
MANIFEST = stored(tables=ENTRIES, warnings=("public.[x] is not listed",))
GOOD = attempt(
    status=Status.SUCCESS_WITH_WARNINGS,
    record_count=4000,
    file_size_bytes=1_200_000,
    warnings=("public.[x] is not listed",),
    reason="before <b>",
    late=True,
)
EVENTS = (
    AuditEvent(NOON, RAHIM, "alert", "b1", {"channel": "mailto", "error": "refused"}),
    AuditEvent(NOON, RAHIM, "drill", "b1", {"passed": True, "report": {"long": 1}, "why": ""}),
)


def everything(**changed: object) -> ReportDocument:
    """The document of a good backup with all that belongs to it."""
    copy = Copy("b1", Scope("isp"), "s3://second", CopyStatus.FAILED, NOON, error_message="no route")
    return backup_document(replace(GOOD, **changed), MANIFEST, None, EVENTS, NOON + timedelta(days=1), (copy,))  # type: ignore[arg-type]


def words(text: str) -> list[str]:
    """The lines of `text`, with one space between words."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_backup_that_was_made_has_its_tables_with_a_total_its_warnings_and_its_places() -> None:
    lines = in_terminal(made_document(MANIFEST, {"Bundle": "s3://store/full.zip", "UI": "http://[x]"})).splitlines()
    assert lines[0] == f"Backup {MANIFEST.backup_id}"
    total = next(line for line in lines if "Total" in line)
    assert [cell.strip() for cell in total.split("│")[1:-1]] == ["Total", "", "2", "15 bytes", "0.00"]
    assert lines[-3:] == ["Warning: public.[x] is not listed", "Bundle: s3://store/full.zip", "UI: http://[x]"]


def test_a_summary_is_for_pages_that_have_the_numbers_and_says_how_consistent_it_is() -> None:
    page = markdown(summary_document(MANIFEST))
    assert "| Snapshot | one instant, LSN 0/1A2B3C |" in page
    assert "| Made by |" in page
    assert MANIFEST.backup_id not in page


def test_everything_about_a_backup_in_three_parts() -> None:
    facts, contents, audit = in_terminal(everything()).split("\n\n")
    known = words(facts)
    assert known[:2] == ["Backup b1", "Status success_with_warnings"]
    assert {"Marks late", "Kind full, manual", "Rows 4,000", "Size 1.2 MB", "Reason before <b>"} <= set(known)
    assert known[-1] == "Copy s3://second: failed: no route"
    assert words(contents)[1:] == [
        "customers গ্রাহক 2 15 bytes 0.12 1 checks passed; a | note; without token",
        "sold গ্রাহক 2 15 bytes 0.12 unique FAILED: 3 keys stand twice.",
        "Warning: public.[x] is not listed",
    ]
    assert words(audit) == [
        "2026-11-21 12:00:00 UTC rahim alert mailto: NOT delivered: refused",
        "2026-11-21 12:00:00 UTC rahim drill passed: True",
    ]


def test_a_page_says_the_same_with_nothing_that_acts() -> None:
    page = markdown(everything())
    assert r"| Reason | before \<b\> |" in page
    assert r"1 checks passed; a \| note; without token |" in page
    assert r"- Warning: public.\[x\] is not listed" in page
    assert "| rahim | drill | passed: True |" in page


def test_without_a_manifest_the_problem_is_told_of_a_good_backup() -> None:
    shown = in_terminal(backup_document(GOOD, None, "It is gone.", (), NOON))
    assert "Manifest: It is gone." in shown
    failed = replace(GOOD, status=Status.FAILED, error_message="The table is on fire.")
    shown = in_terminal(backup_document(failed, None, "It is gone.", (), NOON))
    assert "It is gone" not in shown
    assert "The table is on fire." in shown


def test_the_audit_names_the_backup_of_each_row() -> None:
    lines = words(in_terminal(audit_document(EVENTS)))
    assert lines[0] == "When Who What Backup Detail"
    assert lines[2] == "2026-11-21 12:00:00 UTC rahim drill b1 passed: True"
