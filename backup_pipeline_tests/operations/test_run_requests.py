"""Runs that people ask for: one row, one run, whatever is away, late, killed or clicked twice."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from backup_pipeline.core.alerts import Alert
from backup_pipeline.core.errors import DagsterAwayError, NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.runs import RequestStatus, RunPhase, RunRequest, RunVerb
from backup_pipeline.operations.run_requests import (
    RunWish,
    cancel_request,
    claim_run,
    command_of,
    follow_requests,
    note_result,
    order_of,
    request_run,
    tell_unstarted,
)
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.doubles.ports import Quiet, ports_for_test
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome
from backup_pipeline_tests.servers.ledgers import new_ledger

SHOP = catalog({"goods": None, "orders": None})
BACKUP_ID = "20261120T180000Z-full-1f3a9c2e"


@dataclass
class Told(Quiet):
    channels: Any = ("here",)
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert, only: Any = None) -> Any:
        self.alerts.append(alert)
        return ()


@dataclass
class Room:
    """A ledger, a Dagster, and a clock that a test moves."""

    ledger: Ledger
    launcher: FakeLauncher = field(default_factory=FakeLauncher)
    told: Told = field(default_factory=Told)
    now: datetime = NOON

    @property
    def ports(self) -> Ports:
        return ports_for_test(ledger=self.ledger, clock=lambda: self.now, alerter=self.told)

    def ask(self, wish: RunWish) -> RunRequest:
        return request_run(wish, self.ports, self.launcher, pause=lambda _: None)

    def follow(self) -> list[RequestStatus]:
        return [row.status for row in follow_requests(self.ports, self.launcher)]

    def row(self, wish: RunWish) -> RunRequest:
        row = self.ledger.run_requests.get(wish.id)
        assert row is not None
        return row


@pytest.fixture
def room() -> Room:
    return Room(new_ledger())


def _wish(verb: RunVerb = RunVerb.BACKUP, reason: str = "", **detail: object) -> RunWish:
    return RunWish(uuid4(), verb, SHOP, RAHIM, reason, detail)


def test_the_row_stands_before_dagster_is_asked_and_says_what_became_of_it(room: Room) -> None:
    wish = _wish(reason="before the move")
    row = room.ask(wish)
    assert (row.status, row.run_id, row.actor, row.reason) == (
        RequestStatus.LAUNCHED,
        "run-1",
        RAHIM,
        "before the move",
    )
    [(order, user)] = room.launcher.launched
    assert (order.job, order.partition, user) == (f"{SHOP.catalog}_full_backup", "2026-11-21", str(RAHIM))
    [event] = room.ledger.audits()
    assert (event.action, event.actor, event.detail["request"]) == ("run requested", RAHIM, str(wish.id))
    room.launcher.become(RunPhase.RUNNING)
    assert room.follow() == [RequestStatus.RUNNING]
    assert room.follow() == []
    room.launcher.become(RunPhase.DONE)
    assert room.follow() == [RequestStatus.DONE]
    assert room.row(wish).finished_at is not None


def test_a_failure_says_why(room: Room) -> None:
    wish = _wish()
    room.ask(wish)
    room.launcher.become(RunPhase.FAILED, "The source can not be reached.")
    assert room.follow() == [RequestStatus.FAILED]
    assert room.row(wish).error_message == "The source can not be reached."


def test_two_clicks_at_once_make_one_run(room: Room) -> None:
    wish = _wish()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: room.ask(wish), range(8)))
    assert len(room.launcher.launched) == 1
    assert len(room.ledger.run_requests.list()) == 1


def test_dagster_away_the_row_is_refused_with_the_command_to_type(room: Room) -> None:
    room.launcher.away = True
    row = room.ask(_wish(reason="it's urgent"))
    assert row.status is RequestStatus.REFUSED
    assert "does not answer" in (row.error_message or "")
    assert row.command == f"""backup-pipeline backup --catalog {SHOP.catalog} --reason 'it'"'"'s urgent'"""
    room.launcher.away = False
    room.now += timedelta(minutes=1)
    assert room.follow() == []
    assert room.launcher.launched == []


def test_what_dagster_refuses_is_refused(room: Room) -> None:
    room.launcher.refuses = "There is no such job."
    row = room.ask(_wish())
    assert (row.status, row.error_message) == (RequestStatus.REFUSED, "There is no such job.")


def test_an_answer_that_is_lost_is_looked_for_and_nothing_is_sent_again(room: Room) -> None:
    room.launcher.silent = True
    row = room.ask(_wish())
    assert (row.status, row.run_id) == (RequestStatus.LAUNCHED, "run-1")
    assert len(room.launcher.launched) == 1


def test_a_launch_that_was_lost_is_sent_again_after_a_while_and_not_before(room: Room) -> None:
    room.launcher.lost = True
    wish = _wish()
    assert room.ask(wish).status is RequestStatus.REQUESTED
    room.launcher.lost = False
    room.now += timedelta(seconds=30)
    room.follow()
    assert room.launcher.launched == []
    room.now += timedelta(seconds=31)
    assert room.follow() == [RequestStatus.LAUNCHED]
    room.follow()
    assert len(room.launcher.launched) == 1


def test_a_run_that_shows_up_late_is_taken_for_the_row_instead_of_another(room: Room) -> None:
    room.launcher.lost = True
    wish = _wish()
    room.ask(wish)
    room.launcher.lost = False
    room.launcher.launch(order_of(wish, NOON), wish.id, "late")
    room.now += timedelta(minutes=2)
    assert room.follow() == [RequestStatus.LAUNCHED]
    assert room.row(wish).run_id == "run-1"
    assert len(room.launcher.launched) == 1


def test_a_console_killed_between_the_row_and_the_launch_sends_it_when_it_is_back(room: Room) -> None:
    class Killed(BaseException):
        pass

    class Dying(FakeLauncher):
        def launch(self, *_: object) -> str:
            raise Killed

    wish = _wish()
    with pytest.raises(Killed):
        request_run(wish, room.ports, Dying(), pause=lambda _: None)
    assert room.row(wish).status is RequestStatus.REQUESTED
    room.now += timedelta(seconds=61)
    assert room.follow() == [RequestStatus.LAUNCHED]
    assert len(room.launcher.launched) == 1


def test_of_which_dagster_never_knew_is_refused_in_the_end(room: Room) -> None:
    room.launcher.lost = True
    wish = _wish()
    room.ask(wish)
    for minutes in (2, 4, 7):
        room.now = NOON + timedelta(minutes=minutes)
        with_lost = room.launcher
        with_lost.lost = True
        if minutes > 3:
            room.follow()
    assert room.row(wish).status is RequestStatus.REQUESTED
    room.now = NOON + timedelta(minutes=11)
    assert room.follow() == [RequestStatus.REFUSED]
    assert "backup-pipeline backup" in (room.row(wish).error_message or "")
    with pytest.raises(RefusedError, match="is not for this run"):
        claim_run(str(wish.id), "run-9", order_of(wish, NOON).job, room.ledger, room.now)


def test_what_does_not_begin_is_told_once(room: Room) -> None:
    room.ask(_wish())
    begun = _wish()
    room.ask(begun)
    claim_run(str(begun.id), "run-2", order_of(begun, NOON).job, room.ledger, NOON)
    room.now += timedelta(minutes=3)
    assert tell_unstarted(room.ports) == []
    room.now += timedelta(seconds=1)
    assert [row.run_id for row in tell_unstarted(room.ports)] == ["run-1"]
    assert tell_unstarted(room.ports) == []
    [alert] = room.told.alerts
    assert "has not begun" in alert.title
    assert "backup-pipeline backup" in alert.do


def test_while_dagster_is_away_the_ledger_tells_how_a_backup_ended(room: Room) -> None:
    wish = _wish()
    run_id = room.ask(wish).run_id
    room.ledger.begin(replace(attempt("b1"), run_id=run_id))
    room.launcher.away = True
    assert room.follow() == []
    room.ledger.end("b1", outcome(Status.SUCCESS, sha256="x"))
    assert room.follow() == [RequestStatus.DONE]


def test_one_run_acts_for_the_row_and_only_in_the_job_that_it_is_for(room: Room) -> None:
    wish = _wish()
    room.ask(wish)
    job = order_of(wish, NOON).job
    with pytest.raises(RefusedError):
        claim_run(str(wish.id), "run-1", f"{SHOP.catalog}_delete", room.ledger, NOON)
    assert claim_run(str(wish.id), "run-1", job, room.ledger, NOON).actor == RAHIM
    assert claim_run(str(wish.id), "run-1", job, room.ledger, NOON).actor == RAHIM
    for wrong in (str(wish.id), str(uuid4()), "no id"):
        with pytest.raises(RefusedError):
            claim_run(wrong, "run-2", job, room.ledger, NOON)
    note_result("run-1", {"plan": "p"}, room.ledger)
    note_result("run-unknown", {"plan": "q"}, room.ledger)
    assert room.row(wish).result == {"plan": "p"}


def test_a_run_is_stopped_or_kept_from_beginning(room: Room) -> None:
    waiting, running = _wish(), _wish()
    room.ask(waiting)
    room.ask(running)
    claim_run(str(running.id), "run-2", order_of(running, NOON).job, room.ledger, NOON)
    assert cancel_request(waiting.id, RAHIM, room.ports, room.launcher).status is RequestStatus.CANCELED
    assert cancel_request(running.id, RAHIM, room.ports, room.launcher).status is RequestStatus.RUNNING
    assert room.follow() == [RequestStatus.CANCELED]
    assert room.launcher.terminated == ["run-1", "run-2"]
    with pytest.raises(RefusedError, match="is canceled already"):
        cancel_request(running.id, RAHIM, room.ports, room.launcher)
    with pytest.raises(NotFoundError):
        cancel_request(uuid4(), RAHIM, room.ports, room.launcher)
    again = _wish()
    room.ask(again)
    room.launcher.away = True
    with pytest.raises(DagsterAwayError):
        cancel_request(again.id, RAHIM, room.ports, room.launcher)
    assert room.row(again).status is RequestStatus.LAUNCHED


OLD = SHOP.model_copy(update={"legacy": ("backups/database",), "reason_required": True})
"""A system with files of an earlier program, whose backups by hand want a reason."""


def test_the_schedule_s_kind_of_backup_needs_no_reason_of_a_person() -> None:
    assert order_of(replace(_wish(automatic=True), catalog=OLD), NOON).job == f"{SHOP.catalog}_full_backup"


def test_an_adoption_names_its_file() -> None:
    wish = replace(_wish(RunVerb.ADOPT, key="legacy:backups/database/a b.json"), catalog=OLD)
    name = SHOP.catalog
    order = order_of(wish, NOON)
    assert (order.job, order.config) == (
        f"{name}_adopt",
        {"ops": {f"{name}_adopted": {"config": {"key": "backups/database/a b.json"}}}},
    )
    assert command_of(wish) == f"backup-pipeline adopt 'legacy:backups/database/a b.json' --catalog {name}"


ORDERS = [
    (RunVerb.VERIFY, {"backup_id": BACKUP_ID, "level": "bytes"}, {"backup_id": BACKUP_ID, "level": "bytes"},
     f"verify {BACKUP_ID} --catalog isp --level bytes"),
    (RunVerb.DRILL, {"inject": "bitflip"}, {"backup_id": "latest", "inject": "bitflip"},
     "drill latest --catalog isp --inject bitflip"),
    (RunVerb.RESTORE, {"request": "7", "dry_run": True}, {"request": 7, "dry_run": True},
     "restore --request 7 --dry-run"),
    (RunVerb.PRUNE, {"dry_run": True}, {"dry_run": True}, "prune --catalog isp"),
    (RunVerb.PRUNE, {}, {"dry_run": False}, "prune --catalog isp --confirm"),
    (RunVerb.DELETE, {"backup_id": BACKUP_ID, "confirm": BACKUP_ID},
     {"backup_id": BACKUP_ID, "confirm": BACKUP_ID, "reason": ""}, f"delete {BACKUP_ID} --confirm {BACKUP_ID}"),
    (RunVerb.RENDER, {"rendering": "xlsx"}, {"backup_id": "latest", "rendering": "xlsx"},
     "download latest --catalog isp --as xlsx"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "detail", "config", "command"), ORDERS)
def test_an_order_has_its_config_and_its_twin_at_the_command_line(
    verb: RunVerb, detail: Mapping[str, object], config: Mapping[str, object], command: str
) -> None:
    wish = replace(_wish(verb), detail=detail, catalog=SHOP.model_copy(update={"catalog": "isp"}))
    order = order_of(wish, NOON)
    [step] = order.config["ops"].values()  # type: ignore[attr-defined]
    assert step == {"config": config}
    assert command_of(wish) == f"backup-pipeline {command}"


def test_single_tables_make_a_bundle_of_their_own() -> None:
    wish = _wish(RunVerb.TABLES, tables=["orders"])
    order = order_of(wish, NOON)
    assert (order.job, order.assets) == (f"{SHOP.catalog}_tables_only", ((SHOP.catalog, "orders"),))


@pytest.mark.parametrize(
    "wish",
    [
        _wish(RunVerb.TABLES),
        _wish(RunVerb.TABLES, tables=["secrets"]),
        _wish(RunVerb.VERIFY, level="everything"),
        _wish(RunVerb.VERIFY, backup_id="../../etc"),
        _wish(RunVerb.DRILL, inject="fire"),
        _wish(RunVerb.DELETE, backup_id="latest"),
        _wish(RunVerb.DELETE),
        _wish(RunVerb.RENDER, rendering="exe"),
        _wish(RunVerb.RESTORE, request="; drop"),
        _wish(RunVerb.ADOPT, key="backups/database/x.json"),  # the catalog has no such folders
        replace(_wish(RunVerb.ADOPT), catalog=OLD),
        replace(_wish(RunVerb.BACKUP, reason=" "), catalog=OLD),
        replace(_wish(RunVerb.TABLES, tables=["orders"]), catalog=OLD),
    ],
)
def test_a_wish_that_can_not_be_leaves_no_row(room: Room, wish: RunWish) -> None:
    with pytest.raises(UsageError):
        room.ask(wish)
    assert room.ledger.run_requests.list() == []
