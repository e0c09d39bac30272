"""An office of a module's tests: a console over a ledger with backups, and somebody of each role signed in to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.api_keys import KeyPermission, NewKey
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.access.webhooks import NewWebhook
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.payments import PaymentRequest, Plan
from backup_pipeline.core.payments.accounts import Period, Price, RegistryEntry
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.restore import (
    Action,
    Mode,
    RemarkSeverity,
    RestorePlan,
    RestoreRemark,
    RestoreRequest,
    RowChange,
    Selection,
    TableRestore,
)
from backup_pipeline.core.restore.businesses import BusinessDiff, BusinessPlan, RestoreConflict, RowExample, TableDiff
from backup_pipeline.core.restore.requests import Address, RestoreRow, kept_plan
from backup_pipeline.core.runs import RequestChange, RequestStatus, RunRequest
from backup_pipeline.core.scope import Actor, ActorKind, Scope
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline.operations.payments import MoneyPorts, account_of, verify_payment, write_plan
from backup_pipeline.operations.payments.accounts import AccountChange, change_account
from backup_pipeline.operations.restore.decisions import AskedRestore, ask_for_approval
from backup_pipeline.operations.restore.requests import RestoreCaller
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.operations.shelved import Shelved
from backup_pipeline_tests.servers.ledgers import ScratchLedger
from backup_pipeline_tests.web.people import Browser, Console, console_over

HOSTILE = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"
"""What a page must show as it is: every field that comes from data may hold it."""
TARGET = "postgresql://owner:hunter2@127.0.0.1:5433/staging"
OWN = "postgresql://owner:hunter2@127.0.0.1:5433/shop"
"""Where the businesses of an office are."""
EARLIER = "earlier/sales-backup-2026-01-25T14-30-45-123Z.json"
"""A file of an earlier program, cut off."""
PEOPLE = {
    "karim": Role.SUPER_ADMIN,
    "selina": Role.SUPER_ADMIN,
    "rahim": Role.ADMIN,
    "babul": Role.BUSINESS_ADMIN,
    "nila": Role.VIEWER,
}


@dataclass(frozen=True)
class Goal:
    """Where a restore is to go, for who asks."""

    address: Address = field(default_factory=lambda: Address("postgresql://owner@127.0.0.1:5433/staging", "staging"))

    @property
    def hide(self) -> Any:
        return lambda text: text


@dataclass
class Office:
    """The console, who is signed in, and what its Dagster was sent."""

    console: Console
    shelf: Shelved
    launcher: FakeLauncher
    users: dict[str, User] = field(default_factory=dict)
    browsers: dict[str, Browser] = field(default_factory=dict)

    @property
    def ledger(self) -> ScratchLedger:
        return self.shelf.ledger

    @property
    def ports(self) -> Ports:
        return self.console.ports

    def as_(self, name: str) -> Browser:
        """A browser in which that person has signed in, a moment ago."""
        if name not in self.browsers:
            self.browsers[name] = self.console.signed_in(self.users[name])
        return self.browsers[name]

    def signed_in_anew(self, name: str) -> Browser:
        self.browsers.pop(name, None)
        return self.as_(name)

    def backups(self) -> Sequence[Attempt]:
        return self.ledger.list(scope=Scope("shop"))

    def ask(self, by: str = "rahim", *, reason: str = "a wrong UPDATE", remark: str = "", **request: Any) -> RestoreRow:
        """A request with its plan, as the wizard makes it."""
        asked = asked_restore(self.backups()[0], by, reason=reason, remark=remark, **request)
        return ask_for_approval(asked, Goal(), self.ports, RestoreCaller(asked.plan.request.actor))

    @property
    def newest_run(self) -> RunRequest:
        """The run that was asked for last."""
        return self.ledger.run_requests.list(limit=1)[0]

    def done(self, run: RunRequest, result: Mapping[str, Any] | None = None, error: str = "") -> None:
        """Let the run have ended, with what it came to."""
        status = RequestStatus.FAILED if error else RequestStatus.DONE
        now = self.console.clock()
        change = RequestChange(status, finished_at=now, result=result, error_message=error or None)
        self.ledger.run_requests.change(run.id, change)

    def row(self, number: int) -> RestoreRow:
        row = self.ledger.restores.get(number)
        assert row is not None
        return row


def asked_restore(of: Attempt, by: str, *, reason: str = "", remark: str = "", **request: Any) -> AskedRestore:
    """What somebody asks for who has seen the plan and typed the database's name."""
    kept = plan_json(of, remark=remark, **request)
    seen = kept_plan(kept).confirmed_with("staging")
    actor = Actor(ActorKind.PERSON, by)
    return AskedRestore(replace(seen, request=replace(seen.request, actor=actor, reason=reason)), kept)


