"""The pages of businesses: each number as SQL has it, and nothing of a business to who does not see it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest

from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.businesses.ticks import BusinessMiss, Miss, Tick, TickStatus
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import Feature, RegistryEntry
from backup_pipeline.core.restore import EVERY_CHANGE
from backup_pipeline.core.runs import RunVerb
from backup_pipeline_tests.core.retained import DHAKA
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import HOSTILE, Office, add_business, business_plan_json, open_office
from backup_pipeline_tests.web.ticking import BYTES, CHANGED, FIVE, TICKS, add_backup, add_ticks, newest_time

ONE = "/businesses/shop/b1"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1, businesses=True)
    add_business(office)
    add_ticks(office)
    return office


def sql(office: Office, query: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(office.ledger.url) as session:
        return session.execute(query, values).fetchall()


def shown(office: Office, path: str, by: str = "karim") -> str:
    answer = office.as_(by).get(path)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def row_of(text: str, name: str) -> str:
    [row] = [each[0] for each in re.finditer(r"<tr>.*?</tr>", text, re.DOTALL) if f">{name}</a>" in each[0]]
    return row


def cells(text: str) -> dict[str, int]:
    """How many scheduled times the cells of a strip stand for, by sort; the two halves of one cell count once."""
    counts: dict[str, int] = {}
    for name, _, width in set(re.findall(r'class="cell ([a-z-]+)" x="(\d+)" y="\d+" width="(\d+)"', text)):
        counts[name] = counts.get(name, 0) + int(width)
    return counts


@pytest.mark.acceptance("3.39")
def test_the_strip_is_the_ticks_without_their_misses(office: Office) -> None:
    since = newest_time(office) - (TICKS - 1) * FIVE
    good = sql(
        office,
        "SELECT count(*) FROM business_ticks t WHERE scheduled_at >= %s AND status IN ('success', 'partial') AND NOT "
        "EXISTS (SELECT FROM business_misses m WHERE m.tick_id = t.id AND m.business = 'b1')",
        since,
    )[0][0]
    failed = sql(office, "SELECT count(*) FROM business_misses WHERE business = 'b1' AND outcome = 'failed'")[0][0]
    never_ran = sql(office, "SELECT sum(missed_count) FROM business_ticks")[0][0]
    overrun = sql(office, "SELECT count(*) FROM business_ticks WHERE status = 'skipped'")[0][0]
    text = shown(office, "/businesses")
    own, other = cells(row_of(text, "Rupa Stores")), cells(row_of(text, "Dhaka Bikes"))
    assert own == {"protected": good, "failed": failed, "skipped": overrun + 1, "missed": never_ran}
    assert sum(own.values()) == sum(other.values()) == TICKS
    assert other == {"protected": good + failed + 1, "skipped": overrun, "missed": never_ran}
    label = f"The last {TICKS} ticks: {good} protected, {failed} failed, {overrun + 1} skipped, {never_ran} missed"
    assert label in row_of(text, "Rupa Stores")
    assert "the disk is full" in shown(office, ONE)
    assert "<b>the disk" not in office.as_("karim").get(ONE).text


@pytest.mark.acceptance("3.39")
def test_state_stored_bytes_and_quota_are_those_of_the_ledger(office: Office) -> None:
    [(until,)] = sql(office, "SELECT max(confirmed_until) FROM backup_records WHERE business_id = 'b1'")
    row = row_of(shown(office, "/businesses"), "Rupa Stores")
    assert until.isoformat() in row.replace("+06:00", "+00:00")
    assert until == newest_time(office) + timedelta(seconds=2), "confirmed by the newest tick"
    [(count, stored)] = sql(
        office, "SELECT count(*), sum(file_size_bytes)::bigint FROM backup_logs WHERE business = 'b1'"
    )
    assert (count, stored) == (len(CHANGED), len(CHANGED) * BYTES)
    for part in (f"{stored / 1000:.1f} kB", "90 % of 1.0 MB", f"{count} backups", "nearly full", ">protected<"):
        assert part in row.replace("</span>", "<"), part
    assert cells(row_of(shown(office, "/businesses"), "Sylhet Tea")).keys() == {"nothing-yet", "skipped", "missed"}
    assert ">never<" in row_of(shown(office, "/businesses"), "Sylhet Tea").replace("</span>", "<")


def test_a_manual_backup_is_right_for_as_long_as_ticks_find_nothing_new(office: Office) -> None:
    before = office.ledger.ticks.newest_records("shop", ["b1"])["b1"]
    made = add_backup(office, "b1", newest_time(office) - 5 * FIVE, Kind.FULL, Trigger.MANUAL, size=1)
    try:
        after = office.ledger.ticks.newest_records("shop", ["b1"])["b1"]
        assert (after.backup_id, after.confirmed_until) == (made, before.confirmed_until)
        assert after.snapshot_at < after.confirmed_until
    finally:
        office.ledger.execute("DELETE FROM backup_logs WHERE backup_id = %s", [made])


def test_a_business_shows_its_chain_and_the_command_that_restores_it(office: Office) -> None:
    text = shown(office, ONE)
    chains = re.findall(r'<td data-label="Chain">(.*?)</td>', text)
    assert chains == ["full + 2", "full + 1", "begins a chain"]
    [(newest,), (middle,), _] = sql(
        office, "SELECT backup_id FROM backup_logs WHERE business = 'b1' ORDER BY snapshot_at DESC"
    )
    assert f"<code>backup-pipeline businesses restore {newest}</code>" in text
    assert f"<code>backup-pipeline businesses restore {middle}</code>" in shown(office, f"{ONE}?backup={middle}")
    assert "restore nonsense" not in shown(office, f"{ONE}?backup=nonsense")


@pytest.mark.acceptance("3.25")
def test_a_business_admin_sees_their_own_alone(office: Office) -> None:
    text = shown(office, "/businesses", by="babul")
    assert "Rupa Stores" in text
    assert "Dhaka Bikes" not in text
    assert "Sylhet Tea" not in text
    assert row_of(text, "Rupa Stores").count(">protected<") == 1
    own, of_karim = (cells(row_of(shown(office, "/businesses", by=by), "Rupa Stores")) for by in ("babul", "karim"))
    assert own == of_karim, "the strip of their own"
    assert "The last ticks" not in text, "how many others there are, and what became of them"
    assert "the disk is full" in shown(office, ONE, by="babul")
    assert shown(office, ONE, by="babul")
    babul = office.as_("babul")
    foreign, unknown = babul.get("/businesses/shop/b2"), babul.get("/businesses/shop/b99")
    assert foreign.status_code == unknown.status_code == 404
    same = [
        re.sub(r"[0-9a-f]{12,}|b2|b99|\d\d:\d\d|datetime=\"[^\"]*\"|title=\"[^\"]*\"", "", each.text)
        for each in (foreign, unknown)
    ]
    assert same[0] == same[1]
    assert babul.get("/businesses/nonsense/b1").status_code == 404


@pytest.mark.acceptance("3.24")
def test_ticks_tell_who_has_single_businesses_nothing_of_others(office: Office) -> None:
    """Another one's failure makes a tick partial, and who is left out is named: neither is theirs to see."""
    at = newest_time(office) - (TICKS + 5) * FIVE
    miss = BusinessMiss("b2", Miss.FAILED, "of b2 alone")
    counted = Tick(
        "shop", at, TickStatus.PARTIAL, due=3, failed=1, left_out=("b3", "b1"), message="b2 failed", misses=(miss,)
    )
    ticks = office.ledger.ticks
    ticks.end(replace(counted, number=ticks.begin(counted).number))
    by_hand = ticks.begin(replace(counted, by_hand=True, misses=()))
    own = office.ledger.as_person(PersonIdentity(office.users["babul"])).ticks
    seen = [tick for tick in own.list("shop", limit=2 * TICKS) if tick.scheduled_at == at]
    assert [(tick.status, tick.due, tick.failed, tick.left_out, tick.message, tick.misses) for tick in seen] == [
        (TickStatus.SUCCESS, 0, 0, ("b1",), "", ())
    ]
    assert by_hand.number not in {tick.number for tick in own.list("shop", limit=2 * TICKS)}
    assert own.list("elsewhere") == []
    last, of_all = own.last("shop"), ticks.last("shop")
    assert last is not None
    assert of_all is not None
    assert last.number == of_all.number
    everybody = office.ledger.as_person(PersonIdentity(office.users["nila"])).ticks
    assert [tick.due for tick in everybody.list("shop", limit=2 * TICKS) if tick.scheduled_at == at] == [3, 3]
    confirmed = own.newest_records("shop", ["b1"])["b1"].confirmed_until
    assert confirmed == ticks.newest_records("shop", ["b1"])["b1"].confirmed_until
    office.ledger.execute("DELETE FROM business_ticks WHERE scheduled_at = %s", [at])
    office.ledger.execute("DELETE FROM business_misses WHERE reason = 'of b2 alone'")


