"""Keys of programs on their pages: shown once, never kept; what each did, and which do what they did not do before."""

from __future__ import annotations

import html
import re
import shlex
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from backup_pipeline.core.access.api_keys import Admission, ApiKey, Call, KeyPermission
from backup_pipeline.core.access.api_usage import LOOKED_BACK, of_late
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.calling import Program, program_of
from backup_pipeline_tests.web.deciding import Office, open_office

P = KeyPermission


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1)
    office.ledger.execute("DELETE FROM api_keys")
    return office


def _key(office: Office, name: str) -> int:
    (key,) = [key for key in office.console.access.access.keys.list() if key.name == name]
    return key.number


@pytest.mark.acceptance("3.30")
def test_the_key_of_the_sources_is_made_shown_once_and_kept_as_its_hash_alone(office: Office) -> None:
    karim = office.as_("karim")
    form = {"name": "System Integration", "permission": ["analytics", "backup_status"], "business": "", "limit": "1000"}
    made = karim.post("/keys", data=form)
    (secret,) = re.findall(r'<code id="secret">(sk_[0-9A-Za-z]{32})</code>', made.text)
    assert made.headers["cache-control"] == "no-store"
    with psycopg.connect(office.ledger.url) as session:
        row = session.execute("SELECT name, business, permissions, hourly_limit, shown FROM api_keys").fetchall()
        everything = "SELECT api_keys::text FROM api_keys UNION ALL SELECT backup_audit::text FROM backup_audit"
        texts = session.execute(everything).fetchall()
    assert row == [("System Integration", None, ["analytics", "backup_status"], 1000, secret[:8])]
    assert [text for (text,) in texts if secret[8:] in text] == []
    assert Program(office.console.app, secret).get("/api/v1/backups").status_code == 200
    for path in ("/keys", f"/keys/{_key(office, 'System Integration')}", "/usage", "/audit"):
        page = karim.get(path)
        assert (page.status_code, secret in page.text) == (200, False)
    again = karim.post("/keys", data=form)
    assert (again.status_code, "There is a key System Integration already" in again.text) == (422, True)


def test_the_line_to_try_has_the_address_that_people_type(office: Office) -> None:
    state = office.console.app.state
    state.settings = office.console.settings.model_copy(update={"console_url": "https://backup.example.com/"})
    try:
        answer = office.as_("karim").post("/keys", data={"name": "By a proxy", "permission": ["usage"]})
    finally:
        state.settings = office.console.settings
    assert " https://backup.example.com/api/v1/backups<" in answer.text


def test_a_name_is_one_word_of_the_command_that_people_copy(office: Office) -> None:
    name = "O'Brien'; touch owned; '"
    assert office.as_("karim").post("/keys", data={"name": name, "permission": ["usage"]}).status_code == 200
    page = html.unescape(office.as_("karim").get(f"/keys/{_key(office, name)}").text)
    commands = re.findall(r"backup-pipeline key api revoke [^<]+", page)
    assert [shlex.split(command)[4:] for command in commands] == [[name], [name]]


def test_the_sources_own_sql_is_refused_it_would_keep_the_key_itself(office: Office) -> None:
    insert = (
        "INSERT INTO api_keys (name, sha256, shown, permissions, created_at, actor) VALUES "
        "('x', 'sk_' || substr(md5(random()::text), 1, 32), 'sk_', '[]', now(), 'x')"
    )
    with psycopg.connect(office.ledger.url) as session, pytest.raises(psycopg.errors.CheckViolation):
        session.execute(insert)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"permission": []}, "can do nothing"),
        ({"permission": ["everything"]}, "is no permission"),
        ({"business": "b1", "permission": ["audit"]}, "A key of one business can not have audit"),
        ({"business": "../b1"}, "is not a business"),
        ({"limit": "0"}, "1 to 100,000"),
        ({"limit": "many"}, "a whole number"),
        ({"expires": "2020-01-01"}, "would have expired"),
        ({"name": "a:b"}, "no user"),
    ],
)
def test_a_key_that_can_not_be_is_not_made(office: Office, changed: dict[str, object], says: str) -> None:
    before = len(office.console.access.access.keys.list())
    form = {"name": "odd", "permission": ["backup_status"], "business": "", "limit": "10", "expires": "", **changed}
    answer = office.as_("karim").post("/keys", data=form)
    assert (answer.status_code, says in answer.text.replace("&#39;", "'")) == (422, True)
    assert len(office.console.access.access.keys.list()) == before


@pytest.mark.acceptance("3.27")
def test_a_key_is_limited_and_revoked_on_its_page_and_the_audit_has_both(office: Office) -> None:
    program, karim = program_of(office.console, P.BACKUP_STATUS, name="cron"), office.as_("karim")
    number = _key(office, "cron")
    assert karim.post(f"/keys/{number}/limit", data={"limit": "1"}).status_code == 303
    assert [program.get("/api/v1/backups").status_code for _ in range(2)] == [200, 429]
    assert karim.post(f"/keys/{number}/limit", data={"limit": "-1"}).status_code == 422
    assert karim.post(f"/keys/{number}/revoke").status_code == 303
    assert karim.post(f"/keys/{number}/revoke").status_code == 404
    actions = [event.action for event in office.ledger.audits(limit=2)]
    assert actions == ["api_key_revoked", "api_key_limited"]
    assert "revoked" in karim.get("/keys").text


