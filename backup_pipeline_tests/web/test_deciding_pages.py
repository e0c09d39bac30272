"""The pages of decisions in a real browser: the wizard walked with and without JavaScript, to a second person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.restore.requests import RestoreChange, RestoreStatus
from backup_pipeline.core.scope import PROGRAM, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.restore.decisions import read_wish
from backup_pipeline.operations.retention.hold import hold_backup
from backup_pipeline.operations.retention.plan import plan_prune
from backup_pipeline_tests.servers.browser import DESKTOP, PHONE, axe_violations, opened_context, picture, sideways
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, open_office, plan_json
from backup_pipeline_tests.web.people import PASSWORD
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.test_drills import drilled, report


@dataclass
class Shop:
    """The office, served; a window for each person and kind of browser is opened when it is asked for."""

    office: Office
    address: str
    browser: Browser

    def window(
        self, name: str, size: tuple[int, int] = DESKTOP, *, script: bool = True, dark: bool = False
    ) -> BrowserContext:
        window = opened_context(self.browser, size, script=script, dark=dark)
        page = window.new_page()
        page.goto(f"{self.address}/login")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: urlsplit(url).path == "/")
        page.close()
        return window


def _plan_is_made(office: Office, address: str, **plan: Any) -> None:
    """Let the run of the plan at that address have ended."""
    run = office.ledger.run_requests.get(UUID(urlsplit(address).path.split("/")[3]))
    assert run is not None
    wish = read_wish(run.detail["plan"])  # type: ignore[arg-type]
    backup = next(row for row in office.backups() if row.backup_id == wish.backup_id)
    office.done(run, {"plan": plan_json(backup, tables=("goods", "sold"), **plan)})


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return open_office(new_ledger(), tmp_path_factory.mktemp("office"), title="Sales portal")


@pytest.fixture(scope="module")
def addresses(office: Office) -> list[str]:
    """Of the furnished office; made before there is a browser, whose event loop is the thread's."""
    return _furnished(office)


@pytest.fixture(scope="module")
def shop(office: Office, addresses: list[str], request: pytest.FixtureRequest) -> Iterator[Shop]:
    with served(office.console) as address:
        yield Shop(office, address, request.getfixturevalue("chromium"))


@pytest.mark.acceptance("3.8", "3.9", "3.10")
@pytest.mark.parametrize("script", [True, False])
def test_the_wizard_is_walked_to_a_request_and_a_second_person_approves(shop: Shop, script: bool) -> None:
    rahim = shop.window("rahim", PHONE if script else DESKTOP, script=script)
    page = rahim.new_page()
    page.goto(f"{shop.address}/restore/new")
    page.get_by_label("goods").check()
    page.locator("input[value=upsert]").check()
    page.locator("input[value=staging]").check()
    page.get_by_role("button", name="Next: when").click()
    page.get_by_role("button", name="Next: the plan").click()
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_role("heading", name="The plan is being made")).to_be_visible()
    _plan_is_made(shop.office, page.url)
    if not script:
        page.reload()
    expect(page.get_by_role("link", name="Next: confirm")).to_be_visible(timeout=10_000)
    page.get_by_role("link", name="Next: confirm").click()
    page.get_by_label("Type the database's name, staging").fill("stagin")
    page.get_by_label("Reason").fill("a wrong UPDATE")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.get_by_text("is not its name")).to_be_visible()
    page.get_by_label("Type the database's name, staging").fill("staging")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.get_by_text("waits for approval. Nothing was touched.")).to_be_visible()
    number = int(re.findall(r"/requests/(\d+)", page.url)[0])
    assert shop.office.row(number).status is RestoreStatus.REQUESTED
    karim = shop.window("karim", script=script)
    approver = karim.new_page()
    approver.goto(f"{shop.address}/requests")
    approver.get_by_role("link", name=f"Request {number}").click()
    approver.get_by_text("Approve", exact=True).click()
    approver.get_by_role("button", name="Approve this plan").click()
    expect(approver.get_by_text(f"Request {number} is approved.")).to_be_visible()
    assert str(shop.office.row(number).decided_actor) == "person:karim"
    page.goto(f"{shop.address}/requests/{number}")
    page.get_by_text("Run it now", exact=True).click()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_text("The restore is on its way.")).to_be_visible()
    assert shop.office.launcher.launched[-1][0].job == "shop_restore"
    rahim.close()
    karim.close()


