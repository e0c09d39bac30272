"""Ticks in Dagster: the asset with its numbers and checks, the schedule, one business by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from pydantic import SecretStr

from backup_pipeline.core.businesses.ticks import TickStatus
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Claim, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import AccountFilter
from backup_pipeline.core.restore import Mode, RestoreRequest, Selection
from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline.core.scope import Actor, ActorKind, Purpose, Scope
from backup_pipeline.demo import RETAIL, create_system, trade
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger import this_owner
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.restore.decisions import approve
from backup_pipeline.operations.restore.requests import RestoreCaller, add_request
from backup_pipeline.orchestration import businesses
from backup_pipeline.orchestration.businesses import backups_key, on_demand_key
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.orchestration.keys import DUE_TAG, Automation
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline.wiring.restore import target_in_place
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.core.retained import NOW
from backup_pipeline_tests.core.retention.test_chains import chain
from backup_pipeline_tests.operations.shelved import BUNDLE, add_row, bundle_of, filed, manifest_of
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import catalog_of


@dataclass
class Office:
    url: str
    ledger: ScratchLedger
    catalog: Catalog
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    home: Path
    settings: Settings

    def run(self, job: str, **more: Any) -> dg.ExecuteInProcessResult:
        resolved = self.definitions.resolve_job_def(f"retail_{job}")
        return resolved.execute_in_process(instance=self.instance, raise_on_error=False, **more)

    def facts(self, key: dg.AssetKey) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@pytest.fixture(scope="module")
def office(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home = tmp_path_factory.mktemp("office")
    ledger, catalog = new_ledger(), catalog_of("retail")
    with temporary_database(postgres_server) as url, dg.DagsterInstance.ephemeral() as instance:
        create_system(url, RETAIL, scale=0.02)
        settings = Settings(
            home=home,
            store=f"file://{home}/store",
            ledger_url=SecretStr(ledger.url),
            source_urls={"retail": SecretStr(url)},
            catalogs=BUILT_IN_CATALOGS,
        )
        yield Office(url, ledger, catalog, assemble({"retail": catalog}, settings), instance, home, settings)


@pytest.mark.acceptance("3.4")
def test_three_ticks_have_every_business_that_is_due(office: Office) -> None:
    start = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    for number in range(3):
        due = start + number * timedelta(minutes=5)
        assert office.run("tick", tags={DUE_TAG: due.isoformat()}).success
        trade(office.url, RETAIL, number, shops=2)
    ticks = office.ledger.ticks.list("retail")
    assert [(tick.scheduled_at, tick.status) for tick in reversed(ticks)] == [
        (start + number * timedelta(minutes=5), TickStatus.SUCCESS) for number in range(3)
    ]
    assert [(tick.due, tick.changed, tick.unchanged) for tick in reversed(ticks)] == [(5, 5, 0), (5, 2, 3), (5, 2, 3)]
    facts = office.facts(backups_key(office.catalog))
    assert {name: facts[name] for name in ("due", "changed", "unchanged", "failed", "skipped", "fulls")} == {
        "due": 5, "changed": 2, "unchanged": 3, "failed": 0, "skipped": 0, "fulls": 0,
    }  # fmt: skip
    assert "| incremental |" in facts["largest"]
    keys = [account.business for account in office.ledger.businesses.list(AccountFilter(catalog="retail"))]
    assert (
        sorted(office.instance.get_dynamic_partitions("retail"))
        == keys
        == sorted(office.ledger.ticks.stored("retail", keys))
    )


def _checks(result: dg.ExecuteInProcessResult) -> dict[str | None, bool]:
    return {e.asset_check_evaluation_data.check_name: e.asset_check_evaluation_data.passed for e in result.all_events
            if e.event_type_value == "ASSET_CHECK_EVALUATION"}  # fmt: skip


def test_its_checks_are_in_dagster(office: Office) -> None:
    assert _checks(office.run("tick")) == dict.fromkeys(businesses.CHECKS, True)


def test_the_room_that_a_business_has_of_its_own_counts(office: Office) -> None:
    account = office.ledger.businesses.list(AccountFilter(catalog="retail"))[0]
    office.ledger.businesses.put(replace(account, quota_bytes=1000), RAHIM)
    trade(office.url, RETAIL, 40, shops=5)
    assert _checks(office.run("tick")) == dict.fromkeys(businesses.CHECKS, True) | {"within_quota": False}
    office.ledger.businesses.put(account, RAHIM)


@pytest.mark.acceptance("3.1")
@pytest.mark.parametrize(
    ("kind", "made"), [("full", Kind.FULL), ("incremental", Kind.INCREMENTAL), ("manual", Kind.FULL)]
)
def test_one_business_by_hand_is_a_partition(office: Office, kind: str, made: Kind) -> None:
    trade(office.url, RETAIL, 50, shops=5)
    business = sorted(office.instance.get_dynamic_partitions("retail"))[0]
    config = {"ops": {"retail_business_backed_up": {"config": {"kind": kind, "reason": "a try"}}}}
    result = office.run("business_backup", partition_key=business, run_config=config)
    assert result.success
    row = office.ledger.get(office.facts(on_demand_key(office.catalog))["backup"])
    assert row is not None
    assert (row.scope.business, row.kind, row.reason) == (business, made, "a try")
    assert row.type is (Trigger.MANUAL if kind == "manual" else Trigger.AUTOMATIC)


def test_an_overrun_is_no_failure_and_no_materialization(office: Office) -> None:
    before = office.facts(backups_key(office.catalog))
    claim = Claim(Scope("retail", purpose=Purpose.TICK), "tick 99", RAHIM, this_owner())
    lease = office.ledger.leases.acquire(claim, timedelta(minutes=1))
    try:
        assert office.run("tick").success
    finally:
        office.ledger.leases.release(lease)
    assert office.facts(backups_key(office.catalog)) == before
    newest = max(office.ledger.ticks.list("retail"), key=lambda tick: tick.number)
    assert newest.status is TickStatus.SKIPPED


@pytest.mark.acceptance("3.37")
def test_the_schedule_is_the_catalogs_and_does_not_make_up_for_what_was_missed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = office.catalog.businesses
    assert declared is not None
    due = datetime(2026, 11, 30, 12, 5, tzinfo=UTC)
    for every, cron in (("5 minutes", "*/5 * * * *"), ("1 minute", "*/1 * * * *"), ("1 hour", "0 * * * *")):
        other = declared.model_copy(update={"every": every})
        assert businesses.tick_schedule(office.catalog, other, Automation()).cron_schedule == cron
    schedule = businesses.tick_schedule(office.catalog, declared, Automation(running=True))
    for late, launches in ((timedelta(seconds=20), 1), (timedelta(minutes=6), 0)):
        monkeypatch.setattr(businesses, "utc_now", lambda late=late: due + late)
        with dg.build_schedule_context(scheduled_execution_time=due) as context:
            data = schedule.evaluate_tick(context)
        assert len(data.run_requests or ()) == launches
        if launches:
            assert data.run_requests is not None
            assert data.run_requests[0].tags[DUE_TAG] == due.isoformat()
        else:
            assert "not made up for" in str(data.skip_message)


def test_the_clean_up_takes_businesses_too_and_shows_of_which_the_most(office: Office) -> None:
    """Of an hour of forty days ago the last one stays; the chain before it is needed by nobody."""
    business = sorted(office.ledger.ticks.businesses("retail", limit=1))[0]
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=40)
    ago, scope = (NOW - hour).total_seconds() / 60, Scope("retail", business=business)
    first, last = chain(ago - 5, 2, scope=scope), chain(ago - 20, 3, salt=9, scope=scope)
    store = DirectoryStore(office.home / "store")
    for row in (*first, *last):
        store.put(place_of(row).bundle(BUNDLE), [bundle_of(row)])
        store.put(place_of(row).manifest, [manifest_of(row)])
        add_row(office.ledger, filed(row))
    before = {row.backup_id for row in office.ledger.list(status=[Status.SUCCESS])}
    config = {"ops": {"retail_pruned": {"config": {"dry_run": True}}}}
    assert office.run("prune", run_config=config).success
    assert {row.backup_id for row in office.ledger.list(status=[Status.SUCCESS])} == before
    result = office.run("prune")
    assert result.success
    gone = {row.backup_id for row in first}
    assert {row.backup_id for row in office.ledger.list(status=[Status.SUCCESS])} == before - gone
    assert [store.head(place_of(row).manifest) is None for row in (*first, *last)] == [True] * 2 + [False] * 3
    [event] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    facts: dict[str, Any] = {name: value.value for name, value in event.step_output_data.metadata.items()}
    assert (facts["business_backups_removed"], facts["business_bytes_removed"] > 2000) == (2, True)
    assert f"| {business} |" in facts["businesses"]


@pytest.mark.acceptance("3.10")
def test_a_business_is_planned_approved_and_brought_back_by_the_job(office: Office) -> None:
    trade(office.url, RETAIL, 70, shops=5)
    assert office.run("tick").success
    business = sorted(office.instance.get_dynamic_partitions("retail"))[0]
    record = office.ledger.ticks.newest_records("retail", [business])[business]
    with psycopg.connect(office.url) as session:
        session.execute("UPDATE customers SET name = name || '?' WHERE business_id = %s", [business])
    request = RestoreRequest(
        record.backup_id, mode=Mode.DIFFERENCE, actor=RAHIM, reason="by the job", selection=Selection()
    )
    settings = office.settings
    named = target_in_place(settings, "retail")
    with open_ports(settings, "retail") as ports:
        row = add_request(request, named, ports, RestoreCaller(RAHIM, needs_approval=True))
        planned = office.run("restore", run_config=_restores(row.id, dry_run=True))
        assert planned.success
        refused = office.run("restore", run_config=_restores(row.id))
        assert not refused.success, "nobody has approved it"
        approve(row.id, Actor(ActorKind.PERSON, "karim"), ports)
    assert office.run("restore", run_config=_restores(row.id)).success
    done = office.ledger.restores.get(row.id)
    assert done is not None
    assert (done.status, done.scope.business) == (RestoreStatus.DONE, business)
    safety = office.ledger.get(str((done.report or {})["safety_backup_id"]))
    assert safety is not None
    assert (safety.reason, safety.type) == (f"before restore {row.id}", Trigger.MANUAL)
    with psycopg.connect(office.url) as session:
        [(broken,)] = session.execute("SELECT count(*) FROM customers WHERE name LIKE '%%?'", []).fetchall()
    assert broken == 0
    with psycopg.connect(office.ledger.url) as session:
        query = "SELECT detail->>'status' FROM realtime_events WHERE kind = 'restore' ORDER BY id"
        kinds = [status for (status,) in session.execute(query).fetchall()]
    assert kinds == ["requested", "approved", "running", "done"]


def _restores(number: int, *, dry_run: bool = False) -> dict[str, Any]:
    return {"ops": {"retail_restored": {"config": {"request": number, "dry_run": dry_run}}}}
