"""Data that wants to be a script, in every field that a page shows, in a real browser: it is shown, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.audit import AuditFilter
from backup_pipeline.core.drill import DrillFinding
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.alerting import tell
from backup_pipeline_tests.browser.test_every_page import heard, sign_in
from backup_pipeline_tests.servers.browser import DESKTOP, PHONE, opened_context, sideways
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.deciding import Office, add_business, open_office
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.test_alerts import Channel
from backup_pipeline_tests.web.test_drills import drilled, report
from backup_pipeline_tests.web.test_every_route import OPEN, RULES, RUN, filled

_MARKUP = "<script>window.ran=1</script>\"'><img src=x onerror=window.ran=2><svg onload=window.ran=3>{{7*7}}&lt;\u202e"
_LONG = "W" * 300
"""A word that no line holds: it has to break, not the page."""
_ASKED = quote(_MARKUP + _LONG)
_WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", event => window.refused.push(event.violatedDirective));
"""
_WIDE = """() => { const width = document.documentElement.clientWidth;
    return [...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right > width + 1
        ).slice(-4).map(each => each.outerHTML.slice(0, 90)); }"""
_INJECTED = "script:not([src]), img[src=x], svg[onload], [onerror], [onload], [style], iframe, base, object"
_ATTRIBUTES = """() => [...document.querySelectorAll('a[href], form[action]')]
    .map(each => each.getAttribute('href') ?? each.getAttribute('action'))
    .filter(each => !/^(\\/|#|\\?|https?:)/.test(each))"""
PAGES = [
    *(route for route, rule in RULES.items() if route.startswith("GET ") and rule.takes != OPEN),
    f"GET /runs?status={_ASKED}",
    f"GET /backups?q={_ASKED}&status=all",
    f"GET /backups?system={_ASKED}",
    f"GET /audit?actor={_ASKED}&action={_ASKED}",
    f"GET /login?next=/{_ASKED}",
    "GET /alerts?delivered=1",
    "GET /backups?status=all",
    "GET /backups/FAILED",
]
NO_PAGES = {
    "GET /audit.csv",
    "GET /payments.csv",
    "GET /analytics.csv",
    "GET /events",
    "GET /admin",
    "GET /admin/backup",
}
NO_PAGES |= {"GET /drills/{number}/evidence.json"}
FIELDS = (
    "reason", "error", "person", "file", "table", "title", "detail", "evidence", "alert", "answer", "user", "agent",
    "asked", "progress", "request", "remark", "held", "warning", "business", "plan", "reference", "accepted",
)  # fmt: skip
"""Each is in the ledger, and has to be seen on some page."""


def hostile(field: str) -> str:
    """Text that wants to run, and says where it stood."""
    return f"~{field}~{_MARKUP}{_LONG}"


@dataclass
class Opened:
    """The console over a ledger where every text is hostile, with somebody signed in at a desk and on a phone."""

    office: Office
    address: str
    windows: tuple[BrowserContext, BrowserContext]

    def url(self, route: str) -> str:
        path = filled(self.office, route)[1].replace("FAILED", self.office.backups()[1].backup_id)
        if path == "/drills/1":
            (number,) = [row.number for row in self.office.ledger.audit_rows.page(AuditFilter(action="drill"))]
            path = f"/drills/{number}"
        return self.address + path


@pytest.fixture(scope="module")
def opened(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), title=hostile("title"), days=4)
    _poison(office)
    with served(office.console) as address:
        windows = (opened_context(chromium, DESKTOP), opened_context(chromium, PHONE))
        for window in windows:
            window.add_init_script(_WATCH)
            window.set_extra_http_headers({"User-Agent": hostile("agent")[:180].encode("ascii", "ignore").decode()})
            sign_in(window, address)
        yield Opened(office, address, windows)
        for window in windows:
            window.close()


