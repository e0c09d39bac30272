"""The restore as a job: it performs what was approved in the ledger and nothing else, whatever a run's config says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import dagster as dg
import psycopg
import pytest

from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.restore import FIRST, SECOND, Mode, RestorePlan, RestoreRequest, Which
from backup_pipeline.core.restore.requests import RestoreChange, RestoreRow, RestoreStatus, kept_plan
from backup_pipeline.core.runs import REQUEST_TAG, RequestStatus, RunRequest, RunVerb
from backup_pipeline.core.scope import Scope, command_line
from backup_pipeline.operations import restore
from backup_pipeline.operations.restore import request_restore, transfer
from backup_pipeline.operations.restore.decisions import AskedRestore, RestoreWish, approve, ask_for_approval, reject
from backup_pipeline.operations.restore.requests import RestoreCaller
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.orchestration.keys import RestoreConfig
from backup_pipeline.orchestration.retention import PruneConfig
from backup_pipeline.postgres.restore import PostgresTargetSession
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline.wiring.restore import named_target, offered_target, open_restore
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.cli.installation import executed
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.operations.restore.conftest import KeptDoor
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure, tick

WITHOUT_VIEW = ("customers", "orders", "notes")


@dataclass(frozen=True)
class Shop:
    """An installation with a backup, and a database that its settings name as a target of restores."""

    installation: Installation
    target: str

    @property
    def database(self) -> str:
        return urlsplit(self.target).path.removeprefix("/")

    @property
    def password(self) -> str:
        return str(urlsplit(self.target).password)

    def ask(self, *tables: str, mode: Mode = Mode.NEW, store: Which = FIRST, backup_id: str = "latest") -> int:
        """The number of a request with its plan, as `restore --ask` makes it; who asks is rahim."""
        request = RestoreRequest(backup_id, tables, mode, store=store, actor=RAHIM, reason="a test")
        named = named_target(self.target)
        with open_restore(self.installation.settings, named, "shop", store=store) as (target, ports):
            row, _ = request_restore(request, target, ports, RestoreCaller(RAHIM), KeptDoor())
        return row.id

    def approve(self, number: int, by: str = "karim") -> int:
        with open_ports(self.installation.settings, "shop") as ports:
            approve(number, command_line(by), ports)
        return number

    def perform(self, number: int, **more: Any) -> dg.ExecuteInProcessResult:
        """The job, launched with that request; `more` is what somebody adds to the run's config."""
        job = self.installation.definitions().resolve_job_def("shop_restore")
        with self.installation.instance() as instance:
            run_config = {"ops": {"shop_restored": {"config": {"request": number, **more}}}}
            return job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.target) as session:
            return session.execute(query.encode()).fetchall()

    def row(self) -> RestoreRow:
        return self.requests()[0]

    def requests(self) -> list[RestoreRow]:
        ledger = self.installation.ledger
        try:
            return list(ledger.restores.list())
        finally:
            ledger.close()

    def change(self, number: int, change: RestoreChange) -> None:
        ledger = self.installation.ledger
        ledger.restores.change(number, change)
        ledger.close()


@pytest.fixture
def shop(installation: Installation, fresh_database: str) -> Shop:
    assert installation.run().success
    installation.configure(BACKUP_RESTORE_TARGET_URL_RESCUE=fresh_database)
    return Shop(installation, fresh_database)


def _metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def _failure(shop: Shop, result: dg.ExecuteInProcessResult) -> tuple[str, Any]:
    [told] = shop.installation.step_failures(result.run_id)
    return told


@pytest.mark.acceptance("3.10")
def test_an_approved_request_is_performed_with_plan_and_report(shop: Shop) -> None:
    number = shop.approve(shop.ask(*WITHOUT_VIEW))
    result = shop.perform(number)
    assert result.success
    assert shop.rows("SELECT count(*) FROM customers") == [(500,)]
    told = _metadata(result)
    assert (told["request"], told["rows_loaded"], told["rows_deleted"]) == (number, 1770, 0)
    assert told["bytes_fetched"] > 0
    assert "| customers | public.customers | not there | 500 | is created, with the backup's rows |" in told["plan"]
    assert "| customers | public.customers |" in shop.installation.event_log(result.run_id)
    row = shop.row()
    assert (row.status, row.run_id, str(row.actor), str(row.decided_actor)) == (
        RestoreStatus.DONE,
        result.run_id,
        "rahim",
        "karim",
    )
    assert row.report is not None
    heard = [json.loads(alert)["title"].partition(": ")[2].partition(":")[0] for alert in shop.installation.alerts()]
    assert heard == ["A restore waits for approval", "Restore approved", "Restore done"]
    assert shop.password not in f"{shop.installation.event_log(result.run_id)} {row} {shop.installation.audits()}"
    assert "performed once" in _failure(shop, shop.perform(number))[0]