def plan_json(of: Attempt, *, remark: str = "", refused: bool = False, **request: Any) -> dict[str, Any]:
    """A plan as a run keeps it."""
    wanted = RestoreRequest(of.backup_id, **{"tables": ("goods",), "mode": Mode.UPSERT, **request})
    tables = tuple(
        TableRestore(name, ("public", name), ("public", name), Action.UPSERT, (), ("id",), 1_204, 1_198)
        for name in wanted.tables
    )
    severity = RemarkSeverity.REFUSAL if refused else RemarkSeverity.WARNING
    remarks = (RestoreRemark(severity, remark, "goods", remark),) if remark else ()
    plan = RestorePlan(
        wanted,
        of.backup_id,
        "shop",
        of.snapshot_at or of.started_at,
        Goal().address.url,
        "staging",
        tables,
        remarks,
        "staging",
        safety_backup=True,
    )
    document: dict[str, Any] = json.loads(json.dumps(plan.as_json(), default=str))
    return document


def business_plan_json(of: Attempt, *, name: str = "Rupa Stores", conflict: str = "", **chosen: Any) -> dict[str, Any]:
    """A plan for a business as a run keeps it: two rows of `goods` to update, one to delete."""
    examples = (
        RowExample(RowChange.UPDATE, "g-1", {"price": ("7", "5")}),
        RowExample(RowChange.DELETE, "g-2", {"price": ("9", None), "note": (HOSTILE, None)}),
    )
    conflicts = (RestoreConflict(conflict, "goods"),) if conflict else ()
    goods = TableDiff("goods", 0, 2, 1, {"price": 2}, 0, "c" * 64, examples)
    taken = of.snapshot_at or of.started_at
    plan = BusinessPlan(
        RestoreRequest(of.backup_id, mode=Mode.DIFFERENCE, selection=Selection(**chosen)),
        BusinessDiff("shop", str(of.scope.business), of.backup_id, (goods,), conflicts, {"public.goods": 40}),
        name,
        taken,
        taken,
        "postgresql://owner@127.0.0.1:5433/shop",
        "shop",
    )
    document: dict[str, Any] = json.loads(json.dumps(plan.as_json(), default=str))
    return document


def open_office(
    ledger: ScratchLedger, home: Path, *, title: str = "Shop", days: int = 40, businesses: bool = False
) -> Office:
    """The office: a catalog, a backup of each of so many days in store and ledger, and people.

    With `businesses` the catalog says that many share its tables.
    """
    catalogs = home / "catalogs"
    catalogs.mkdir()
    declared: dict[str, Any] = {
        "catalog": "shop",
        "title": title,
        "timezone": "Asia/Dhaka",
        "tables": {"goods": None, "sold": None},
        "retention": {"automatic": {"keep_within": "30 days"}},
        "legacy": ["/earlier"],
    }
    if businesses:
        declared["tables"] = {"goods": {"business": "id"}, "sold": {"business": "shared"}}
        declared["businesses"] = {"registry": "goods", "key": "id", "quota": {"total": "1 MB"}}
    (catalogs / "shop.yaml").write_text(yaml.safe_dump(declared))
    now = datetime.now(UTC)
    shelf = Shelved(now=now, ledger=ledger)
    midnight = now.replace(hour=18, minute=0, second=0, microsecond=0) - timedelta(days=1)
    shelf.add(*(backup(midnight - timedelta(days=back)) for back in range(days)), partitions=False)

    shelf.store.put(EARLIER, [b'{"version": "3.0.0", "tables": {"goods": []'])

    def ports(**given: Any) -> Ports:
        return ports_for_test(store=shelf.store, spool=home / "spool", **given)

    own: dict[str, Any] = {"source_urls": {"shop": OWN}} if businesses else {}
    console = console_over(ledger, home, ports=ports, catalogs=catalogs, restore_targets={"staging": TARGET}, **own)
    launcher = FakeLauncher()
    console.app.state.launcher = launcher
    office = Office(console, shelf, launcher)
    for name, role in PEOPLE.items():
        more = {"businesses": ("b1",)} if role is Role.BUSINESS_ADMIN else {}
        office.users[name] = console.user(name, role, **more)
    wanted = NewKey("System Integration", (KeyPermission.ANALYTICS, KeyPermission.BACKUP_STATUS))
    create_key(wanted, console.access, office.users["karim"].actor)
    receiver = NewWebhook("Dashboard", "https://dashboard.example.com/hooks/backup", ("backup",))
    ledger.webhooks.add(receiver, "sealed", office.users["karim"].actor, now)
    return office


def add_business(office: Office, name: str = "Rupa Stores", key: str = "b1") -> None:
    """A business of the system, on a plan, that has paid once."""
    karim, clock = office.users["karim"], office.console.clock
    entries = [RegistryEntry(key, name), RegistryEntry("b2", "Dhaka Bikes", active=False)]
    office.ledger.businesses.register("shop", entries, karim.actor, clock())
    ports = MoneyPorts(office.ledger, clock)
    write_plan(Plan("pro", f"Pro of {name}"[:190], Price(Decimal("200.00"), "BDT", Period.MONTH)), ports, karim.actor)
    change_account(account_of(office.ledger, key), AccountChange("pro"), ports, karim.actor)
    own = MoneyPorts(office.ledger.as_person(PersonIdentity(karim)), clock)
    paid = PaymentRequest(key, Decimal("200.00"), "bank_transfer", "TXN1", "karim")
    verify_payment(paid, own, karim.actor, person=karim)


__all__ = ["HOSTILE", "Office", "add_business", "asked_restore", "business_plan_json", "open_office", "plan_json"]
