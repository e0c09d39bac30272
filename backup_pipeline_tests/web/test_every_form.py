"""Every form of the console, sent as it stands on its page by somebody who may: each leaves a row of the audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pyotp
import pytest

from backup_pipeline.core.access import User
from backup_pipeline.core.access.api_keys import NewKey, parse_permissions
from backup_pipeline.core.access.webhooks import NewWebhook
from backup_pipeline.core.audit import AuditFilter
from backup_pipeline.core.names import Kind
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.core.runs import RunPhase, RunRequest, RunState, RunVerb
from backup_pipeline.core.scope import PROGRAM, Scope
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline.operations.access.download_links import create_link
from backup_pipeline.operations.access.second_factor import pending_set_up, set_up
from backup_pipeline.operations.access.users import invite
from backup_pipeline.operations.progress import RunWatch
from backup_pipeline.operations.restore import decisions
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import EARLIER, Office, add_business, open_office, plan_json
from backup_pipeline_tests.web.people import PASSWORD
from backup_pipeline_tests.web.test_alerts import Channel
from backup_pipeline_tests.web.test_every_route import RULES
from backup_pipeline_tests.web.ticking import add_backup


@dataclass
class Desk:
    """What the forms below are about: things of an office that each form finds as it wants them."""

    office: Office

    @property
    def backup(self) -> str:
        return self.office.backups()[0].backup_id

    def request(self, *, approved: bool = False) -> RestoreRow:
        row = self.office.ask("rahim")
        if approved:
            decisions.approve(
                row.id,
                self.office.users["selina"].actor,
                self.office.ports,
                reason="yes",
                of_plan=str((row.plan or {})["digest"]),
            )
        return row

    def webhook(self, url: str = "https://dashboard.example.com/hook") -> int:
        wanted = NewWebhook(f"hook {_new()[:6]}", url)
        ledger = self.office.ledger
        return ledger.webhooks.add(wanted, "sealed", RAHIM, self.office.console.clock()).number

    def delivery(self) -> tuple[str, dict[str, Any]]:
        """A delivery of a webhook, to be sent again."""
        number, webhooks = self.webhook(), self.office.ledger.webhooks
        self.office.ledger.execute("INSERT INTO realtime_events (kind, subject) VALUES ('backup', 'x')")
        webhooks.note_events(self.office.console.clock())
        return f"/webhooks/{number}/deliveries/{webhooks.deliveries(number)[0].number}/again", {}

    def run(self, verb: RunVerb = RunVerb.BACKUP, **more: Any) -> UUID:
        row = RunRequest(uuid4(), Scope("shop"), verb, self.office.users["karim"].actor, datetime.now(UTC), **more)
        self.office.ledger.run_requests.add(row)
        return row.id

    def planned(self) -> UUID:
        """A restore that karim has planned."""
        chosen = self.office.backups()[0]
        plan = {"backup_id": chosen.backup_id, "mode": "upsert", "target": "staging", "tables": ["goods"]}
        number = self.run(RunVerb.RESTORE, detail={"dry_run": True, "plan": plan})
        run = self.office.ledger.run_requests.get(number)
        assert run is not None
        self.office.done(run, {"plan": plan_json(chosen)})
        return number

    def clean_up(self) -> UUID:
        number = self.run(RunVerb.PRUNE, detail={"dry_run": True})
        run = self.office.ledger.run_requests.get(number)
        assert run is not None
        self.office.done(run, {"plans": [{"removed": []}]})
        return number

    def at_work(self) -> str:
        """A run that nobody asked for here."""
        with RunWatch(lambda: self.office.ledger.progress, "nightly", Scope("shop"), self.office.console.clock):
            pass
        self.office.ledger.execute("UPDATE run_progress SET finished_at = NULL WHERE run_id = 'nightly'")
        return self.launched("nightly")

    def launched(self, run_id: str) -> str:
        """A run that Dagster has."""
        self.office.launcher.runs[run_id] = RunState(run_id, "shop_full_backup", RunPhase.RUNNING, "")
        return run_id

    def person(self, **more: Any) -> User:
        return self.office.console.user(f"somebody {uuid4().hex[:6]}", **more)

    def link(self) -> int:
        row = self.office.backups()[0]
        return create_link(row, "zip", self.office.users["karim"], self.office.ports)[0].number

    def key(self) -> int:
        wanted = NewKey(f"key {uuid4().hex[:6]}", parse_permissions(["analytics"]))
        return create_key(wanted, self.office.console.access, RAHIM)[0].number

    def account(self) -> str:
        """The page of a business."""
        if not self.office.ledger.businesses.of_key("b1"):
            add_business(self.office)
        return "/accounts/shop/b1"

    def backup_of_business(self) -> str:
        return add_backup(self.office, "b1", self.office.console.clock() - timedelta(minutes=5), Kind.FULL)

    def session(self, user: User) -> int:
        self.office.console.signed_in(user)
        return self.office.console.access.access.sessions.list(user.number)[0].number


Sent = tuple[str, dict[str, Any]]
"""An address, and what stands in the form."""


def _new() -> str:
    return str(uuid4())


def _code(desk: Desk) -> Sent:
    karim = desk.office.users["karim"]
    set_up(karim, desk.office.console.access)
    pending = pending_set_up(karim, desk.office.console.access)
    assert pending is not None
    return "/account/second-factor/confirm", {"code": pyotp.TOTP(pending.secret).at(desk.office.console.clock())}


def _of(user: User, rest: str = "") -> str:
    return f"/users/{user.number}{rest}"


def _running(desk: Desk) -> Sent:
    """A restore whose run was not asked for here."""
    row = desk.request(approved=True)
    desk.office.ledger.restores.change(row.id, RestoreChange(RestoreStatus.RUNNING, run_id=desk.launched("typed")))
    return f"/requests/{row.id}/cancel", {}


def _session_of_somebody(desk: Desk) -> Sent:
    somebody = desk.person()
    return _of(somebody, f"/sessions/{desk.session(somebody)}/revoke"), {}


FORMS: dict[str, Callable[[Desk], Sent]] = {
    "POST /login": lambda _: ("/login", {"name": "karim", "password": "wrong"}),
    "POST /confirm": lambda _: ("/confirm", {"password": PASSWORD}),
    "POST /welcome/{token}": lambda desk: (
        f"/welcome/{invite(desk.person(), desk.office.console.access, RAHIM)}",
        {"password": "violet anchor storm 88", "again": "violet anchor storm 88"},
    ),
    "POST /account/sessions/{number}/revoke": lambda desk: (
        f"/account/sessions/{desk.session(desk.office.users['karim'])}/revoke",
        {},
    ),
    "POST /account/sessions/revoke": lambda _: ("/account/sessions/revoke", {}),
    "POST /account/second-factor": lambda _: ("/account/second-factor", {}),
    "POST /account/second-factor/confirm": _code,
    "POST /account/second-factor/remove": lambda _: ("/account/second-factor/remove", {}),
    "POST /runs": lambda _: ("/runs", {"verb": "backup", "catalog": "shop", "request": _new(), "reason": "why not"}),
    "POST /runs/{number}/cancel": lambda desk: (f"/runs/{desk.run()}/cancel", {}),
    "POST /runs/dagster/{run_id}/cancel": lambda desk: (f"/runs/dagster/{desk.at_work()}/cancel", {}),
    "POST /settings/schedules/{name}/{switch}": lambda _: ("/settings/schedules/shop_daily/stop", {}),
    "POST /backups/{backup_id}/download": lambda desk: (f"/backups/{desk.backup}/download", {"show": "true"}),
    "POST /legacy/download": lambda _: ("/legacy/download", {"catalog": "shop", "key": EARLIER}),
    "POST /links/{number}/revoke": lambda desk: (f"/links/{desk.link()}/revoke", {}),
    "POST /audit/verify": lambda _: ("/audit/verify", {}),
    "POST /restore/plan": lambda desk: (
        "/restore/plan",
        {"request": _new(), "backup": desk.backup, "mode": "upsert", "target": "staging", "table": "goods"},
    ),
    "POST /businesses/{catalog}/{business}/restore": lambda desk: (
        f"{desk.account().replace('/accounts', '/businesses')}/restore",
        {"request": _new(), "backup": desk.backup_of_business(), "change": ["create", "update"]},
    ),
    "POST /restore/plan/{request_id}/ask": lambda desk: (
        f"/restore/plan/{desk.planned()}/ask",
        {"confirm": "staging", "reason": "a wrong UPDATE"},
    ),
    "POST /requests/{number}/approve": lambda desk: (
        f"/requests/{(row := desk.request()).id}/approve",
        {"plan": str((row.plan or {})["digest"]), "reason": "yes"},
    ),
    "POST /requests/{number}/reject": lambda desk: (f"/requests/{desk.request().id}/reject", {"reason": "no"}),
    "POST /requests/{number}/take-back": lambda desk: (f"/requests/{desk.office.ask('karim').id}/take-back", {}),
    "POST /requests/{number}/plan": lambda desk: (f"/requests/{desk.request().id}/plan", {"request": _new()}),
    "POST /requests/{number}/run": lambda desk: (
        f"/requests/{desk.request(approved=True).id}/run",
        {"request": _new()},
    ),
    "POST /requests/{number}/cancel": _running,
    "POST /drills": lambda desk: ("/drills", {"request": _new(), "catalog": "shop", "backup_id": desk.backup}),
    "POST /backups/{backup_id}/hold": lambda desk: (f"/backups/{desk.backup}/hold", {"reason": "the audit"}),
    "POST /backups/{backup_id}/release": lambda desk: (f"/backups/{desk.backup}/release", {"reason": "over"}),
    "POST /backups/{backup_id}/delete": lambda desk: (
        f"/backups/{(oldest := desk.office.backups()[-1].backup_id)}/delete",
        {"request": _new(), "confirm": oldest, "reason": "a test"},
    ),
    "POST /retention/plan": lambda _: ("/retention/plan", {"request": _new(), "catalog": "shop"}),
    "POST /retention/run": lambda desk: ("/retention/run", {"request": _new(), "plan": str(desk.clean_up())}),
    "POST /alerts/retry": lambda _: ("/alerts/retry", {}),
    "POST /alerts/test": lambda _: ("/alerts/test", {}),
    "POST /payments": lambda desk: (
        "/payments",
        {"business": desk.account().rpartition("/")[2], "amount": "200", "method": "cash", "reference": _new()},
    ),
    "POST /plans": lambda _: ("/plans", {"name": f"plan-{_new()[:6]}", "price": "90"}),
    "POST /accounts/settings": lambda _: ("/accounts/settings", {"grace": "9", "methods": "cash"}),
    "POST /accounts/{catalog}/{business}": lambda desk: (desk.account(), {"plan": "pro", "quota": "77"}),
    "POST /accounts/{catalog}/{business}/features": lambda desk: (
        f"{desk.account()}/features",
        {"feature": "backups", "enabled": "off"},
    ),
    "POST /keys": lambda _: ("/keys", {"name": f"key {_new()[:6]}", "permission": "analytics"}),
    "POST /webhooks": lambda _: ("/webhooks", {"name": f"hook {_new()[:6]}", "url": "https://93.184.215.14/hook"}),
    "POST /webhooks/{number}/test": lambda desk: (f"/webhooks/{desk.webhook('https://127.0.0.1/')}/test", {}),
    "POST /webhooks/{number}/remove": lambda desk: (f"/webhooks/{desk.webhook()}/remove", {}),
    "POST /webhooks/{number}/{switch}": lambda desk: (f"/webhooks/{desk.webhook()}/off", {}),
    "POST /webhooks/{number}/deliveries/{delivery}/again": lambda desk: desk.delivery(),
    "POST /keys/{number}/limit": lambda desk: (f"/keys/{desk.key()}/limit", {"limit": "7"}),
    "POST /keys/{number}/revoke": lambda desk: (f"/keys/{desk.key()}/revoke", {}),
    "POST /users": lambda _: ("/users", {"name": f"new {_new()[:6]}"}),
    "POST /users/policy": lambda _: ("/users/policy", {"local": "true", "required": "viewer"}),
    "POST /users/{number}": lambda desk: (_of(desk.person()), {"role": "viewer", "may_run": "true"}),
    "POST /users/{number}/disable": lambda desk: (_of(desk.person(), "/disable"), {}),
    "POST /users/{number}/enable": lambda desk: (_of(desk.person(), "/enable"), {}),
    "POST /users/{number}/invite": lambda desk: (_of(desk.person(), "/invite"), {}),
    "POST /users/{number}/second-factor/remove": lambda desk: (_of(desk.person(), "/second-factor/remove"), {}),
    "POST /users/{number}/sessions/revoke": lambda desk: (_of(desk.person(), "/sessions/revoke"), {}),
    "POST /users/{number}/sessions/{session}/revoke": _session_of_somebody,
    "POST /account/password": lambda _: (
        "/account/password",
        {"before": PASSWORD, "password": PASSWORD + "!", "again": PASSWORD + "!"},
    ),
    "POST /logout": lambda _: ("/logout", {}),
}
"""A form of each route that writes, as it is sent by who may; the last one ends the session."""
BY_NOBODY = {"POST /login", "POST /welcome/{token}"}


@pytest.mark.acceptance("3.27")
def test_every_form_leaves_a_row_of_the_audit(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With who did it; what is only tried, such as to sign in, too."""
    assert set(FORMS) == {route for route in RULES if route.startswith("POST ")}
    desk, silent = (
        Desk(open_office(new_ledger(), tmp_path_factory.mktemp("desk"), days=35, businesses=True)),
        list[str](),
    )
    rows, ports = desk.office.ledger.audit_rows, desk.office.ports
    desk.office.console.app.state.ports = replace(ports, alerter=Channel())
    for route, form in FORMS.items():
        path, fields = form(desk)
        browser = desk.office.console.browser() if route in BY_NOBODY else desk.office.as_("karim")
        [before] = rows.page(AuditFilter(), before=None, limit=1)
        answer = browser.post(path, data=fields)
        assert answer.status_code in {200, 303, 401}, (route, answer.status_code, answer.text)
        new = [row for row in rows.page(AuditFilter(), before=None, limit=20) if row.number > before.number]
        if not [row for row in new if row.event.actor != PROGRAM]:
            silent.append(route)
    assert not silent, silent