def _poison(office: Office) -> None:
    """Let every text in the ledger be hostile, as if a source, a channel or a person had sent it."""
    office.ask("rahim", reason=hostile("asked"), remark=hostile("remark"))
    drilled(
        office, replace(report(office), findings=(DrillFinding("goods", hostile("evidence"), hostile("evidence")),))
    )
    channel = Channel(answer=hostile("answer"))
    office.console.app.state.ports = replace(office.ports, alerter=channel)
    alert = Alert(Severity.FAILURE, hostile("alert"), hostile("alert"), hostile("alert"), Scope("shop"), topic="full")
    tell(replace(alert, at=office.console.clock()), office.console.app.state.ports)
    newest, second, third, *_ = [row.backup_id for row in office.backups()]
    counts = json.dumps({hostile("table"): 7, "goods": 1, "sold": 2})
    ledger: ScratchLedger = office.ledger
    ledger.execute(
        "UPDATE backup_logs SET reason = %s, actor = %s, file_name = %s, file_path = %s, table_counts = %s,"
        " table_bytes = %s, warnings = %s",
        (
            hostile("reason"),
            f"person:{hostile('person')}",
            hostile("file"),
            hostile("file"),
            counts,
            counts,
            json.dumps([hostile("warning")]),
        ),
    )
    ledger.execute(
        "UPDATE backup_logs SET status = 'failed', error_message = %s WHERE backup_id = %s", (hostile("error"), second)
    )
    ledger.execute(
        "UPDATE backup_logs SET held_until = NULL, held_reason = %s, held_actor = %s WHERE backup_id = ANY (%s)",
        (hostile("held"), f"person:{hostile('held')}", [newest, third]),
    )
    ledger.execute(
        "INSERT INTO backup_audit (at, actor, action, backup_id, detail, address)"
        " VALUES (now(), %s, 'deleted', %s, %s, %s)",
        (f"person:{hostile('person')}", newest, json.dumps({hostile("detail"): hostile("detail")}), hostile("detail")),
    )
    add_business(office)
    ledger.execute("UPDATE businesses SET name = %s", (hostile("business"),))
    ledger.execute("UPDATE plans SET title = %s", (hostile("plan"),))
    ledger.execute(
        "UPDATE payment_records SET reference = %s, status = 'accepted', reason = %s",
        (hostile("reference"), hostile("accepted")),
    )
    ledger.execute("UPDATE users SET name = %s WHERE name = 'nila'", (hostile("user"),))
    ledger.execute(
        "INSERT INTO run_requests (id, catalog, verb, detail, reason, actor, created_at, status, run_id, error_message,"
        " command) VALUES (%s, 'shop', 'backup', %s, %s, %s, now(), 'running', 'run', %s, %s)",
        (RUN, json.dumps({"tables": [hostile("table")]}), hostile("request"),
         f"person:{hostile('person')}", hostile("error"), hostile("request")),
    )  # fmt: skip
    ledger.execute(
        "INSERT INTO run_progress (run_id, catalog, stage, table_name, message, started_at, updated_at)"
        " VALUES ('run', 'shop', 'tables', %s, %s, now(), now() + interval '1 hour')",
        (hostile("progress"), hostile("progress")),
    )


@pytest.fixture(scope="module")
def shown() -> set[str]:
    """The fields that were seen on a page so far; in the end, every one has to be."""
    return set()


def _visit(page: Page, url: str) -> list[str]:
    """What is wrong with the page."""
    wrong: list[str] = []
    listeners: dict[str, Callable[[Any], object]] = {
        "pageerror": lambda error: wrong.append(f"error: {error}"),
        "dialog": lambda dialog: wrong.append(f"dialog: {dialog.message}"),
    }
    with heard(page, listeners):
        page.goto(url, wait_until="load")
    if page.evaluate("window.ran") is not None:
        wrong.append("it ran")
    wrong += [f"refused: {each}" for each in page.evaluate("window.refused")]
    wrong += [
        f"injected: {each[:120]}" for each in page.locator(_INJECTED).evaluate_all("all => all.map(e => e.outerHTML)")
    ]
    wrong += [f"leads to {each[:120]}" for each in page.evaluate(_ATTRIBUTES)]
    if over := sideways(page):
        wrong.append(f"{over} px too wide: {page.evaluate(_WIDE)}")
    return wrong


@pytest.mark.parametrize("route", [route for route in PAGES if route not in NO_PAGES])
def test_hostile_data_is_text_and_breaks_no_page(opened: Opened, route: str, shown: set[str]) -> None:
    for window in opened.windows:
        page = window.pages[0] if window.pages else window.new_page()
        assert _visit(page, opened.url(route)) == []
        assert page.locator("h1").count() == 1
        text = page.content()
        shown |= {field for field in FIELDS if f"~{field}~" in text}


def test_every_hostile_field_was_on_a_page(shown: set[str]) -> None:
    assert set(FIELDS) - shown == set()
