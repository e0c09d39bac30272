"""How things stand: what is due, alerts on their way, copies, catalogs, a ledger beside its store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backup_pipeline.core.alerts import Alert, Delivery, OutboxEntry, Severity
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import Copy, CopyAge, CopyDecision, CopyStatus
from backup_pipeline.core.due import DueState, Freshness
from backup_pipeline.core.errors import CatalogError, StaleError
from backup_pipeline.core.manifest.entry import NotHeld
from backup_pipeline.core.rebuild import Change, ChangeKind, RebuildPlan
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.doctor import CatalogReport
from backup_pipeline.presentation import ReportDocument
from backup_pipeline.presentation.backup import copies_document, decisions_document
from backup_pipeline.presentation.health import (
    catalog_document,
    check_document,
    deliveries_document,
    freshness_document,
    outbox_document,
    rebuild_document,
)
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.presentation.drawing import in_terminal

AT = datetime(2026, 11, 20, 18, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
COPIED = Copy("b1", Scope("shop"), "s3://second", CopyStatus.GOOD, AT, bytes=1200)
LOST = Copy("b2", Scope("shop"), "s3://second", CopyStatus.FAILED, AT, error_message="no route\nWhat to do: wait")
DECISIONS = (
    CopyDecision(attempt("b1"), wanted=True, reason="it was never copied"),
    CopyDecision(attempt("b2"), wanted=False, reason="it is there"),
)


def lines(document: ReportDocument) -> list[str]:
    """What a terminal shows, with one space between words."""
    return [" ".join(line.split()) for line in in_terminal(document).splitlines()]


def test_each_catalog_has_a_row_and_its_copies_a_line() -> None:
    overdue = Freshness(
        *(
            "shop",
            DueState.OVERDUE,
            AT,
            AT - HOUR,
            AT + HOUR,
            "b1",
            AT - 3 * HOUR,
            10_800,
            (AT - HOUR,),
            2,
            None,
            "late",
        )
    )
    waiting = Freshness("isp", DueState.WAITING, AT, None, None, None, None, None, (), 0, None, "nothing yet")
    ages = (
        CopyAge("shop", "s3://second", COPIED, 3 * HOUR, StaleError("It is old.", do="Copy.")),
        CopyAge("isp", "s3://second", None, None, None),
    )
    document = freshness_document([overdue, waiting], ages)
    assert lines(document)[1:] == [
        "shop overdue b1 3 hours ago 2026-11-20 17:05 UTC 2026-11-20 19:05 UTC 1 2",
        "isp waiting 0 0",
        "Second store, shop: STALE, b1 began 3 hours ago (s3://second)",
        "Second store, isp: none, no good copy (s3://second)",
    ]
    assert "| shop | **overdue** | b1 | 3 hours ago |" in markdown(document)


def test_an_alert_that_waits_says_when_it_is_tried_again() -> None:
    alert = Alert(Severity.INFO, "Backup [failed]", "It failed.", "Look.", Scope("shop"))
    waiting = OutboxEntry(7, alert, "json://x", AT, AT + HOUR, 3, last_error="HTTP 500. And more.")
    delivered = OutboxEntry(8, alert, "json://x", AT, AT, 1, delivered_at=AT + HOUR)
    given_up = OutboxEntry(9, alert, "json://x", AT, AT, 9, last_error="HTTP 500.", given_up_at=AT + HOUR)
    begun = OutboxEntry(10, alert, "json://x", AT, AT)
    assert lines(outbox_document([waiting, delivered, given_up, begun])) == [
        "N Of Alert Channel Attempts State",
        "7 2026-11-20 18:05 UTC Backup [failed] json://x 3 tried again 2026-11-20 19:05 UTC: HTTP 500.",
        "8 2026-11-20 18:05 UTC Backup [failed] json://x 1 delivered 2026-11-20 19:05 UTC",
        "9 2026-11-20 18:05 UTC Backup [failed] json://x 9 given up 2026-11-20 19:05 UTC: HTTP 500.",
        "10 2026-11-20 18:05 UTC Backup [failed] json://x 0 being sent",
    ]


def test_each_channel_says_what_became_of_a_message() -> None:
    document = deliveries_document([Delivery("json://a"), Delivery("json://b", "HTTP 500")])
    assert lines(document) == ["json://a: delivered", "json://b: NOT delivered: HTTP 500"]


def test_copies_say_why_and_what_became_of_them() -> None:
    assert in_terminal(decisions_document(DECISIONS)).splitlines() == [
        "copy  b1: it was never copied",
        "leave b2: it is there",
    ]
    assert lines(copies_document([COPIED, LOST], DECISIONS)) == [
        "b1: copied to s3://second, 1.2 kB, every byte compared (it was never copied)",
        "b2: NOT copied to s3://second: no route",
    ]
    assert "- b2: **NOT copied** to" in markdown(copies_document([LOST], DECISIONS))
    assert lines(decisions_document([])) == ["There are no good backups."]
    assert lines(copies_document([], DECISIONS)) == ["Nothing is missing: 2 good backups, each with its copy."]


def shop() -> Catalog:
    """A catalog that masks and leaves out."""
    tables = {"goods": {"exclude": {"token": "secret"}, "mask": ["name"]}, "sold": None}
    return catalog(tables, title="Our [shop]", excluded=[{"table": "public.old", "reason": "is over"}])


def test_a_catalog_shows_its_tables_and_what_it_leaves_out() -> None:
    shown = lines(catalog_document(shop()))
    assert shown[0].endswith("Our [shop]")
    assert shown[3:] == [
        "goods public.goods goods all token, name (masked)",
        "sold public.sold sold all",
        "Left out: public.old: is over",
    ]


def test_a_catalog_beside_its_database() -> None:
    report = CatalogReport(
        "shop",
        "db",
        ready={"goods": "public.goods"},
        failed={"sold": CatalogError("sold is gone.", do="Take it out.")},
        excluded={},
        unlisted=("public.new",),
        unreadable=("public.new",),
        not_held=(NotHeld("x", "Large objects stay."), NotHeld("y", "Roles stay.", "Dump them.", warns=False)),
    )
    assert lines(check_document(report)) == [
        "shop does NOT fit database db, 1 tables ready, 0 left out on purpose",
        "Error: sold is gone.",
        "What to do: Take it out.",
        "Warning: public.new is neither listed nor excluded (and the backup role may not read it);"
        " each backup will warn of it.",
        "Warning: Large objects stay.",
        "Note: Roles stay.",
        "What to do: Dump them.",
    ]


def test_a_rebuild_has_a_row_for_each_change_and_copy() -> None:
    change = Change(ChangeKind.PROBLEM, "b1", Scope("shop"), "its manifest can [not] be read")
    plan = RebuildPlan("s3://store", (change,), (COPIED,), agree=4)
    assert lines(rebuild_document(plan)) == [
        "problem b1 shop its manifest can [not] be read",
        "copy b1 shop in s3://second",
        "s3://store: 4 backups agree with the ledger.",
    ]
    assert lines(rebuild_document(RebuildPlan("s3://store", (), agree=4))) == [
        "s3://store: 4 backups agree with the ledger."
    ]