@pytest.mark.acceptance("3.17", "3.35")
def test_the_page_of_use_has_a_row_for_each_call_and_names_what_is_unusual(office: Office) -> None:
    program = program_of(office.console, P.BACKUP_STATUS, name="nightly", limit=25)
    number = _key(office, "nightly")
    insert = (
        "INSERT INTO api_usage_logs (at, request_id, key_id, route, allowed, status, ms, bytes, address) "
        "SELECT now() - hour * interval '1 hour', 'r' || hour, %s, 'GET /api/v1/backups', true, 200, 5, 9, '10.0.0.7' "
        "FROM generate_series(5, 40) AS hour"
    )
    with psycopg.connect(office.ledger.url) as session:
        session.execute(insert, [number])
    called = [program.get("/api/v1/backups/none" if turn < 10 else "/api/v1/backups") for turn in range(27)]
    office.console.app.state.meter.write()
    page = office.as_("karim").get(f"/usage?key={number}")
    assert page.status_code == 200
    shown = [answer.headers["x-request-id"] for answer in called if answer.headers["x-request-id"] in page.text]
    assert len(shown) == 25, "a row for each call that was allowed"
    assert "2 times" in page.text, "and one for those that were refused"
    for why in (
        "2 calls were refused of late",
        "25 calls in the last two hours, where 2 are usual",
        "10 of its last 25 calls failed",
        "It calls from 127.0.0.1, where it did not call from",
    ):
        assert f"nightly: {why}" in page.text
    older = re.findall(r'href="([^"]+)" rel="next"', office.as_("karim").get("/usage?period=week").text)
    assert older, "the rest is on another page"
    assert office.as_("karim").get(older[0].replace("&amp;", "&")).status_code == 200


def test_an_admin_who_is_no_super_admin_sees_no_key(office: Office) -> None:
    for name in ("rahim", "nila", "babul"):
        assert office.as_(name).get("/keys").status_code == 403


def test_what_is_over_for_90_days_goes_with_its_month_and_the_next_ones_are_there() -> None:
    ledger = new_ledger()
    ledger.execute("""CREATE TABLE api_usage_logs_2020_01 PARTITION OF api_usage_logs
        FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z')""")
    console = ledger.as_person(PersonIdentity())
    console.access.usage.keep(timedelta(days=90))
    with psycopg.connect(ledger.url) as session:
        query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'api_usage_logs'::regclass"
        months = {name for (name,) in session.execute(query).fetchall()}
    now = datetime.now(UTC)
    assert f"api_usage_logs_{now:%Y_%m}" in months
    assert "api_usage_logs_2020_01" not in months
    assert len(months) == 4


def test_hours_that_are_over_are_added_up_once_and_the_sums_stay_what_they_were() -> None:
    ledger = new_ledger()
    usage = ledger.as_person(PersonIdentity()).access.usage
    ledger.execute(
        "INSERT INTO api_usage_logs (at, request_id, key_id, route, allowed, calls, status, ms, bytes, address) "
        "SELECT now() - n * interval '7 minutes', n::text, mod(n, 3), 'GET /' || mod(n, 2), mod(n, 10) > 0, 1, "
        "CASE WHEN mod(n, 5) = 0 THEN 404 ELSE 200 END, mod(n, 90), n, '10.0.0.' || mod(n, 4) "
        "FROM generate_series(0, 1500) AS n"
    )
    now = ledger.now()
    spans = [(now - timedelta(days=days), key) for days in (1, 2, 7, 30) for key in (None, 1)]
    ledger.execute(
        "UPDATE api_usage_logs SET address = '192.168.0.9' WHERE key_id = 2 AND at > now() - interval '1 hour'"
    )
    before = [usage.sums(since, key=key) for since, key in spans]
    habits = usage.habits(now - LOOKED_BACK, of_late(now))
    assert (habits[2].new_addresses, habits[1].new_addresses) == (("192.168.0.9",), ())
    lately = [each for each in before[4] if each.hour > of_late(now) and each.key == 1]
    assert habits[1].calls == sum(each.allowed for each in lately) > 0
    assert habits[1].usual in {2, 3}, "of eight calls an hour of three keys, nine in ten of them allowed"
    assert usage.add_up() > 500
    assert usage.add_up() == 0
    assert [usage.sums(since, key=key) for since, key in spans] == before
    assert usage.sums(now - timedelta(days=7), limit=7) == before[4][:7]
    assert usage.habits(now - LOOKED_BACK, of_late(now)) == habits
    ledger.execute("DELETE FROM api_usage_logs WHERE at < now() - interval '4 hours'")
    week, over = now - timedelta(days=7), now - timedelta(hours=5)
    kept = [each for each in before[4] if week < each.hour < over]
    assert [each for each in usage.sums(week) if each.hour < over] == kept, "nothing is added up again"
    stream = kept[-1]
    key = ApiKey(stream.key, "k", "sk_", (), 1, now, RAHIM)
    begun = Admission(key, stream.hour + timedelta(minutes=5))
    usage.finish(begun, Call("x", stream.route, "10.0.0.1"), 500, 3_600_000, 1_000)
    sums = {(each.hour, each.route): each for each in usage.sums(stream.hour, key=stream.key)}
    after = sums[stream.hour, stream.route]
    assert (after.slowest_ms, after.bytes) == (3_600_000, stream.bytes + 1_000)
