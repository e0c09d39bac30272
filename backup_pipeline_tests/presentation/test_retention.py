"""What a prune would do and did, the same in a terminal and on a page."""

from __future__ import annotations

from datetime import UTC, date, datetime

from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.retention import Verdict
from backup_pipeline.core.retention.prune import DayVerdict, Debris, Folder, Left, PrunePlan, Unfinished, Why
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.retention import PruneReport, Removed
from backup_pipeline.operations.retention.businesses import BusinessCleanup, BusinessesPruneReport
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.retention import businesses_document, left_document, plan_document, report_document
from backup_pipeline_tests.core.entries import good
from backup_pipeline_tests.presentation.drawing import in_terminal

AT = datetime(2026, 11, 20, 18, tzinfo=UTC)
KEPT, GONE, LOCKED = (good(number, {"orders": 5}, file_size_bytes=1200) for number in range(3))
LEFT = Left("backups/a|b", Why.LOCKED, "is locked until 2027.", "Wait.")
OBJECTS = (StoredObject("tables/x", 500, AT),)
PLAN = PrunePlan(
    Scope("shop"),
    AT,
    (
        Verdict(KEPT, removed=False, reasons=("the newest", "keep_last: 1")),
        Verdict(GONE, removed=True, reasons=("no rule keeps it",)),
        Verdict(LOCKED, removed=True, reasons=("no rule keeps it",)),
    ),
    begun={"begun-id": Status.EXPIRED},
    days=(DayVerdict(date(2026, 11, 1), removed=True, reason="no kept backup has this date", objects=OBJECTS),),
    debris=(Debris(Folder("debris-id", date(2026, 11, 2), OBJECTS), "no manifest"),),
    unfinished=(Unfinished("part-key", AT, "token"),),
    hidden=OBJECTS,
    copies=("copy-id",),
    remarks=("orphan: [x] is alone.",),
    locked={LOCKED.backup_id: (LEFT,)},
)


def test_a_plan_in_a_terminal_has_each_backup_with_its_reasons_then_all_else() -> None:
    lines = in_terminal(plan_document(PLAN)).splitlines()
    assert lines[0] == "Catalog shop: backups that stay 1, that go 2; 3.9 kB in all."
    fates = {line.split()[1]: line.split()[0] for line in lines[2:5]}
    assert fates == {KEPT.backup_id: "keep", GONE.backup_id: "remove", LOCKED.backup_id: "locked"}
    assert lines[2].endswith("the newest; keep_last: 1")
    assert lines[5:] == [
        "finish  begun-id: its removal was begun and not finished; it becomes expired",
        "remove  partitions of 2026-11-01: no kept backup has this date (500 bytes)",
        "remove  what is left of debris-id: no manifest (500 bytes)",
        "remove  unfinished part-key, begun 2026-11-20 18:00 UTC",
        "remove  all versions of tables/x (500 bytes)",
        "remove  copy copy-id: its backup is gone",
        "orphan: [x] is alone.",
        "LOCKED  backups/a|b: is locked until 2027.",
        "         do: Wait.",
    ]


def test_a_page_has_the_same_rows() -> None:
    page = markdown(plan_document(PLAN))
    row = f"| **remove** | {GONE.backup_id} | automatic | {GONE.partition_date} | 1.2 kB | no rule keeps it |"
    assert row in page.splitlines()
    assert r"- **orphan: \[x\] is alone.**" in page
    assert r"- LOCKED: backups/a\|b: is locked until 2027. *What to do:* Wait." in page


def test_a_report_counts_what_went_and_names_what_stays() -> None:
    place = BackupPlace(Scope("shop"), date(2026, 11, 20), "b3")
    removed = (Removed("b1", Status.EXPIRED, 2, 700), Removed("b2", Status.SUCCESS, kept="somebody reads it"))
    report = PruneReport(PLAN, removed, (), 0, (LEFT, Left(place.manifest, Why.DENIED, "may not.", "")))
    lines = in_terminal(report_document(report)).splitlines()
    assert lines[0].startswith("Catalog shop: removed backups 1, dates of partitions 0, leftovers 0; ")
    assert lines[1:4] == [
        "b2 stays: somebody reads it.",
        "LOCKED  backups/a|b: is locked until 2027.",
        "         do: Wait.",
    ]
    assert lines[4] == f"DENIED  {place.manifest}: may not."


def test_of_businesses_it_shows_the_sums_and_of_which_the_most_goes() -> None:
    report = BusinessesPruneReport("retail", confirmed=True, busy={"b9": "somebody has its lease"})
    for number in range(30):
        done = BusinessCleanup(f"b{number}", kept=800, going=number, bytes=number * 1_000_000)
        report = report.with_business(done, (), ())
    lines = in_terminal(businesses_document(report)).splitlines()
    assert lines[0] == "Businesses of retail: 30; backups that stay 24,000, removed 435; 435.0 MB."
    rows = [line.split() for line in lines if line.startswith("b") and "800" in line]
    assert (len(rows), rows[0][0], rows[-1][0]) == (20, "b29", "b10")
    assert "b9 was left out: somebody has its lease" in lines
    assert (report.partial, report.error().exit_code) == (True, 3)


def test_where_nothing_stays_nothing_is_shown() -> None:
    assert markdown(left_document(())) == ""
    assert in_terminal(left_document(())) == ""
