"""The sales portal in a real browser: what its rows say, as its people know it from their own page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from backup_pipeline.core.anomalies import Shape, TableShape
from backup_pipeline.core.content import communication_metrics
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest import CommunicationEntry
from backup_pipeline.core.names import Kind, new_backup_id
from backup_pipeline.core.ports import Store
from backup_pipeline.core.scope import Scope
from backup_pipeline.demo import SALES_PORTAL
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.browser.demo_console import DemoConsole, open_demo
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.servers.browser import axe_violations, picture, sideways
from backup_pipeline_tests.systems.system import BackedUp

SCOPE = Scope("sales_portal")
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def portal(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[DemoConsole]:
    home = tmp_path_factory.mktemp("portal")
    with open_demo(SALES_PORTAL, 1.0, postgres_server, home, lambda: request.getfixturevalue("chromium")) as portal:
        _leave_legacy_files(portal.system, portal.store)
        yield portal


COMPREHENSIVE = "backups/comprehensive/comprehensive-backup-2026-01-25T14-30-45-123Z.json"
DATABASE = "backups/database/database-backup-2026-01-24T14-30-45-123Z.json"
SALES = "backups/sales-data/sales-backup-2026-01-23T14-30-45-123Z.json"


def _leave_legacy_files(system: BackedUp, store: Store) -> None:
    """In each of the three folders what the program before this one left: whole, cut off, and changed since."""
    whole = system.rendered(Rendering.COMPREHENSIVE).read_bytes()
    store.put(COMPREHENSIVE, [whole])
    store.put(DATABASE, [whole[:2_000]])
    store.put(SALES, [whole.replace(b'"city": "', b'"city": "New ', 1)])


@pytest.fixture(autouse=True)
def _pages_are_closed(portal: DemoConsole) -> Iterator[None]:
    yield
    portal.close_pages()


def _kind(page: Page, title: str) -> str:
    """What the page says of a kind of communication."""
    return page.locator("#communication .kind", has=page.get_by_role("heading", name=title)).inner_text()


@pytest.mark.acceptance("4.25")
def test_a_backup_shows_what_was_sent_and_what_came_of_it(portal: DemoConsole) -> None:
    page = portal.page("nila", f"/backups/{portal.backup_id}")
    metrics = communication_metrics(portal.system.manifest.tables)
    assert metrics.email is not None
    assert metrics.documents is not None
    mails = metrics.email
    told = {
        "Text messages": ("432", "94.2 %", "SENT", "FAILED", "PENDING"),
        "E-mails": ("89", "91.0 %", f"Opens {mails.opens}", f"Clicks {mails.clicks}", f"Bounces {mails.bounces}"),
        "Documents": ("156", f"Generated {metrics.documents.generated}", f"Downloads {metrics.documents.downloads}"),
    }
    for title, words in told.items():
        assert [word for word in words if word not in _kind(page, title)] == []
    for title, counts in (("E-mails", mails.statuses), ("Documents", metrics.documents.templates)):
        parts = page.locator("#communication .kind", has=page.get_by_role("heading", name=title)).locator(
            ".counts > div"
        )
        shown = {
            part.locator("dt").inner_text(): int(part.locator(".number").first.inner_text()) for part in parts.all()
        }
        assert shown == counts
    channels = _kind(page, "All channels")
    assert [f"{rows:,}" in channels for rows in metrics.channels.values()] == [True] * 5
    picture(page, "sales-portal-backup")
    assert axe_violations(page) == []
    assert sideways(page) == 0


@pytest.mark.acceptance("4.25", "4.27")
def test_the_list_says_of_each_backup_what_was_sent(portal: DemoConsole) -> None:
    page = portal.page("nila", "/backups?system=sales_portal")
    line = page.locator("#listing tr", has_text=portal.backup_id).locator(".told")
    expect(line).to_have_text("432 SMS, 94.2 % sent · 156 documents · 89 e\N{NON-BREAKING HYPHEN}mails, 91.0 % sent")
    picture(page, "sales-portal-backups")


@pytest.mark.acceptance("4.25")
def test_of_nothing_there_is_no_rate(portal: DemoConsole) -> None:
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)
    empty = attempt(str(new_backup_id(at, Kind.FULL, 7)), scope=SCOPE, status=Status.SUCCESS, created_at=at)
    portal.ledger.put(empty)
    told = tuple(CommunicationEntry(kind=kind, total=0) for kind in ("sms", "email", "documents"))
    tables = {"sms_logs": TableShape(relation="public.sms_logs", rows=0, columns={}, communication=told)}
    portal.ledger.shapes.put(Shape(backup_id=empty.backup_id, tables=tables))
    page = portal.page("nila", f"/backups/{empty.backup_id}")
    for title in ("Text messages", "E-mails"):
        expect(page.locator("#communication .kind", has_text=title).locator(".figures")).to_have_text("0 no data")
    assert "100" not in page.locator("#communication").inner_text()
    rows = portal.page("nila", "/backups?system=sales_portal").locator("#listing tr", has_text=empty.backup_id)
    expect(rows.locator(".told")).to_have_text("0 SMS · 0 documents · 0 e\N{NON-BREAKING HYPHEN}mails")


@pytest.mark.acceptance("4.18")
def test_what_can_not_be_true_is_counted_by_table_column_and_rule(portal: DemoConsole) -> None:
    page = portal.page("nila", f"/backups/{portal.backup_id}")
    (leads,) = (table for table in portal.system.manifest.tables if table.name == "leads")
    section = page.locator("#customers")
    group = section.locator("tr.group", has_text="leads")
    expect(group).to_contain_text(f"{leads.validation.invalid:,} of {leads.validation.rows:,} rows")
    found = [
        (row.locator(".lead-cell").inner_text(), row.locator("code").inner_text(), row.locator(".number").inner_text())
        for row in section.locator("tbody tr:not(.group)").all()
    ]
    wanted = sorted((each.column, each.rule, str(each.rows)) for each in leads.validation.findings)
    assert sorted(found) == wanted
    assert section.get_by_role("button", name="Rows in quarantine").count() == 0, "who may not download"
    admin = portal.page("rahim", f"/backups/{portal.backup_id}")
    with admin.expect_download() as download:
        admin.locator("#customers").get_by_role("button", name="Rows in quarantine").click()
    document = json.loads(download.value.path().read_bytes())
    assert len(document["tables"]["leads"]) == leads.validation.invalid


@pytest.mark.acceptance("4.24", "4.29")
def test_a_backup_by_hand_wants_its_reason_in_the_form(portal: DemoConsole) -> None:
    page = portal.page("rahim", "/admin/backup?system=sales_portal")
    page.locator("summary").get_by_text("Create comprehensive backup").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Usually it takes")).to_be_visible()
    launched = len(portal.launcher.launched)
    dialog.get_by_role("button", name="Create comprehensive backup").click()
    assert dialog.get_by_label("Reason").evaluate("field => field.validity.valueMissing") is True
    assert len(portal.launcher.launched) == launched
    dialog.get_by_label("Reason").fill("System testing")
    dialog.get_by_role("button", name="Create comprehensive backup").click()
    expect(page.locator(".flash.active")).to_be_visible()
    assert portal.ledger.run_requests.list(limit=1)[0].reason == "System testing"
    made = portal.page("nila", "/backups?system=sales_portal&q=System+testing").locator("#listing tbody tr")
    expect(made).to_contain_text("Completed", timeout=WAIT_MS)
    expect(made).to_contain_text("by rahim")
    expect(made.locator(".told")).to_contain_text("432 SMS, 94.2 % sent")


def test_what_is_made_up_says_so_on_every_page(portal: DemoConsole) -> None:
    mark = portal.console.settings.home / "demo-history.json"
    assert portal.page("nila", "/").locator(".demo").count() == 0
    known = {"days": 30, "made_at": datetime.now(UTC).isoformat(), "catalogs": ["isp", "sales_portal"]}
    mark.write_text(json.dumps(known))
    try:
        for path in ("/", f"/backups/{portal.backup_id}", "/charts"):
            expect(portal.page("nila", path).locator(".demo")).to_contain_text("The last 30 days of Sales Portal")
    finally:
        mark.unlink()


def _file(page: Page, key: str) -> Locator:
    return page.locator("tr").filter(has_text=key.rpartition("/")[2])


@pytest.mark.acceptance("4.26", "4.27", "4.28", "4.30")
def test_legacy_files_stand_beside_ours_each_with_its_mark_and_why(portal: DemoConsole) -> None:
    page = portal.page("nila", "/backups?system=sales_portal")
    expect(page.locator("#listing")).to_contain_text(portal.backup_id)
    names = page.locator("#legacy-sales_portal tbody .lead-cell strong").all_inner_texts()
    assert names == [key.rpartition("/")[2] for key in (COMPREHENSIVE, DATABASE, SALES)], "newest first"
    good, cut, changed = (_file(page, key) for key in (COMPREHENSIVE, DATABASE, SALES))
    expect(good.locator(".badge.good")).to_have_text("good")
    rows = sum(table.row_count for table in portal.system.manifest.tables)
    expect(good.locator("[data-label=Records]")).to_have_text(f"{rows:,}")
    expect(good.locator("[data-label=Created]")).to_contain_text("25 Jan 2026, 14:30")
    expect(cut.locator(".badge.failure")).to_have_text("corrupted")
    expect(cut).to_contain_text("It ends after 2,000 bytes, in the middle of the document.")
    expect(changed.locator(".badge.failure")).to_have_text("corrupted")
    expect(changed).to_contain_text("hash differs")
    expect(changed).to_contain_text("table sales was changed")
    expect(page.locator("#legacy-sales_portal .head")).to_contain_text("2 are corrupted")
    good.get_by_text("Records per table").click()
    expect(good.locator(".pairs div").filter(has_text="smsLogs")).to_contain_text("432")
    assert page.get_by_role("button", name="Download").count() == 0, "a viewer takes nothing out"
    picture(page, "sales-portal-legacy")
    assert axe_violations(page) == []
    assert sideways(page) == 0


@pytest.mark.acceptance("4.28")
def test_a_corrupted_file_can_be_taken_out_as_it_is_and_never_adopted(portal: DemoConsole) -> None:
    page = portal.page("rahim", "/legacy?system=sales_portal")
    row = _file(page, DATABASE)
    with page.expect_download() as download:
        row.get_by_role("button", name="Download").click()
    stored = portal.system.backup.place.store.get(DATABASE)
    assert download.value.path().read_bytes() == stored
    assert download.value.suggested_filename == DATABASE.rpartition("/")[2]
    event = portal.ledger.audits(limit=1)[0]
    assert (event.action, event.actor.name, event.detail["key"]) == ("download", "rahim", DATABASE)
    for elsewhere in (f"sales_portal/../{DATABASE}", "sales_portal/backups/x", "legacy:"):
        answer = page.request.post(
            f"{portal.address}/legacy/download",
            form={"catalog": "sales_portal", "key": elsewhere},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert answer.status == 404, "nothing else of the store"
    expect(page.get_by_text("Adopt…")).to_have_count(1)
    expect(_file(page, COMPREHENSIVE).get_by_text("Adopt…")).to_be_visible()


@pytest.mark.acceptance("4.26", "4.34")
def test_a_good_file_is_adopted_by_a_run_and_leads_to_the_plan_of_a_restore(portal: DemoConsole) -> None:
    mine, theirs = (
        portal.page("rahim", "/legacy?system=sales_portal"),
        portal.page("nila", "/backups?system=sales_portal"),
    )
    _file(mine, COMPREHENSIVE).get_by_text("Adopt…").click()
    mine.get_by_role("dialog").get_by_role("button", name="Adopt it").click()
    expect(mine.locator(".flash.active")).to_have_text("The adoption is on its way.")
    restore = _file(mine, COMPREHENSIVE).get_by_role("link", name="Restore…")
    restore.wait_for(timeout=WAIT_MS)
    (row,) = [row for row in portal.ledger.list() if row.kind is Kind.SELECTIVE]
    assert (row.actor.name, row.reason) == ("rahim", f"adopted from {COMPREHENSIVE}")
    expect(theirs.locator("#listing tr", has_text=row.backup_id)).to_contain_text("Completed", timeout=WAIT_MS)
    restore.click()
    assert parse_qs(urlsplit(mine.url).query) == {"backup": [row.backup_id]}
    expect(mine.get_by_role("heading", level=1, name="Restore")).to_be_visible()


def _cells(page: Page, column: str) -> list[str]:
    heads = [head.split("\n")[0] for head in page.locator(".values thead th").all_inner_texts()]
    at = heads.index(column)
    return [row.locator("td").nth(at).inner_text() for row in page.locator(".values tbody tr").all()]


@pytest.mark.acceptance("4.19")
def test_payment_details_are_masked_for_a_viewer_and_whole_for_who_may_take_them_out(portal: DemoConsole) -> None:
    path = f"/backups/{portal.backup_id}/tables/sales?sort=sale_number"
    theirs, mine = portal.page("nila", path), portal.page("rahim", path)
    with psycopg.connect(portal.system.url) as session:
        query = "SELECT account_number, sort_code, city FROM sales ORDER BY sale_number LIMIT 50"
        accounts, sorts, cities = map(list, zip(*session.execute(query).fetchall(), strict=True))
    assert (_cells(mine, "account_number"), _cells(mine, "sort_code")) == (accounts, sorts)
    assert _cells(theirs, "account_number") == [f"••••••{account[-2:]}" for account in accounts]
    assert _cells(theirs, "sort_code") == [f"••-••-{code[-2:]}" for code in sorts]
    assert _cells(theirs, "city") == _cells(mine, "city") == cities
    whole = theirs.content()
    assert [account for account in accounts if account in whole] == []
    expect(theirs.locator(".banner.active")).to_contain_text("account_number")
    expect(theirs.get_by_text("1 to 50 of 900 rows")).to_be_visible()
    picture(theirs, "sales-portal-rows")
    assert axe_violations(theirs) == []
    assert sideways(theirs) == 0
    seen = [event for event in portal.ledger.audits(portal.backup_id, limit=20) if event.action == "query"]
    assert {event.actor.name for event in seen} == {"nila", "rahim"}


def test_rows_are_found_paged_and_reached_from_the_backup(portal: DemoConsole) -> None:
    page = portal.page("nila", f"/backups/{portal.backup_id}")
    page.get_by_role("region", name="Tables of this backup").get_by_role("link", name="generated_documents").click()
    page.get_by_role("link", name="Next 50").click()
    expect(page.get_by_text("51 to 100 of 156 rows")).to_be_visible()
    page.get_by_label("Order").select_option("-download_count")
    page.get_by_role("button", name="Look").click()
    counts = [int(count) for count in _cells(page, "download_count")]
    assert counts == sorted(counts, reverse=True)
    page.get_by_label("Search").fill("WELCOME_letter")
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_text("1 to 35 of those found in 156 rows")).to_be_visible()
    page.get_by_label("Search").fill("' OR 1=1 --")
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("heading", name="No row has")).to_be_visible()


@pytest.mark.slow
@pytest.mark.acceptance("4.34")
def test_one_sale_comes_back_by_the_wizard_with_the_approval_of_another(portal: DemoConsole) -> None:
    """Every step by clicking: tables, backup, plan, confirmation, approval, and the run; one sale was changed."""
    query = "SELECT s::text FROM sales s WHERE sale_number = 'SP-000007'"
    before = portal.system.one(query)
    untouched = "SELECT count(*) || ' ' || md5(string_agg(l::text, '' ORDER BY id)) FROM leads l"
    leads = portal.system.one(untouched)
    with psycopg.connect(portal.system.url) as session:
        session.execute("UPDATE sales SET city = 'lost', total_plan_cost = 1 WHERE sale_number = 'SP-000007'")
    mine = portal.page("rahim", f"/backups/{portal.backup_id}")
    mine.get_by_role("link", name="Restore…").click()
    for name, value in (("table", "sales"), ("mode", "upsert"), ("target", "source")):
        mine.locator(f"input[name={name}][value={value}]").check()
    mine.get_by_role("button", name="Next: when").click()
    mine.get_by_role("button", name="Next: the plan").click()
    mine.get_by_role("button", name="Make the plan").click()
    mine.get_by_role("link", name="Next: confirm").wait_for(timeout=WAIT_MS)
    picture(mine, "sales-portal-plan")
    mine.get_by_role("link", name="Next: confirm").click()
    mine.get_by_label("Type the database's name").fill(portal.system.url.rpartition("/")[2])
    mine.get_by_label("Reason").fill("A sale was overwritten")
    mine.get_by_role("button", name="Ask for approval").click()
    mine.wait_for_url(lambda url: "/requests/" in url)
    path = urlsplit(mine.url).path
    theirs = portal.page("karim", path)
    theirs.locator("summary").get_by_text("Approve").click()
    theirs.get_by_role("dialog").get_by_role("button", name="Approve this plan").click()
    theirs.locator("summary").get_by_text("Run it now").click()
    theirs.get_by_role("dialog").get_by_role("button", name="Restore").click()
    expect(theirs.locator("#standing .badge.good")).to_be_visible(timeout=2 * WAIT_MS)
    picture(theirs, "sales-portal-restored")
    assert portal.system.one(query) == before
    assert portal.system.one(untouched) == leads