@pytest.mark.parametrize("kind", ["full", "incremental", "manual"])
def test_a_business_is_backed_up_by_its_button(office: Office, kind: str) -> None:
    form = {"verb": "business", "catalog": "shop", "business": "b1", "kind": kind, "reason": "before the import"}
    answer = office.as_("babul").post("/runs", data={**form, "request": str(uuid4())})
    assert answer.status_code == 303
    run = office.newest_run
    assert (run.verb, run.scope.business, run.detail["kind"]) == (RunVerb.BUSINESS, "b1", kind)
    assert f"businesses backup b1 --as {kind}" in run.command
    for changed, status in (({"business": "b2"}, 404), ({"business": "b99"}, 404), ({"business": ""}, 404)):
        refused = office.as_("babul").post("/runs", data={**form, **changed, "request": str(uuid4())})
        assert refused.status_code == status
    odd = office.as_("babul").post("/runs", data={**form, "kind": "everything", "request": str(uuid4())})
    assert odd.status_code == 422
    assert office.newest_run.id == run.id
    assert office.as_("nila").post("/runs", data={**form, "request": str(uuid4())}).status_code == 403


def test_paused_and_gone_businesses_say_so_and_have_no_button(office: Office) -> None:
    account = office.ledger.businesses.get("shop", "b2")
    assert account is not None
    assert "Back up now" in shown(office, "/businesses/shop/b2")
    office.ledger.businesses.switch(
        account, Feature.BACKUPS, enabled=False, actor=office.users["karim"].actor, now=office.console.clock()
    )
    try:
        assert ">paused<" in row_of(shown(office, "/businesses"), "Dhaka Bikes").replace("</span>", "<")
        assert "Back up now" not in shown(office, "/businesses/shop/b2")
    finally:
        office.ledger.execute("DELETE FROM business_features")


