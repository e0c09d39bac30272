"""Every route of the console with every role: who gets in, who is refused, who is led to sign in."""

from __future__ import annotations

import html
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote
from uuid import UUID

import pytest
import typer
from fastapi.routing import APIRoute

from backup_pipeline.cli.app import app
from backup_pipeline.core.access import PERMISSIONS, Permission, Role
from backup_pipeline.core.runs import RunRequest, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.web.api import ApiRoute
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.docs.test_cli_docs import unknown_options
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import PEOPLE, Office, add_business, open_office

P = Permission
RUN = "3f0e8a5c-6c1b-4d55-9a3e-1b7f6a1c2d3e"
OPEN, SIGNED_IN = "whoever comes", "whoever has signed in"


class Rule(NamedTuple):
    """What a route takes: a permission, or who else; `fresh`: the password of a moment ago, too."""

    takes: Permission | str
    fresh: bool = False


def _rules(takes: Permission | str, *routes: str, fresh: bool = False) -> dict[str, Rule]:
    return dict.fromkeys(routes, Rule(takes, fresh))


RULES = {
    **_rules(OPEN, "GET /healthz", "GET /healthz/freshness", "GET /metrics"),
    **_rules(OPEN, "GET /reference", "GET /api/openapi.json"),
    **_rules(OPEN, "GET /login", "POST /login", "POST /logout", "GET /welcome/{token}", "POST /welcome/{token}"),
    **_rules(OPEN, "GET /d/{token}", "HEAD /d/{token}", "GET /login/provider", "GET /login/provider/back"),
    **_rules(SIGNED_IN, "GET /confirm", "POST /confirm", "GET /account", "POST /account/password"),
    **_rules(SIGNED_IN, "POST /account/sessions/{number}/revoke", "POST /account/sessions/revoke"),
    **_rules(
        SIGNED_IN,
        "POST /account/second-factor",
        "POST /account/second-factor/confirm",
        "POST /account/second-factor/remove",
        fresh=True,
    ),
    **_rules(P.SEE, "GET /backups/{backup_id}/tables/{table}"),
    **_rules(P.SEE, "GET /legacy", "GET /", "GET /backups", "GET /backups/{backup_id}"),
    **_rules(P.HANDLE_ALERTS, "GET /admin", "GET /admin/backup"),
    **_rules(P.SEE, "GET /calendar", "GET /charts", "GET /report", "GET /requests", "GET /requests/{number}"),
    **_rules(P.SEE, "GET /businesses", "GET /businesses/{catalog}/{business}"),
    **_rules(P.SEE, "GET /runs", "POST /runs", "GET /runs/{number}", "POST /runs/{number}/cancel"),
    **_rules(SIGNED_IN, "GET /events"),
    **_rules(P.HANDLE_ALERTS, "POST /runs/dagster/{run_id}/cancel"),
    **_rules(P.HANDLE_ALERTS, "GET /settings"),
    **_rules(P.MANAGE_SETTINGS, "POST /settings/schedules/{name}/{switch}"),
    **_rules(P.DOWNLOAD, "POST /legacy/download"),
    **_rules(P.DOWNLOAD, "POST /backups/{backup_id}/download", "POST /links/{number}/revoke"),
    **_rules(P.SEE_AUDIT, "GET /audit", "GET /audit.csv", "POST /audit/verify"),
    **_rules(
        P.REQUEST_RESTORE, "GET /restore", "GET /restore/new", "POST /restore/plan", "GET /restore/plan/{request_id}"
    ),
    **_rules(
        P.REQUEST_RESTORE,
        "GET /businesses/{catalog}/{business}/restore",
        "POST /businesses/{catalog}/{business}/restore",
    ),
    **_rules(P.REQUEST_RESTORE, "GET /restore/plan/{request_id}/confirm", "POST /restore/plan/{request_id}/ask"),
    **_rules(P.REQUEST_RESTORE, "POST /requests/{number}/take-back", "POST /requests/{number}/plan"),
    **_rules(P.REQUEST_RESTORE, "POST /requests/{number}/run", "POST /requests/{number}/cancel"),
    **_rules(P.SEE, "GET /drills", "GET /retention", "GET /alerts"),
    **_rules(P.SEE_AUDIT, "GET /drills/{number}", "GET /drills/{number}/evidence.json"),
    **_rules(P.DRILL, "POST /drills"),
    **_rules(P.HOLD, "POST /backups/{backup_id}/hold", "POST /backups/{backup_id}/release"),
    **_rules(P.PRUNE, "POST /retention/plan", "POST /retention/run", "GET /retention/runs/{request_id}"),
    **_rules(P.DELETE, "GET /backups/{backup_id}/delete", "POST /backups/{backup_id}/delete", fresh=True),
    **_rules(P.HANDLE_ALERTS, "POST /alerts/retry", "POST /alerts/test"),
    **_rules(P.APPROVE, "POST /requests/{number}/approve", fresh=True),
    **_rules(P.APPROVE, "POST /requests/{number}/reject"),
    **_rules(P.MANAGE_KEYS, "GET /keys", "GET /keys/{number}", "GET /usage"),
    **_rules(P.MANAGE_KEYS, "GET /webhooks", "GET /webhooks/{number}"),
    **_rules(P.MANAGE_KEYS, "POST /webhooks/{number}/deliveries/{delivery}/again", "POST /webhooks/{number}/test"),
    **_rules(P.MANAGE_KEYS, "GET /webhooks/new", "POST /webhooks", "POST /webhooks/{number}/{switch}", fresh=True),
    **_rules(P.MANAGE_KEYS, "POST /webhooks/{number}/remove", fresh=True),
    **_rules(
        P.MANAGE_KEYS,
        "GET /keys/new",
        "POST /keys",
        "POST /keys/{number}/limit",
        "POST /keys/{number}/revoke",
        fresh=True,
    ),
    **_rules(P.MANAGE_PAYMENTS, "GET /payments", "POST /payments", "GET /payments.csv", "GET /plans", "POST /plans"),
    **_rules(P.MANAGE_PAYMENTS, "GET /analytics", "GET /analytics.csv"),
    **_rules(P.MANAGE_PAYMENTS, "GET /accounts", "GET /accounts/{catalog}/{business}"),
    **_rules(P.MANAGE_PAYMENTS, "POST /accounts/{catalog}/{business}", "POST /accounts/{catalog}/{business}/features"),
    **_rules(P.MANAGE_SETTINGS, "POST /accounts/settings"),
    **_rules(P.MANAGE_USERS, "GET /users"),
    **_rules(
        P.MANAGE_USERS,
        "GET /users/new",
        "POST /users",
        "POST /users/policy",
        "GET /users/{number}",
        "POST /users/{number}",
        "POST /users/{number}/disable",
        "POST /users/{number}/enable",
        "POST /users/{number}/invite",
        "POST /users/{number}/second-factor/remove",
        "POST /users/{number}/sessions/revoke",
        "POST /users/{number}/sessions/{session}/revoke",
        fresh=True,
    ),
}

