"""What to do, told where it happens: each entry of docs/operations.md's common issues, provoked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.access.api_keys import KeyPermission as P
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, VerificationError
from backup_pipeline.core.ledger import Claim
from backup_pipeline.core.names import Kind
from backup_pipeline.core.restore import RestoreRequest
from backup_pipeline.core.scope import Purpose, Scope
from backup_pipeline.formats.business_state import DuckKeyStates
from backup_pipeline.operations.access.api_keys import revoke_key
from backup_pipeline.operations.businesses import TickRequest, run_tick
from backup_pipeline.operations.businesses.protection import crowded, quota_alert
from backup_pipeline.operations.overview import overview
from backup_pipeline.operations.restore.transfer import plan_restore
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.web.events import MOST_OF_A_SESSION
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import NOBODY, Absent, ports_for_test
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.operations.conftest import SHOP, Made
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.operations.test_anomalies import Listening, Shop, shop
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.calling import program_of
from backup_pipeline_tests.web.deciding import Office, add_business, open_office
from backup_pipeline_tests.web.ticking import add_backup

__all__ = ["shop"]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def _issues() -> Mapping[str, list[str]]:
    """Of each row of the table, the words that its last column quotes."""
    table = PAGE.read_text(encoding="utf-8").partition("## Common issues")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {what: re.findall(r"`([^`]+)`", do) for what, _, do in rows[1:]}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1, businesses=True)
    add_business(office)
    return office


def _catalogs(office: Office) -> list[Catalog]:
    return list(load_catalogs(office.console.settings.catalogs).values())


def _orphans(request: pytest.FixtureRequest) -> str:
    shop: Shop = request.getfixturevalue("shop")
    shop.next("INSERT INTO sold VALUES (9001, 99999, now())")
    [alert] = shop.heard.alerts
    return alert.do


def _dead_source(request: pytest.FixtureRequest) -> str:
    with pytest.raises(BackupError) as failed:
        Place(request.getfixturevalue("tmp_path")).back_up(NOWHERE, SHOP)
    return failed.value.do


def _failed_tick(request: pytest.FixtureRequest) -> str:
    office: Office = request.getfixturevalue("office")
    heard = Listening()
    ports = replace(office.ports, source=PostgresSource(NOWHERE), alerter=heard)
    [catalog] = _catalogs(office)
    with pytest.raises(BackupError):
        run_tick(TickRequest(catalog, RAHIM), DuckKeyStates(request.getfixturevalue("tmp_path")), ports)
    return heard.alerts[-1].do


def _damaged(request: pytest.FixtureRequest) -> str:
    made: Made = request.getfixturevalue("made")
    made.store.put(made.bundle, [made.store.get(made.bundle)[:-1]])
    folder = request.getfixturevalue("tmp_path")
    ports = ports_for_test(store=made.store, ledger=made.ledger, spool=folder)
    with pytest.raises(VerificationError) as failed:
        plan_restore(RestoreRequest(made.attempt.backup_id), Absent(), ports)
    return failed.value.do


def _of_api(status: int, path: str, *permissions: P, method: str = "GET", limit: int = 1000, revoked: bool = False,
            streams: int = 0) -> Callable[[pytest.FixtureRequest], str]:  # fmt: skip
    """What the API tells a program whose key is like that."""

    def provoke(request: pytest.FixtureRequest) -> str:
        office: Office = request.getfixturevalue("office")
        program = program_of(office.console, *permissions, limit=limit)
        key = max(office.console.access.access.keys.list(), key=lambda each: each.number)
        if revoked:
            revoke_key(key.number, office.console.access, RAHIM)
        for _ in range(streams):
            assert office.console.app.state.events.enter(-key.number)
        for _ in range(2 if limit == 1 else 1):
            answer = program.call(method, path)
        assert answer.status_code == status, answer.text
        return str(answer.json()["do"])

    return provoke


def _tick_at_work(request: pytest.FixtureRequest) -> str:
    office: Office = request.getfixturevalue("office")
    claim = Claim(Scope("shop", purpose=Purpose.TICK), "tick 5", RAHIM, NOBODY)
    lease = office.ledger.leases.acquire(claim, timedelta(minutes=1))
    try:
        return _of_api(409, "/functions/v1/cron-backup", P.BACKUPS_SCHEDULE, method="POST")(request)
    finally:
        office.ledger.leases.release(lease)


def _dagster_away(request: pytest.FixtureRequest) -> str:
    office: Office = request.getfixturevalue("office")
    office.console.app.state.launcher = FakeLauncher(away=True)
    answer = program_of(office.console, P.BACKUPS_CREATE).post("/api/v1/backups", json={"catalog": "shop"})
    assert answer.status_code == 503
    return str(answer.json()["do"])


def _nothing_ran(request: pytest.FixtureRequest) -> str:
    office: Office = request.getfixturevalue("office")
    [state] = overview(_catalogs(office), office.ledger, office.console.clock() + timedelta(days=3)).systems
    assert state.freshness.overdue
    return state.freshness.error().do


def _full(request: pytest.FixtureRequest) -> str:
    office: Office = request.getfixturevalue("office")
    now = office.console.clock()
    add_backup(office, "b1", now, kind=Kind.FULL, size=2_000_000)
    [catalog] = _catalogs(office)
    alert = quota_alert("shop", crowded(catalog, {"b1": 2_000_000}, office.ledger), now)
    assert alert is not None
    return alert.do


ISSUES: Mapping[str, Callable[[pytest.FixtureRequest], str]] = {
    "rows that do not hold together": _orphans,
    "a backup that failed": _dead_source,
    "a business without its backup": _failed_tick,
    "a key that had its calls": _of_api(429, "/api/v1/usage", P.USAGE, limit=1),
    "a restore of damaged bytes": _damaged,
    "an event stream without a key": _of_api(401, "/api/v1/events", P.EVENTS_READ, revoked=True),
    "an event stream that the key may not have": _of_api(403, "/api/v1/events", P.BACKUP_STATUS),
    "an event stream too many": _of_api(503, "/api/v1/events", P.EVENTS_READ, streams=MOST_OF_A_SESSION),
    "a cron that did not run": _nothing_ran,
    "a cron that came too early": _tick_at_work,
    "Dagster that is away": _dagster_away,
    "a store that fills up": _full,
}


@pytest.mark.acceptance("3.38")
@pytest.mark.parametrize("issue", ISSUES)
def test_a_common_issue_says_what_to_do_where_it_happens_and_in_the_docs(
    issue: str, office: Office, request: pytest.FixtureRequest
) -> None:
    assert office.ledger.now()
    advice, quoted = ISSUES[issue](request), _issues()[issue]
    assert quoted
    assert [words for words in quoted if words not in advice] == [], advice


def test_the_docs_have_no_other_issue() -> None:
    assert set(_issues()) == set(ISSUES)