@pytest.mark.parametrize("sort", ["name", "misses", "stored"])
def test_pages_show_each_business_once(office: Office, sort: str) -> None:
    """In the order that is asked for, with names that are alike, and with one that is hostile."""
    text, seen = shown(office, f"/businesses?sort={sort}"), list[str]()
    assert (re.findall(r'row-link" href="/businesses/shop/(b\d+)"', text)[0] == "b1") is (sort != "name")
    with psycopg.connect(office.ledger.url) as session:
        session.execute(
            "INSERT INTO businesses (catalog, business, name, status, registered_at, updated_at, actor) "
            "SELECT 'shop', 'n' || n, CASE WHEN n = 7 THEN %s ELSE 'Name/' || n %% 3 END, 'active', now(), now(), 'x' "
            "FROM generate_series(1, 120) n",
            [HOSTILE],
        )
    try:
        address: str | None = f"/businesses?sort={sort}"
        while address:
            answer = office.as_("karim").get(address).text
            assert HOSTILE not in answer
            seen += re.findall(r'row-link" href="/businesses/shop/(\w+)"', answer)
            following = re.search(r'href="([^"]+)" rel="next"', answer)
            address = html.unescape(following[1]) if following else None
        assert len(seen) == len(set(seen)) == 123
        assert "n7" in shown(office, "/businesses?q=onerror")
        assert office.as_("karim").get(f"/businesses?sort={sort}&after=x/y").status_code in {200, 422}
    finally:
        office.ledger.execute("DELETE FROM businesses WHERE business LIKE 'n%%'")


