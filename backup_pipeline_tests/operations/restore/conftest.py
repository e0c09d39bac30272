"""A restore request around a restore that does what a test says: its plan, its target, its door."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.ports import Ports, Progress
from backup_pipeline.core.restore import Mode, RestorePlan, RestoreRemark, RestoreReport, RestoreRequest
from backup_pipeline.core.restore.requests import Address, Plan, RestoreRow
from backup_pipeline.core.text import redact
from backup_pipeline.operations import restore
from backup_pipeline.operations.restore import Confirmation, requests
from backup_pipeline.operations.restore.requests import RestoreCaller, TargetDatabase
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.servers.ledgers import new_ledger

ID = "20261121T120000Z-full-00000001"
SECRET = "hush-hush"
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BY_RAHIM = RestoreCaller(RAHIM)


@dataclass
class KeptAlerts:
    """The port `Alerter`, with everything that was sent."""

    alerts: list[Alert] = field(default_factory=list)

    channels: Sequence[str] = ("mailto://ops",)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> list[Delivery]:
        self.alerts.append(alert)
        return [Delivery("mailto://ops")]


@dataclass
class Engine:
    """What stands in for the restore itself: a plan, and what running it gives or raises."""

    confirm_name: str | None = None
    remarks: tuple[RestoreRemark, ...] = ()
    planning: BaseException | None = None
    running: BaseException | None = None
    began: list[str] = field(default_factory=list)
    during: Callable[[], object] = lambda: None

    def plan(self, request: RestoreRequest, target: object, ports: Ports) -> RestorePlan:
        if self.planning:
            raise self.planning
        return RestorePlan(
            request, ID, "isp", AT, "url", "isp", (), self.remarks, self.confirm_name, safety_backup=True
        )

    def run(
        self, plan: RestorePlan, target: object, ports: Ports, *, safety: Callable[[], str] | None
    ) -> RestoreReport:
        self.began.append(plan.backup_id)
        self.during()
        if self.running:
            raise self.running
        safe = safety() if safety else None
        return RestoreReport(ID, "isp", AT, "url", "isp", Mode.REPLACE, (), 10, 1.0, safe)


@dataclass
class KeptDoor:
    """A door where the database's name is `typed`, with the points that were reached."""

    typed: str | BaseException | None = None
    reached: list[str] = field(default_factory=list)

    def show(self, row: RestoreRow, plan: Plan) -> None:
        self.reached.append("show")

    def confirm(self, row: RestoreRow, plan: Plan) -> Confirmation:
        self.reached.append("confirm")
        if isinstance(self.typed, BaseException):
            raise self.typed
        return Confirmation(self.typed, do="Type it.")

    def watching(self, row: RestoreRow, progress: Progress) -> AbstractContextManager[Progress]:
        self.reached.append("watching")
        return nullcontext(progress)


class Nowhere:
    """The port `RestoreTarget`: nothing may connect to it."""

    url = "postgresql://app@db/isp"

    def session(self) -> AbstractContextManager[object]:
        raise AssertionError


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(requests, "plan_restore", engine.plan)
    monkeypatch.setattr(restore, "run_restore", engine.run)
    return engine


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    ledger = new_ledger()
    ledger.begin(attempt(ID))
    ledger.end(ID, outcome())
    return ports_for_test(store=MemoryStore(), ledger=ledger, alerter=KeptAlerts(), clock=lambda: AT, spool=tmp_path)


@pytest.fixture
def target() -> TargetDatabase:
    return TargetDatabase(
        address=Address("postgresql://app@db:5432/isp", "isp"),
        database=Nowhere(),  # type: ignore[arg-type]
        safety=lambda row, _: f"safe-{row.id}",
        hide=lambda text: redact(text, SECRET),
    )


@dataclass(frozen=True)
class Requests:
    """Makes requests, and reads what became of them."""

    target: TargetDatabase
    ports: Ports

    def add(self, caller: RestoreCaller = BY_RAHIM, **fields: object) -> RestoreRow:
        values: dict[str, object] = {"backup_id": ID, "actor": RAHIM, "mode": Mode.REPLACE}
        return requests.add_request(
            RestoreRequest(**(values | fields)),  # type: ignore[arg-type]
            self.target,
            self.ports,
            caller,
        )

    def row(self, number: int) -> RestoreRow:
        row = self.ports.ledger.restores.get(number)
        assert row is not None
        return row

    @property
    def newest(self) -> RestoreRow:
        return self.ports.ledger.restores.list()[0]

    @property
    def alerts(self) -> list[Alert]:
        assert isinstance(self.ports.alerter, KeptAlerts)
        return self.ports.alerter.alerts

    @property
    def actions(self) -> list[str]:
        return [event.action for event in reversed(self.ports.ledger.audits(ID)) if event.action != "alert"]


@pytest.fixture
def requested(target: TargetDatabase, ports: Ports) -> Requests:
    return Requests(target, ports)