def _furnished(office: Office) -> list[str]:
    """Every page of decisions with something in it, hostile text too; their addresses."""
    backups = office.backups()
    request = office.ask(reason=f"a wrong UPDATE {HOSTILE}", remark="sold has 6 rows more than in the backup.")
    done = office.ask()
    office.ledger.restores.change(done.id, RestoreChange(RestoreStatus.REJECTED, decision_reason="found elsewhere"))
    hold_backup(backups[2], Hold(PROGRAM, f"customers lost 40 % of their rows {HOSTILE}"), office.ports)
    office.ledger.verified(backups[0].backup_id, Verification(Level.RESTORED, office.console.clock()))
    drilled(office, report(office))
    tell(
        Alert(Severity.FAILURE, "Backup failed: shop", "The disk is full.", "Make room.", Scope("shop"), topic="full"),
        office.ports,
    )
    karim = office.as_("karim")
    plan = karim.post("/retention/plan", data={"request": "11111111-0000-4000-8000-000000000001", "catalog": "shop"})
    run = office.newest_run
    office.done(run, {"plans": [plan_prune(office.shelf.wish, office.ports).as_json()], "reports": []})
    form = {"request": "11111111-0000-4000-8000-000000000002", "backup": backups[1].backup_id, "mode": "upsert"}
    made = karim.post("/restore/plan", data={**form, "target": "staging"}).headers["location"]
    _plan_is_made(office, made, remark="sold has 6 rows more than in the backup.")
    chosen = "system=shop&table=goods&mode=upsert&target=staging"
    [evidence] = re.findall(r"/drills/\d+", karim.get("/drills").text)[:1]
    return [
        "/restore/new",
        f"/restore/new?step=when&{chosen}",
        f"/restore/new?step=plan&{chosen}&backup={backups[1].backup_id}",
        made,
        f"{made}/confirm",
        "/requests",
        f"/requests/{request.id}",
        f"/requests/{done.id}",
        "/drills",
        evidence,
        "/retention",
        plan.headers["location"],
        f"/backups/{backups[-1].backup_id}/delete",
        f"/backups/{backups[0].backup_id}/delete",
        "/alerts",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_every_page_of_decisions_fits_and_everybody_can_use_it(
    shop: Shop, addresses: list[str], size: tuple[int, int], dark: bool
) -> None:
    window = shop.window("karim", size, dark=dark)
    page = window.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    found: dict[str, object] = {}
    for number, path in enumerate(addresses):
        answer = page.goto(shop.address + path)
        assert answer is not None
        assert answer.status == 200
        name = path.partition("?")[0].strip("/").replace("/", "-")[:24]
        picture(page, f"{number:02}-{name}-{size[0]}{'-dark' if dark else ''}")
        found |= {f"{path}: axe": axe_violations(page), f"{path}: sideways": sideways(page)}
    window.close()
    assert {name: each for name, each in found.items() if each} == {}
    assert complaints == []


def test_dialogs_open_by_the_keyboard_and_give_the_focus_back(shop: Shop, addresses: list[str]) -> None:
    window = shop.window("karim")
    page: Page = window.new_page()
    page.goto(f"{shop.address}{addresses[6]}")
    summary = page.get_by_text("Reject", exact=True)
    summary.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert axe_violations(page) == []
    picture(page, "dialog")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    assert page.evaluate("document.activeElement.textContent.trim()") == "Reject"
    window.close()