def test_systems_without_businesses_have_no_such_page_in_the_menu(
    office: Office, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = open_office(new_ledger(), tmp_path_factory.mktemp("plain"), days=1)
    assert 'href="/businesses"' not in plain.as_("karim").get("/").text
    assert "has no businesses" in plain.as_("karim").get("/businesses").text
    assert 'href="/businesses"' in office.as_("karim").get("/").text


def _planned(office: Office, by: str = "babul", **plan: Any) -> str:
    """The address of a plan for b1 that its run has made."""
    backup_id = office.ledger.ticks.newest_records("shop", ["b1"])["b1"].backup_id
    form = {"request": str(uuid4()), "backup": backup_id, "change": ["update", "delete"], "rows": "goods=g-1"}
    answer = office.as_(by).post(f"{ONE}/restore", data=form)
    assert answer.status_code == 303, answer.text
    attempt = office.ledger.get(backup_id)
    assert attempt is not None
    office.done(office.newest_run, {"plan": business_plan_json(attempt, **plan)})
    return answer.headers["location"]


@pytest.mark.acceptance("3.8", "3.39")
def test_a_business_is_brought_back_by_its_own_admin_and_approved_by_another(office: Office) -> None:
    wizard = shown(office, f"{ONE}/restore", by="babul")
    for part in ("Back to when?", "As of a time", "Delete new", 'name="table" value="goods"', 'role="img"'):
        assert part in wizard, part
    assert 'value="sold"' not in wizard, "what all share is never written"
    path = _planned(office)
    run = office.newest_run
    assert (run.verb, run.scope.business, run.actor.name) == (RunVerb.RESTORE, "b1", "babul")
    assert run.detail["plan"]["selection"] == {  # type: ignore[index]
        "changes": ["update", "delete"], "rows": {"goods": ["g-1"]}, "but": {}, "at": None,
    }  # fmt: skip
    assert run.command.endswith("--row goods=g-1 --without create --ask")
    page = shown(office, path, by="babul")
    for part in (
        "Rupa Stores is brought back",
        "price (2)",
        "g-1",
        "price: 7 → 5",
        "Choose rows",
        "40 rows of",
    ):
        assert part in page, part
    assert "<script>alert" not in office.as_("babul").get(path).text
    confirm = office.as_("babul").get(f"{path}/confirm")
    assert "Type the business&#39;s name, Rupa Stores" in confirm.text
    wrong = office.as_("babul").post(f"{path}/ask", data={"confirm": "shop", "reason": "a wrong import"})
    assert (wrong.status_code, "is not its name" in wrong.text) == (422, True)
    asked = office.as_("babul").post(f"{path}/ask", data={"confirm": " Rupa  Stores", "reason": "a wrong import"})
    assert asked.status_code == 303, asked.text
    number = int(asked.headers["location"].rpartition("/")[2])
    row = office.row(number)
    assert (row.scope.business, row.mode, row.database, row.request.selection.changes) == (  # type: ignore[union-attr]
        "b1", "difference", "shop", EVERY_CHANGE,
    )  # fmt: skip
    assert office.as_("babul").post(f"/requests/{number}/approve", data={"plan": "x"}).status_code == 403
    page = shown(office, f"/requests/{number}")
    assert "price: 7 → 5" in page
    digest = str((row.plan or {})["digest"])
    assert office.as_("selina").post(f"/requests/{number}/approve", data={"plan": digest}).status_code == 303
    assert office.as_("selina").post(f"/requests/{number}/run", data={"request": str(uuid4())}).status_code == 303
    assert office.newest_run.detail["request"] == number


def test_values_of_rows_are_for_who_may_look_at_rows(office: Office) -> None:
    """The catalog names no sensitive column, so a viewer sees counts and no value (decision 64)."""
    path = _planned(office, by="karim")
    asked = office.as_("karim").post(f"{path}/ask", data={"confirm": "b1", "reason": "why not"})
    page = shown(office, asked.headers["location"], by="nila")
    assert "price (2)" in page
    assert "7 → 5" not in page
    assert "7 → 5" in shown(office, asked.headers["location"])


def test_a_plan_with_a_conflict_goes_no_further_and_says_what_is_in_the_way(office: Office) -> None:
    path = _planned(office, conflict="2 rows of goods are another business's by now.")
    page = shown(office, path, by="babul")
    assert "2 rows of goods are another business's by now." in page
    assert f"{path}/confirm" not in page
    asked = office.as_("babul").post(f"{path}/ask", data={"confirm": "Rupa Stores", "reason": "all the same"})
    assert (asked.status_code, "another business" in asked.text) == (422, True)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"backup": "", "at": "yesterday"}, "is no time"),
        ({"backup": "", "at": "2001-01-01T00:00"}, "There is no backup"),
        ({"backup": "", "at": "2126-01-01T00:00"}, "still to come"),
        ({"change": []}, "Nothing is chosen"),
        ({"rows": "goods"}, "names no row"),
        ({"table": ["sold"]}, "no table sold"),
        ({"backup": "20260101T000000Z-full-00000000"}, "There is no backup"),
    ],
)
def test_what_does_not_fit_is_said_beside_the_form(office: Office, changed: dict[str, Any], why: str) -> None:
    runs = len(office.launcher.launched)
    newest = office.ledger.ticks.newest_records("shop", ["b1"])["b1"].backup_id
    form = {"request": str(uuid4()), "backup": newest, "change": ["create"], "rows": "", "at": "", **changed}
    answer = office.as_("babul").post(f"{ONE}/restore", data=form)
    assert (answer.status_code, why in html.unescape(answer.text), 'name="at"' in answer.text) == (422, True, True)
    assert len(office.launcher.launched) == runs


