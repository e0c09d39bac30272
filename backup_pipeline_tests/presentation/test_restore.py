"""A restore's plan, report and requests, in a terminal and on a page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore import (
    Action,
    Mode,
    RemarkSeverity,
    RestorePlan,
    RestoreRemark,
    RestoreReport,
    RestoreRequest,
    SchemaSteps,
    TableReport,
    TableRestore,
)
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.presentation import ReportDocument
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.restore import (
    asked_document,
    plan_document,
    report_document,
    request_document,
    requests_document,
    rows_after,
)
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.ledger.restores import wish
from backup_pipeline_tests.presentation.drawing import in_terminal


def table(name: str, action: Action, now: int | None, given: int, **fields: object) -> TableRestore:
    """A table of `public`."""
    known = ("public", name)
    return TableRestore(name, known, known, action, (), ("id",), given, now, **fields)  # type: ignore[arg-type]


def note(number: int, do: str = "Look.") -> RestoreRemark:
    """A note of the kind that comes often."""
    return RestoreRemark(RemarkSeverity.INFO, f"note {number}", "goods", do)


PLAN = RestorePlan(
    RestoreRequest("b1"),
    "b1",
    "shop",
    NOON,
    "postgresql://t",
    "shop_[x]",
    (
        table("goods", Action.CREATE, None, 500),
        table("sold", Action.UPSERT, 700, 600, kept={"id": "stays"}, triggers=("audit",)),
    ),
    (RestoreRemark(RemarkSeverity.WARNING, "rows | change", "sold", "Read it."), note(1)),
    confirm_name="shop",
    safety_backup=True,
    steps=SchemaSteps(left_out=("an index",)),
)
REFUSED = replace(PLAN, remarks=(RestoreRemark(RemarkSeverity.REFUSAL, "it is there", "goods", "Drop it."),))


def plan(of: RestorePlan = PLAN, **given: object) -> ReportDocument:
    """The document of a plan of request 7."""
    wanted = {"request": 7, "safety_backup": True, **given}
    return plan_document(of, "postgresql://t/shop", **wanted)  # type: ignore[arg-type]


def lines(document: ReportDocument) -> list[str]:
    """What a terminal shows, with one space between words."""
    return [" ".join(line.split()) for line in in_terminal(document).splitlines()]


def test_a_plan_in_a_terminal() -> None:
    assert lines(plan()) == [
        "Restore of backup b1 (request 7)",
        "Its rows are those of 2026-11-21 12:00:00 UTC",
        "Into database shop_[x], postgresql://t/shop",
        "",
        "Table Goes to Rows now Rows then What happens to it",
        "goods public.goods not there 500 is created, with the backup's rows",
        "sold public.sold 700 700 to 1,300 gets missing rows; rows with the same key are set to the backup's values",
        "sold: column id: stays",
        "sold: these triggers do not fire meanwhile: audit",
        "",
        "Warning: sold: rows | change",
        "What to do: Read it.",
        "Note: goods: note 1",
        "What to do: Look.",
        "Left out: an index",
        "0 bytes are fetched from the store.",
        "Before the first change, these tables are backed up as they are now, but for columns that no backup holds.",
        "All of it happens in one transaction: whatever goes wrong, the database is as it was.",
        "It can change rows that are there, so the database's name has to be typed: shop",
    ]


def test_a_page_says_the_same_and_asks_nobody_to_type() -> None:
    page = markdown(plan(attended=False))
    assert "| goods | public.goods | not there | 500 | is created, with the backup's rows |" in page
    assert r"- Warning: sold: rows \| change *What to do:* Read it." in page
    assert r"Into database **shop\_\[x\]**, postgresql://t/shop" in page
    assert r"**Rows that are there in shop\_\[x\] can change.**" in page
    assert "typed" not in page


def test_refusals_come_first_and_nothing_is_promised() -> None:
    shown = lines(plan(REFUSED))
    assert shown[3:5] == ["REFUSED: goods: it is there", "What to do: Drop it."]
    assert shown[6].endswith("What would happen to it")
    assert shown[-1] == "0 bytes are fetched from the store."
    assert markdown(plan(REFUSED)).count("- **REFUSED**: goods: it is there *What to do:* Drop it.") == 1


def test_a_dry_run_and_a_restore_without_safety_backup_are_told() -> None:
    assert lines(plan(request=None))[0] == "Restore of backup b1 (dry run: nothing is touched)"
    loud = "NO SAFETY BACKUP (--no-safety-backup): what is overwritten or removed can not be brought back."
    assert loud in lines(plan(safety_backup=False))
    assert "backed up" not in " ".join(lines(plan(replace(PLAN, safety_backup=False))))


def test_of_many_notes_with_the_same_advice_some_are_shown_and_the_advice_once() -> None:
    shown = lines(plan(replace(PLAN, remarks=(*map(note, range(6)), note(9, "")))))
    about = [row for row in shown if row.startswith(("Note", "What to do"))]
    assert about == [
        *(f"Note: goods: note {number}" for number in range(4)),
        "Note: and 2 more of the kind; --json has them all.",
        "What to do: Look.",
        "Note: goods: note 9",
    ]


@pytest.mark.parametrize(
    ("action", "now", "given", "then"),
    [
        (Action.CREATE, None, 500, "500"),
        (Action.REPLACE, 700, 500, "500"),
        (Action.UPSERT, 0, 500, "500"),
        (Action.UPSERT, 700, 0, "700"),
        (Action.INSERT_MISSING, 700, 1500, "1,500 to 2,200"),
    ],
)
def test_how_many_rows_a_table_will_have(action: Action, now: int | None, given: int, then: str) -> None:
    assert rows_after(table("goods", action, now, given)) == then


def test_a_report_says_how_to_go_back() -> None:
    done = TableReport("goods", ("public", "goods"), 1500, 1000, 400, 0, 100, 2.25)
    report = RestoreReport(
        *(
            "b1",
            "shop",
            NOON,
            "postgresql://t",
            "shop",
            Mode("upsert"),
            (done,),
            1_200_000,
            3.5,
            "s1",
            ("no statistics",),
        )
    )
    assert lines(report_document(7, report, undo="backup-pipeline restore s1"))[1:] == [
        "goods public.goods 1,500 1,000 400 0 100 2.2",
        "Restored in 3.5 s; 1.2 MB fetched. Request 7.",
        "Note: no statistics",
        "The tables as they were before: backup s1",
        "To look at what bringing them back would do: backup-pipeline restore s1",
    ]
    page = markdown(report_document(7, replace(report, safety_backup_id=None)))
    assert "| goods | public.goods | 1,500 | 1,000 | 400 | 0 | 100 | 2.2 |" in page
    assert "as they were" not in page


def test_a_request_that_waits_says_who_and_what_comes_next() -> None:
    shown = lines(asked_document(wish(id=7, actor=RAHIM), PLAN))
    assert shown[0] == f"Request 7 waits, with the plan {PLAN.digest[:12]}. Nothing was touched."
    assert shown[1] == "Another person than rahim approves it: backup-pipeline restores approve 7"


ROW = wish(
    id=1234,
    status=RestoreStatus.FAILED,
    tables=("goods",),
    error_message="It is locked.\nWhat to do: wait.",
    reason="lost rows",
    rename={"goods": "old"},
    plan={
        "digest": "abcdefabcdefabcdef",
        "tables": [{"name": "goods", "target": ["public", "old"], "action": "create", "rows_in_backup": 500}],
        "remarks": [{"severity": "warning", "message": "is [big]"}, {"severity": "info", "message": "small"}],
    },
    report={"tables": [{"name": "goods", "inserted": 500}], "safety_backup_id": "s1"},
)


def test_requests_are_listed_with_what_became_of_them() -> None:
    shown = lines(requests_document([ROW, replace(ROW, error_message=None, into_schema="side")]))
    assert shown[1].startswith("1234 ")
    assert shown[1].endswith("goods; It is locked.")
    assert ", schema side" in shown[2]
    assert shown[2].endswith("goods; lost rows")
    assert lines(requests_document([])) == ["There are no restore requests."]


def test_everything_about_a_request() -> None:
    events = (AuditEvent(NOON, RAHIM, "restore asked", "b1", {"request": 1234, "mode": "new"}),)
    facts, planned, done, audit = in_terminal(request_document(ROW, events)).split("\n\n")
    known = [" ".join(line.split()) for line in facts.splitlines()]
    assert {"Request 1234", "Status failed", "Tables goods", "Renamed goods = old", "Plan abcdefabcdef"} <= set(known)
    assert planned.splitlines() == [
        "Planned",
        "  goods into public.old: create, not there now, 500 in the backup",
        "  warning:  is [big]",
    ]
    assert done.splitlines() == [
        "Done",
        "  goods: 500 inserted, 0 updated, 0 deleted, 0 unchanged",
        "  as it was before: backup s1",
    ]
    assert audit.split() == ["2026-11-21", "12:00:00", "UTC", "rahim", "restore", "asked", "mode:", "new"]
    assert "**Planned**" in markdown(request_document(ROW, events))
