"""The restore as a job: its plan and report in Dagster, its row in the ledger, and no password anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import psycopg
import pytest

from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.restore_requests import RestoreChange, RestoreRow, RestoreStatus
from backup_pipeline.operations.restore_requests import approve
from backup_pipeline.orchestration.config import RestoreConfig
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure, tick

WITHOUT_VIEW = ("customers", "orders", "notes")


@dataclass(frozen=True)
class Shop:
    """An installation with a backup, and a database to restore into, whose URL is in a variable."""

    installation: Installation
    target: str

    @property
    def database(self) -> str:
        return urlsplit(self.target).path.removeprefix("/")

    @property
    def password(self) -> str:
        return str(urlsplit(self.target).password)

    def restore(self, **config: Any) -> dg.ExecuteInProcessResult:
        given = {"target_url": {"env": "TARGET"}, "reason": "a test", "created_by": "rahim", **config}
        job = self.installation.definitions().resolve_job_def("shop_restore")
        with self.installation.instance() as instance:
            run_config = {"ops": {"shop_restored": {"config": given}}}
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
    installation.configure(TARGET=fresh_database)
    return Shop(installation, fresh_database)


def _metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def _failure(shop: Shop, result: dg.ExecuteInProcessResult) -> tuple[str, Any]:
    [told] = shop.installation.step_failures(result.run_id)
    return told


def test_tables_come_into_an_empty_database_with_plan_and_report(shop: Shop) -> None:
    result = shop.restore(tables=list(WITHOUT_VIEW))
    assert result.success
    assert shop.rows("SELECT count(*) FROM customers") == [(500,)]
    told = _metadata(result)
    assert (told["rows_loaded"], told["rows_deleted"]) == (1770, 0)
    assert told["bytes_fetched"] > 0
    assert "| customers | public.customers | create | not there | 500 |" in told["plan"]
    assert "| customers | public.customers |" in shop.installation.event_log(result.run_id)
    row = shop.row()
    assert (row.status, row.run_id, row.requested_by, row.reason) == (
        RestoreStatus.DONE,
        result.run_id,
        "rahim",
        "a test",
    )
    assert row.report is not None
    assert shop.installation.alerts() == []
    assert shop.password not in f"{shop.installation.event_log(result.run_id)} {row} {shop.installation.audits()}"


def test_a_dry_run_only_shows(shop: Shop) -> None:
    result = shop.restore(tables=["notes"], dry_run=True)
    assert result.success
    assert "| notes | public.notes |" in _metadata(result)["plan"]
    assert shop.rows("SELECT to_regclass('public.notes')") == [(None,)]
    assert shop.requests() == []


def test_a_password_in_the_run_s_config_is_refused_before_anything_connects(shop: Shop) -> None:
    result = shop.restore(target_url=shop.target, tables=["notes"])
    what, metadata = _failure(shop, result)
    assert "holds a password" in what
    assert "{env: NAME}" in metadata["what to do"]
    assert metadata["exit code"] == 21
    assert shop.password not in what + str(metadata)
    assert shop.requests() == []


def test_replacing_wants_the_database_s_name_and_leaves_a_safety_backup(shop: Shop) -> None:
    assert shop.restore(tables=["customers"]).success
    with psycopg.connect(shop.target) as session:
        session.execute("UPDATE customers SET name = 'oops'")
    refused = shop.restore(tables=["customers"], mode="replace")
    assert "not confirmed" in _failure(shop, refused)[0]
    assert "not confirmed" in shop.installation.alerts()[-1]
    assert shop.row().status is RestoreStatus.FAILED
    assert shop.rows("SELECT DISTINCT name FROM customers") == [("oops",)]
    result = shop.restore(tables=["customers"], mode="replace", confirm=shop.database)
    assert result.success
    assert shop.rows("SELECT count(*) FROM customers WHERE name LIKE 'Customer %'") == [(500,)]
    safe = _metadata(result)["safety_backup"]
    assert shop.installation.attempt().backup_id == safe
    assert shop.installation.attempt().catalog == "shop_before_restore"


def test_a_refused_plan_fails_the_run_and_its_row_and_people_hear_of_it_once(shop: Shop) -> None:
    assert shop.restore(tables=["notes"]).success
    result = shop.restore(tables=["notes"])
    assert "refused" in _failure(shop, result)[0]
    assert shop.row().status is RestoreStatus.FAILED
    assert len(shop.installation.alerts()) == 1
    tell_of_failure(shop.installation, result.run_id)
    assert len(shop.installation.alerts()) == 1


def test_a_target_that_does_not_answer_fails_row_and_run_without_its_password(shop: Shop) -> None:
    shop.installation.configure(TARGET="postgresql://app:hush-hush@127.0.0.1:1/x")
    result = shop.restore()
    what, metadata = _failure(shop, result)
    [alert] = shop.installation.alerts()
    row = shop.row()
    assert row.status is RestoreStatus.FAILED
    assert "request" in alert
    assert "hush-hush" not in f"{what} {metadata} {alert} {row} {shop.installation.event_log(result.run_id)}"


def test_a_wrong_request_fails_the_run_without_a_row_and_is_told_by_the_sensor(shop: Shop) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"mode": "merge"}, "no mode 'merge'"),
        ({"target_url": ""}, "has no target"),
        ({"to_source": True}, "Two targets"),
        ({"backup_id": "20261121T120000Z-full-00000009"}, "There is no backup"),
        ({"request": 99}, "no restore request 99"),
    ]
    for config, said in wrong:
        result = shop.restore(**config)
        assert said in _failure(shop, result)[0]
        assert shop.requests() == []
        tell_of_failure(shop.installation, result.run_id)
        assert "Restore failed: shop" in shop.installation.alerts()[-1]
    assert len(shop.installation.alerts()) == len(wrong)


def test_with_approval_the_run_leaves_a_request_that_another_run_performs(shop: Shop) -> None:
    shop.installation.configure(BACKUP_RESTORE_APPROVAL="true")
    first = shop.restore(tables=["notes"])
    assert "not approved yet" in _failure(shop, first)[0]
    tell_of_failure(shop.installation, first.run_id)
    waiting = shop.row()
    assert waiting.status is RestoreStatus.REQUESTED
    assert waiting.plan is not None
    assert shop.installation.alerts() == []
    with open_ports(shop.installation.settings, "shop") as ports:
        approve(waiting.id, "karim", ports)
    second = shop.restore(request=waiting.id)
    assert second.success
    row = shop.row()
    assert (row.id, row.status, row.run_id) == (waiting.id, RestoreStatus.DONE, second.run_id)
    assert shop.rows("SELECT count(*) FROM notes") == [(70,)]


def test_a_request_for_the_second_store_is_performed_from_there(shop: Shop, tmp_path: Path) -> None:
    assert "There is no store 'third'" in _failure(shop, shop.restore(tables=["notes"], store="third"))[0]
    second = (tmp_path / "second").as_uri()
    shop.installation.configure(BACKUP_SECOND_STORE=second, BACKUP_RESTORE_APPROVAL="true")
    assert shop.installation.run().success
    shop.installation.configure(BACKUP_STORE=(tmp_path / "lost").as_uri())
    shop.restore(tables=["notes"], store="second")
    waiting = shop.row()
    assert (waiting.status, waiting.store) == (RestoreStatus.REQUESTED, "second")
    with open_ports(shop.installation.settings, "shop") as ports:
        approve(waiting.id, "karim", ports)
    assert shop.restore(request=waiting.id).success
    assert shop.rows("SELECT count(*) FROM notes") == [(70,)]


def test_a_restore_whose_process_died_is_closed_by_the_sensor(shop: Shop) -> None:
    shop.installation.configure(BACKUP_RESTORE_APPROVAL="true")
    shop.restore(tables=["notes"])
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


def test_every_field_of_the_launchpad_is_explained() -> None:
    fields = RestoreConfig.model_fields
    assert {"backup_id", "tables", "target_url", "into_schema", "mode", "confirm", "reason", "dry_run"} <= set(fields)
    assert all(field.description for field in fields.values())