def test_a_moment_is_the_newest_backup_of_then_or_earlier(office: Office) -> None:
    newest = office.ledger.ticks.newest_records("shop", ["b1"])["b1"]
    at = newest.snapshot_at.astimezone(DHAKA) - timedelta(minutes=1)
    form = {"request": str(uuid4()), "at": f"{at:%Y-%m-%dT%H:%M}", "change": ["create", "update", "delete"]}
    assert office.as_("babul").post(f"{ONE}/restore", data=form).status_code == 303
    wish: Any = office.newest_run.detail["plan"]
    [(before,)] = sql(
        office,
        "SELECT backup_id FROM backup_logs WHERE business = 'b1' AND snapshot_at < %s "
        "ORDER BY snapshot_at DESC LIMIT 1",
        at,
    )
    assert (wish["backup_id"], wish["selection"]["at"]) == (before, f"{at:%Y-%m-%dT%H:%M}:00+06:00")


def test_who_may_not_ask_sees_no_wizard(office: Office) -> None:
    assert office.as_("nila").get(f"{ONE}/restore").status_code == 403
    assert f"{ONE}/restore" not in shown(office, ONE, by="nila")
    form = {"request": str(uuid4()), "backup": "x", "change": ["create"]}
    assert office.as_("babul").post("/businesses/shop/b2/restore", data=form).status_code == 404
    account = office.ledger.businesses.get("shop", "b1")
    assert account is not None
    karim, now = office.users["karim"].actor, office.console.clock()
    office.ledger.businesses.switch(account, Feature.RESTORE_SELF_SERVICE, False, karim, now)
    try:
        assert office.as_("babul").get(f"{ONE}/restore").status_code == 404
        assert f"{ONE}/restore" not in shown(office, ONE, by="babul")
        assert office.as_("karim").get(f"{ONE}/restore").status_code == 200
    finally:
        office.ledger.businesses.switch(account, Feature.RESTORE_SELF_SERVICE, True, karim, now)


def test_retention_tells_by_which_rule_backups_of_businesses_go_and_of_whom_most(office: Office) -> None:
    text = shown(office, "/retention")
    assert "The last one of each of the newest 168 hours that have one is kept." in text
    assert "goes 35 days after it was due" in text
    [(stored,)] = sql(office, "SELECT count(*) FROM backup_logs WHERE business = 'b1' AND status LIKE 'success%%'")
    row = row_of(text, "Rupa Stores")
    stay, go = (int(re.findall(rf'data-label="{name}" class="number">([0-9]+)<', row)[0]) for name in ("Stay", "Go"))
    assert stay + go == stored > 0
    assert 'href="/businesses/shop/b1"' in row


def test_keys_that_differ_in_case_alone_are_different_businesses(office: Office) -> None:
    known = [RegistryEntry("b1", "Rupa Stores"), RegistryEntry("b2", "Dhaka Bikes"), RegistryEntry("b3", "Sylhet Tea")]
    karim, now = office.users["karim"].actor, office.console.clock()
    office.ledger.businesses.register("shop", [*known, RegistryEntry("B1", "Rupa Great")], karim, now)
    try:
        assert "Rupa Great" in shown(office, "/businesses/shop/B1")
        assert "Rupa Great" not in shown(office, ONE)
        assert "Rupa Great" not in shown(office, "/businesses", by="babul")
        for path in ("/businesses/shop/B1", "/businesses/shop/B1/restore"):
            assert office.as_("babul").get(path).status_code == 404
        newest = office.ledger.ticks.newest_records("shop", ["b1"])["b1"].backup_id
        form = {"request": str(uuid4()), "backup": newest, "change": ["create"]}
        refused = office.as_("karim").post("/businesses/shop/B1/restore", data=form)
        assert (refused.status_code, "is not a good one of this business" in refused.text) == (422, True)
    finally:
        office.ledger.businesses.register("shop", known, karim, now)