NOT_THERE = {"GET /drills/{number}", "GET /drills/{number}/evidence.json", "GET /retention/runs/{request_id}"}
NOT_THERE |= {"GET /restore/plan/{request_id}", "GET /restore/plan/{request_id}/confirm"}
NOT_THERE |= {"GET /backups/{backup_id}/tables/{table}"}
"""Pages of what the office has none of: who gets in, is told so."""

OWN = {"GET /businesses/{catalog}/{business}", "GET /businesses/{catalog}/{business}/restore"}
"""Pages of the business that babul has."""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An office with a request that waits."""
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3, businesses=True)
    office.ask("rahim")
    add_business(office)
    office.console.app.state.launcher = FakeLauncher()
    asked_for = RunRequest(UUID(RUN), Scope("shop"), RunVerb.BACKUP, RAHIM, datetime.now(UTC))
    office.ledger.run_requests.add(asked_for)
    return office


def _routes(routes: Iterable[object]) -> Iterator[str]:
    """All but those of programs, which have a table of their own (`test_api.py`)."""
    for route in routes:
        if isinstance(route, APIRoute) and not isinstance(route, ApiRoute):
            yield from (f"{method} {route.path}" for method in route.methods or ())
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from _routes(router.routes)


def filled(office: Office, route: str) -> tuple[str, str]:
    """The method, and the path with things that are there in it; a token never is."""
    method, path = route.split(" ")
    known = {
        "backup_id": office.backups()[0].backup_id,
        "token": "none",
        "table": "none",
        "session": "1",
        "number": "1",
    }
    known |= {"delivery": "1"}
    known["request_id"] = "00000000-0000-4000-8000-000000000000"
    known |= {"name": "shop_daily", "switch": "stop", "run_id": "none", "catalog": "shop", "business": "b1"}
    if path.startswith("/users/"):
        known["number"] = str(office.users["nila"].number)
    if path.startswith("/runs/"):
        known["number"] = RUN
    return method, re.sub(r"\{(\w+)\}", lambda match: known[match[1]], path)


@pytest.mark.acceptance("3.25")
def test_every_route_stands_in_the_table(office: Office) -> None:
    assert set(_routes(office.console.app.routes)) == set(RULES)


@pytest.mark.acceptance("2.29", "4.36")
@pytest.mark.parametrize("route", [route for route, rule in RULES.items() if rule.takes is not OPEN])
def test_nobody_gets_in_without_signing_in(office: Office, route: str) -> None:
    method, path = filled(office, route)
    browser = office.console.browser()
    answer = browser.get(path) if method == "GET" else browser.post(path)
    assert (answer.status_code, answer.headers.get("location", "").partition("?")[0]) == (303, "/login")


def _cases(*, may: bool) -> list[tuple[str, str]]:
    """Routes that take a permission, with the people who have it, or who have it not."""
    return [
        (route, name)
        for route, rule in RULES.items()
        for name, role in PEOPLE.items()
        if isinstance(rule.takes, Permission) and (rule.takes in PERMISSIONS[role]) is may
    ]


@pytest.mark.acceptance("2.29", "4.36")
@pytest.mark.parametrize(("route", "name"), _cases(may=False))
def test_whoever_lacks_the_permission_is_refused(office: Office, route: str, name: str) -> None:
    method, path = filled(office, route)
    browser = office.as_(name)
    answer = browser.get(path) if method == "GET" else browser.post(path)
    assert answer.status_code == 403
    assert "may not" in answer.text


@pytest.mark.acceptance("2.29", "4.23")
@pytest.mark.parametrize(("route", "name"), [case for case in _cases(may=True) if case[0].startswith("GET")])
def test_whoever_has_the_permission_sees_the_page(office: Office, route: str, name: str) -> None:
    _, path = filled(office, route)
    of_no_business_of_theirs = PEOPLE[name] is Role.BUSINESS_ADMIN and "{" in route and route not in OWN
    expected = 404 if of_no_business_of_theirs or route in NOT_THERE else 303 if route == "GET /restore" else 200
    assert office.as_(name).get(path).status_code == expected


@pytest.mark.parametrize("route", [route for route, rule in RULES.items() if rule.fresh])
def test_what_matters_most_wants_the_password_again(office: Office, route: str) -> None:
    method, path = filled(office, route)
    browser = office.console.signed_in(office.users["selina"])
    office.console.clock.move(minutes=6)
    try:
        answer = browser.get(path) if method == "GET" else browser.post(path)
    finally:
        office.console.clock.move(minutes=-6)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/confirm")


@pytest.mark.parametrize("unknown", ["999999", "00000000-0000-4000-8000-00000000000f", "\x00", "é" * 300])
def test_what_is_not_there_is_nobodys_fault(office: Office, unknown: str) -> None:
    """Whatever stands in the address in place of an id, and nothing in the form."""
    selina = office.signed_in_anew("selina")
    for route, rule in RULES.items():
        if "{" in route and rule.takes is not OPEN:
            method, path = re.sub(r"\{\w+\}", quote(unknown), route).split(" ")
            answer = selina.get(path) if method == "GET" else selina.post(path)
            assert answer.status_code in {303, 403, 404, 409, 422}, (route, answer.status_code)


def test_people_stand_on_every_page_by_their_names_alone(office: Office) -> None:
    """Whatever they did: `person:` in front is how the ledger tells them from programs."""
    karim, backup = office.as_("karim"), office.backups()[0].backup_id
    for path in (f"/backups/{backup}/hold", f"/backups/{backup}/release", f"/backups/{backup}/hold"):
        assert karim.post(path, data={"reason": "the audit"}).status_code == 303
    assert karim.post(f"/backups/{backup}/download").status_code == 303
    rejected = office.ask("rahim").id
    karim.post(f"/requests/{rejected}/reject", data={"reason": "no"})
    run = "3f0e8a5c-6c1b-4d55-9a3e-1b7f6a1c2d3f"
    waits = RunRequest(UUID(run), Scope("shop"), RunVerb.BACKUP, office.users["rahim"].actor, datetime.now(UTC))
    office.ledger.run_requests.add(waits)
    karim.post(f"/runs/{run}/cancel")
    karim.post(f"/users/{office.users['nila'].number}/sessions/revoke")
    routes = [route for route, rule in RULES.items() if route.startswith("GET ") and rule.takes != OPEN]
    paths = {filled(office, route)[1] for route in routes} - {
        "/events",
        "/audit.csv",
        "/analytics.csv",
        "/payments.csv",
        "/drills/1/evidence.json",
    }
    paths |= {f"/requests/{rejected}", f"/runs/{run}", "/settings?tab=backups", "/settings?tab=system"}
    texts = {path: karim.get(path).text for path in sorted(paths)}
    assert [path for path, text in texts.items() if "person:" in text] == []
    for path in ("/audit", "/runs", f"/backups/{backup}", f"/requests/{rejected}", "/retention", f"/runs/{run}"):
        assert "karim" in texts[path].partition("<main")[2] or "rahim" in texts[path].partition("<main")[2]
    assert "held by: karim" in texts["/audit"], "also in what a row says besides"


@pytest.fixture(scope="module")
def shown(office: Office) -> dict[str, str]:
    """Every page that a super admin opens, by its path."""
    karim = office.signed_in_anew("karim")
    routes = [route for route, rule in RULES.items() if route.startswith("GET ") and rule.takes != OPEN]
    paths = {filled(office, route)[1] for route in routes} - {"/events"} | {
        "/settings?tab=backups",
        "/settings?tab=system",
    }
    paths |= {f"{path}?system=shop" for path in ("/", "/backups", "/calendar", "/charts", "/report", "/retention")}
    answers = {path: karim.get(path) for path in sorted(paths)}
    return {
        path: answer.text
        for path, answer in answers.items()
        if answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    }


def test_every_label_is_of_its_own_field(shown: dict[str, str]) -> None:
    """An id that stands twice gives the second label to the first field: whoever clicks it types into another form."""
    assert len(shown) > 25
    for path, text in shown.items():
        ids = Counter(re.findall(r'\sid="([^"]+)"', text))
        assert [name for name, count in ids.items() if count > 1] == [], path
        named = re.findall(r'\s(?:for|aria-labelledby|aria-describedby)="([^"]+)"', text)
        assert [name for each in named for name in each.split() if name not in ids] == [], path


NO_COMMAND = re.compile(rf"/confirm|/runs/{RUN}")
"""A question of the console alone, and a run that was made without one."""
DAGSTERS = ("Run the automatic backup of", "Cancel this run")
"""What the schedule itself does, and what Dagster alone can stop."""


def test_every_page_and_every_form_that_asks_first_shows_its_command(shown: dict[str, str]) -> None:
    """As it can be typed: a command that is there, with options that it knows."""
    known, forms = typer.main.get_command(app), 0
    for path, text in shown.items():
        if NO_COMMAND.fullmatch(path):
            continue
        main = text.partition("<main")[2]
        commands = re.findall(r'<code id="twin">(.*?)</code>', main)
        assert len(commands) == 1, path
        for form in re.findall(r'<details class="ask".*?</details>', main, re.DOTALL):
            if DAGSTERS[0] not in form and DAGSTERS[1] not in form:
                forms += 1
                commands += [re.findall(r"In a terminal: <code>(.*?)</code>", form)[0]]
        for command in (each for line in commands for each in html.unescape(line).split(" && ")):
            program, *words = shlex.split(command)
            assert program == "backup-pipeline", path
            assert list(unknown_options(known, shlex.join(words))) == [], (path, command)
            assert [word for word in words if "--" in word[1:]] == [], (path, command)
    assert forms > 10