STEPS = ["tidy", "check_may_run", "plan_request", "check_refusals", "check_approved_plan", "check_confirmed"]
STEPS += ["find_request", "start", "run_restore", "end_well"]


def _steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of restores from now on, in their order."""
    reached: list[str] = []

    def spied(name: str) -> Callable[..., Any]:
        step = getattr(restore, name)

        def run(*given: Any, **more: Any) -> Any:
            reached.append(name)
            return step(*given, **more)

        return run

    for name in STEPS:
        monkeypatch.setattr(restore, name, spied(name))
    return reached


def test_the_command_line_and_the_job_run_the_very_same_sequence(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    by_job, by_command = shop.approve(shop.ask("notes")), shop.approve(shop.ask("customers"))
    reached = _steps(monkeypatch)
    assert shop.perform(by_job).success
    of_the_job = reached.copy()
    reached.clear()
    ended = executed(capfd, "restore", "--request", str(by_command))
    assert ended.code == 0, ended.err
    approval = ["check_may_run", "check_approved_plan"]
    planned = ["tidy", "check_may_run", "plan_request", "check_refusals", *approval, "check_confirmed"]
    assert of_the_job == reached == [*planned, "find_request", *approval, "start", "run_restore", "end_well"]
    assert [row.status for row in shop.requests()] == [RestoreStatus.DONE, RestoreStatus.DONE]


def test_refusals_and_confirmation_are_checked_once_before_and_once_under_the_lock(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.perform(shop.approve(shop.ask("customers"))).success
    number = shop.approve(shop.ask("customers", mode=Mode.UPSERT))
    reached: list[str] = []

    def spied(place: object, name: str, shown: str) -> None:
        step = getattr(place, name)

        def run(*given: Any, **more: Any) -> Any:
            reached.append(shown)
            return step(*given, **more)

        monkeypatch.setattr(place, name, run)

    for module in (restore, transfer):
        spied(module, "check_refusals", "refusals")
        spied(module, "check_confirmed", "confirmation")
    spied(PostgresTargetSession, "lock", "lock")
    spied(PostgresTargetSession, "restore", "restore")
    assert shop.perform(number).success
    assert reached == ["refusals", "confirmation", "lock", "refusals", "confirmation", "restore"]


def test_what_nobody_approved_never_runs_whatever_the_setting_says(shop: Shop) -> None:
    number = shop.ask("notes")
    what, metadata = _failure(shop, shop.perform(number))
    assert ("not approved yet" in what, metadata["exit code"]) == (True, 21)
    with pytest.raises(RefusedError, match="can not approve it too"):
        shop.approve(number, by="Rahim ")
    assert "not approved yet" in _failure(shop, shop.perform(number))[0]
    with open_ports(shop.installation.settings, "shop") as ports:
        reject(number, KARIM, ports, reason="no")
    assert "rejected" in _failure(shop, shop.perform(number))[0]
    assert shop.rows("SELECT to_regclass('public.notes')") == [(None,)]


@pytest.mark.parametrize(
    "more",
    [
        {"mode": "replace"},
        {"target_url": "postgresql://thief@db.example/stolen"},
        {"target_url": {"env": "BACKUP_RESTORE_TARGET_URL_RESCUE"}},
        {"to_source": True, "confirm": "shop"},
        {"backup_id": "latest", "safety_backup": False},
        {"created_by": "karim"},
    ],
)
def test_run_config_says_nothing_but_the_number(shop: Shop, more: dict[str, Any]) -> None:
    number = shop.approve(shop.ask("notes"))
    with pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entr"):
        shop.perform(number, **more)
    assert shop.row().status is RestoreStatus.APPROVED


def test_no_job_takes_from_run_config_what_is_removed() -> None:
    assert list(RestoreConfig.model_fields) == ["request", "dry_run"]
    assert list(PruneConfig.model_fields) == ["dry_run"]
    assert all(
        field.description for field in [*RestoreConfig.model_fields.values(), *PruneConfig.model_fields.values()]
    )


@pytest.mark.parametrize(
    ("job", "config"),
    [
        (
            "shop_full_backup",
            {"shop_tables": {"reason": {"env": "SECRET"}}, "shop_bundle": {"created_by": {"env": "SECRET"}}},
        ),
        ("shop_drill", {"shop_drilled": {"backup_id": {"env": "SECRET"}}}),
        ("shop_drill", {"shop_drilled": {"inject": {"env": "SECRET"}}}),
        ("shop_restore", {"shop_restored": {"request": {"env": "SECRET"}}}),
    ],
)
def test_run_config_gives_no_variable_of_the_environment_away(
    installation: Installation, job: str, config: dict[str, dict[str, object]]
) -> None:
    installation.configure(SECRET="hush-hush")
    definition = installation.definitions().resolve_job_def(job)
    ops = {name: {"config": given} for name, given in config.items()}
    day = installation.today.isoformat() if job == "shop_full_backup" else None
    with installation.instance() as instance:
        try:
            result = definition.execute_in_process(
                instance=instance, run_config={"ops": ops}, partition_key=day, raise_on_error=False
            )
        except dg.DagsterInvalidConfigError as error:
            assert "hush-hush" not in str(error)  # noqa: PT017  # one of two right ends
            return
    assert not result.success
    what, metadata = installation.step_failures(result.run_id)[0]
    assert "asks for the environment variable 'SECRET'" in what
    assert metadata["exit code"] == 21
    assert "hush-hush" not in f"{installation.event_log(result.run_id)} {installation.audits()} {what} {metadata}"


def test_replacing_what_was_approved_leaves_a_safety_backup(shop: Shop) -> None:
    assert shop.perform(shop.approve(shop.ask("customers"))).success
    with psycopg.connect(shop.target) as session:
        session.execute("UPDATE customers SET name = 'oops'")
    number = shop.approve(shop.ask("customers", mode=Mode.REPLACE))
    with psycopg.connect(shop.target) as session:
        session.execute("DELETE FROM customers WHERE id > 490")  # the application goes on: the plan is the same
    result = shop.perform(number)
    assert result.success
    assert shop.rows("SELECT count(*) FROM customers WHERE name LIKE 'Customer %'") == [(500,)]
    safe = _metadata(result)["safety_backup"]
    assert shop.installation.attempt().backup_id == safe
    assert shop.installation.attempt().scope == Scope("shop").safety


@pytest.mark.parametrize(
    "change",
    ["CREATE TABLE notes (body text, written_at timestamp)", "ALTER TABLE customers ADD COLUMN vip boolean"],
    ids=["the table came to be", "the table has another column"],
)
def test_another_plan_than_the_one_that_was_approved_never_runs(shop: Shop, change: str) -> None:
    assert shop.perform(shop.approve(shop.ask("customers"))).success
    mode, table = (Mode.NEW, "notes") if "notes" in change else (Mode.UPSERT, "customers")
    number = shop.approve(shop.ask(table, mode=mode))
    plan = shop.row().plan
    with psycopg.connect(shop.target) as session:
        session.execute(change.encode())
        session.execute("UPDATE customers SET name = 'oops'")
    what, metadata = _failure(shop, shop.perform(number))
    assert "refused" in what or "was approved for the plan" in what
    assert metadata["exit code"] == 21
    assert shop.rows("SELECT DISTINCT name FROM customers") == [("oops",)]
    row = shop.row()
    assert (row.status, row.plan) == (RestoreStatus.APPROVED, plan)


def test_a_request_of_an_older_version_has_no_plan_to_hold_it_to(shop: Shop) -> None:
    number = shop.approve(shop.ask("notes"))
    with psycopg.connect(shop.installation.ledger_url) as session:
        session.execute("UPDATE restore_requests SET plan = (plan::jsonb - 'digest')::json")
    assert "of an older version" in _failure(shop, shop.perform(number))[0]


def test_a_database_that_no_setting_names_is_no_target(shop: Shop) -> None:
    number = shop.approve(shop.ask("notes"))
    shop.installation.monkeypatch.delenv("BACKUP_RESTORE_TARGET_URL_RESCUE")
    result = shop.perform(number)
    what, metadata = _failure(shop, result)
    assert "keeps no password" in what
    assert "BACKUP_RESTORE_TARGET_URL_<NAME>" in metadata["what to do"]
    tell_of_failure(shop.installation, result.run_id)
    assert "Restore failed: shop" in shop.installation.alerts()[-1]


def test_a_target_that_does_not_answer_fails_the_run_without_its_password(shop: Shop) -> None:
    number = shop.approve(shop.ask("notes"))
    with psycopg.connect(shop.installation.ledger_url) as session:
        session.execute("UPDATE restore_requests SET target = 'postgresql://app@127.0.0.1:1/x'")
    shop.installation.configure(BACKUP_RESTORE_TARGET_URL_RESCUE="postgresql://app:hush-hush@127.0.0.1:1/x")
    result = shop.perform(number)
    what, metadata = _failure(shop, result)
    tell_of_failure(shop.installation, result.run_id)
    *_, alert = shop.installation.alerts()
    assert "Can not connect" in what
    assert "hush-hush" not in f"{what} {metadata} {alert} {shop.row()} {shop.installation.event_log(result.run_id)}"


def test_a_wrong_number_fails_the_run_and_is_told_by_the_sensor(shop: Shop) -> None:
    result = shop.perform(99)
    assert "no restore request 99" in _failure(shop, result)[0]
    tell_of_failure(shop.installation, result.run_id)
    assert "Restore failed: shop" in shop.installation.alerts()[-1]


def test_a_request_for_the_second_store_is_performed_from_there(shop: Shop, tmp_path: Path) -> None:
    shop.installation.configure(BACKUP_SECOND_STORE=(tmp_path / "second").as_uri())
    assert shop.installation.run().success
    shop.installation.configure(BACKUP_STORE=(tmp_path / "lost").as_uri())
    number = shop.approve(shop.ask("notes", store=SECOND))
    assert shop.row().store == SECOND
    assert shop.perform(number).success
    assert shop.rows("SELECT count(*) FROM notes") == [(70,)]


def test_a_restore_whose_process_died_is_closed_by_the_sensor(shop: Shop) -> None:
    shop.ask("notes")
    dead = RestoreChange(RestoreStatus.RUNNING, owner=Owner("another host", 1, 1.0), started_at=shop.row().created_at)
    number = shop.row().id
    shop.change(number, dead)
    assert "alive" in str(tick(shop.installation, "backup_orphans").skip_reason)
    with psycopg.connect(shop.installation.ledger_url) as session:
        session.execute("UPDATE restore_requests SET started_at = now() - interval '1 hour'")
    before = len(shop.installation.alerts())
    said = tick(shop.installation, "backup_orphans")
    assert f"restore request {number}" in str(said.skip_reason)
    assert shop.row().status is RestoreStatus.FAILED
    assert len(shop.installation.alerts()) == before + 1


def _planned_by_a_run(shop: Shop, wish: RestoreWish) -> tuple[dg.ExecuteInProcessResult, RunRequest]:
    """The run of a plan that somebody wants in the console, and its request as the run leaves it."""
    wanted = RunWish(
        uuid4(), RunVerb.RESTORE, shop.installation.catalog, RAHIM, detail={"dry_run": True, "plan": wish.as_json()}
    )
    with open_ports(shop.installation.settings, "shop") as ports:
        launcher = FakeLauncher(refuses="a test")  # nothing is launched by it: the run is this test's own
        row = request_run(wanted, ports, launcher)
        ports.ledger.run_requests.add(replace(row, id=(number := uuid4()), status=RequestStatus.REQUESTED, run_id=None))
    job = shop.installation.definitions().resolve_job_def("shop_restore")
    config = {"ops": {"shop_restored": {"config": {"request": 0, "dry_run": True}}}}
    with shop.installation.instance() as instance:
        tags = {REQUEST_TAG: str(number)}
        result = job.execute_in_process(instance=instance, run_config=config, tags=tags, raise_on_error=False)
    ledger = shop.installation.ledger
    try:
        after = ledger.run_requests.get(number)
    finally:
        ledger.close()
    assert after is not None
    return result, after


@pytest.mark.acceptance("3.8")
def test_a_run_plans_what_its_request_wants_and_that_plan_is_asked_for_approved_and_performed(shop: Shop) -> None:
    backup_id = shop.installation.attempts()[0].backup_id
    result, run = _planned_by_a_run(shop, RestoreWish(backup_id, "rescue", Mode.NEW, WITHOUT_VIEW))
    assert result.success
    assert shop.requests() == [], "a plan is no request"
    kept = (run.result or {})["plan"]
    assert isinstance(kept, dict)
    assert shop.password not in str(run)
    plan = kept_plan(kept)
    assert isinstance(plan, RestorePlan)
    assert {table.name for table in plan.tables} == set(WITHOUT_VIEW)
    seen = replace(plan, request=replace(plan.request, actor=RAHIM, reason="a test"))
    goal = offered_target(shop.installation.settings, "shop", "rescue")
    with open_ports(shop.installation.settings, "shop") as ports:
        row = ask_for_approval(AskedRestore(seen, kept), goal, ports, RestoreCaller(RAHIM))
    assert shop.perform(shop.approve(row.id)).success
    assert shop.rows("SELECT count(*) FROM customers") == [(500,)]


@pytest.mark.parametrize("target", ["postgresql://127.0.0.1/elsewhere", "nowhere"])
def test_a_run_plans_for_no_target_but_those_of_the_settings(shop: Shop, target: str) -> None:
    backup_id = shop.installation.attempts()[0].backup_id
    result, run = _planned_by_a_run(shop, RestoreWish(backup_id, target, Mode.NEW))
    assert not result.success
    assert "is not a restore target" in _failure(shop, result)[0]
    assert run.result is None


def test_without_a_request_in_the_ledger_a_run_plans_nothing(shop: Shop) -> None:
    result = shop.perform(0, dry_run=True)
    assert not result.success
    assert "No restore request is named" in _failure(shop, result)[0]
