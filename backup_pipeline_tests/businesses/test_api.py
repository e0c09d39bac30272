"""The sources' endpoints of businesses, and how each is protected, for programs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from backup_pipeline.core.access.api_keys import KeyPermission as P
from backup_pipeline.core.access.api_keys import NewKey
from backup_pipeline.core.ledger import Claim
from backup_pipeline.core.names import Kind
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline.core.restore.requests import RestoreChange
from backup_pipeline.core.scope import SCHEDULE, Purpose, Scope
from backup_pipeline.demo import RETAIL, create_system, trade
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.dagster import WorkingDagster
from backup_pipeline_tests.doubles.ports import NOBODY, now, ports_for_test
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import catalog_of
from backup_pipeline_tests.web.calling import program_of
from backup_pipeline_tests.web.deciding import HOSTILE, Office, add_business, business_plan_json, open_office
from backup_pipeline_tests.web.people import Console, console_over
from backup_pipeline_tests.web.serving import served
from backup_pipeline_tests.web.ticking import add_backup

PAGE = Path(__file__).parents[2] / "docs" / "businesses.md"
OF_THE_SOURCES = r"""
*/5 * * * * curl -X POST "https://your-project.supabase.co/functions/v1/cron-backup" \
  -H "Authorization: Bearer YOUR_SERVICE_ROLE_KEY" \
  -H "Content-Type: application/json"
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=1)
    text = (BUILT_IN_CATALOGS / "retail.yaml").read_text()
    (office.console.settings.catalogs / "retail.yaml").write_text(text)
    entries = [RegistryEntry("b1", "Padma", active=True), RegistryEntry("b2", "Meghna", active=False)]
    office.ledger.businesses.register("retail", entries, SCHEDULE, now())
    return office


@pytest.fixture
def launcher(office: Office) -> FakeLauncher:
    office.console.app.state.launcher = launcher = FakeLauncher()
    return launcher


@pytest.mark.acceptance("3.1", "3.33")
@pytest.mark.parametrize("kind", ["full", "incremental", "manual"])
def test_backup_system_takes_the_body_of_the_sources(office: Office, launcher: FakeLauncher, kind: str) -> None:
    program = program_of(office.console, P.BACKUPS_CREATE, name=f"makes {kind}")
    answer = program.post("/functions/v1/backup-system", json={"business_id": "b1", "backup_type": kind})
    assert answer.status_code == 202, answer.text
    [(order, user)] = launcher.launched
    assert (order.job, order.partition, user) == ("retail_business_backup", "b1", f"key:makes {kind}")
    assert order.config["ops"] == {"retail_business_backed_up": {"config": {"kind": kind, "reason": ""}}}
    for wrong, status in (({"business_id": "b9"}, 404), ({"business_id": "b1", "backup_type": "all"}, 422), ({}, 422)):
        assert program.post("/functions/v1/backup-system", json=wrong).status_code == status


def test_a_business_that_two_systems_have_wants_its_catalog(office: Office, launcher: FakeLauncher) -> None:
    shop = office.console.settings.catalogs / "second.yaml"
    shop.write_text((BUILT_IN_CATALOGS / "retail.yaml").read_text().replace("catalog: retail", "catalog: second"))
    office.ledger.businesses.register("second", [RegistryEntry("b1", "Jamuna", active=True)], SCHEDULE, now())
    try:
        program = program_of(office.console, P.BACKUPS_CREATE, name="of two")
        unnamed = program.post("/functions/v1/backup-system", json={"business_id": "b1"})
        assert (unnamed.status_code, launcher.launched) == (422, [])
        assert "retail, second" in unnamed.json()["detail"]
        named = program.post("/functions/v1/backup-system", json={"business_id": "b1", "catalog": "second"})
        assert named.status_code == 202, named.text
        assert launcher.launched[0][0].job == "second_business_backup"
        other = program.post("/functions/v1/backup-system", json={"business_id": "b2", "catalog": "second"})
        assert other.status_code == 404
    finally:
        shop.unlink()


def test_a_key_of_one_business_backs_up_that_one(office: Office, launcher: FakeLauncher) -> None:
    own = program_of(office.console, P.BACKUPS_CREATE, name="of b1", business="b1")
    assert own.post("/functions/v1/backup-system", json={"business_id": "b1"}).status_code == 202
    assert own.post("/functions/v1/backup-system", json={"business_id": "b2"}).status_code == 404
    assert len(launcher.launched) == 1


@pytest.mark.acceptance("3.6")
@pytest.mark.parametrize("path", ["/functions/v1/backup-scheduler", "/functions/v1/cron-backup"])
def test_a_cron_starts_a_tick_and_is_refused_while_one_is_at_work(
    office: Office, launcher: FakeLauncher, path: str
) -> None:
    program = program_of(office.console, P.BACKUPS_SCHEDULE, name=f"crontab {path}")
    answer = program.post(path, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    [(order, _)] = launcher.launched
    assert order.job == "retail_tick"
    claim = Claim(Scope("retail", purpose=Purpose.TICK), "tick 5", RAHIM, NOBODY)
    lease = office.ledger.leases.acquire(claim, timedelta(minutes=1))
    try:
        refused = program.post(path)
        assert refused.status_code == 409
        assert "tick 5" in refused.json()["detail"]
    finally:
        office.ledger.leases.release(lease)
    assert len(launcher.launched) == 1


@dataclass
class Shops:
    """The demo, its console on a port, and a Dagster that makes its ticks."""

    url: str
    ledger: ScratchLedger
    console: Console
    launcher: WorkingDagster
    address: str

    def key(self, *permissions: P) -> str:
        _, secret = create_key(NewKey(f"{permissions[0].name.lower()}", permissions), self.console.access, RAHIM)
        return secret

    def typed(self, command: str, **places: str) -> subprocess.CompletedProcess[str]:
        """A command as cron has its shell run it, after the words of `places` are what they stand for."""
        for word, value in {"https://your-project.supabase.co": self.address, **places}.items():
            command = command.replace(word, value)
        environment = {"PATH": os.environ["PATH"], "no_proxy": "*"}
        return subprocess.run(
            ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.ledger.url, row_factory=dict_row) as session:
            return session.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def shops(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    home, ledger, catalog = tmp_path_factory.mktemp("shops"), new_ledger(), catalog_of("retail")
    with ExitStack() as stack:
        url = stack.enter_context(temporary_database(postgres_server))
        create_system(url, RETAIL, scale=0.02)
        console = console_over(
            ledger,
            home,
            ports=partial(ports_for_test, store=DirectoryStore(home / "store"), spool=home / "work"),
            ledger_url=SecretStr(ledger.url),
            store=(home / "store").as_uri(),
            source_urls={"retail": SecretStr(url)},
            catalogs=BUILT_IN_CATALOGS,
        )
        launcher = WorkingDagster(catalogs={"retail": catalog}, settings=console.settings, ports=console.ports)
        console.app.state.launcher = launcher
        stack.enter_context(console.app.state.events)
        address = stack.enter_context(served(console))
        stack.callback(launcher.finish)
        yield Shops(url, ledger, console, launcher, address)


@pytest.mark.acceptance("3.6")
def test_the_crontab_s_curl_makes_a_tick_and_another_key_reads_how_all_stand(shops: Shops, tmp_path: Path) -> None:
    """The line of the sources, then the two of our page, each as it stands there."""
    cron, status = shops.key(P.BACKUPS_SCHEDULE), shops.key(P.BUSINESSES)
    for name, key in (("cron", cron), ("status", status)):
        (tmp_path / f"{name}.key").write_text(f"Authorization: Bearer {key}\n")
    every, first = _crontab(OF_THE_SOURCES)
    answer = shops.typed(first, YOUR_SERVICE_ROLE_KEY=cron)
    assert answer.returncode == 0, answer.stderr
    shops.launcher.finish()
    place = {"https://backup.example.com": shops.address, "/etc/backup": shlex.quote(str(tmp_path))}
    trade(shops.url, RETAIL, 7, shops=2)
    [block] = re.findall(r"```\n(\*/5 .*?\n)```\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    again, second = _crontab(block.splitlines()[0])
    assert shops.typed(second, **place).returncode == 0
    shops.launcher.finish()
    catalog = catalog_of("retail")
    assert catalog.businesses is not None
    assert {every, again} == {catalog.businesses.cron}
    ticks = shops.rows(
        "SELECT status, due, changed, unchanged, failed, skipped FROM business_ticks ORDER BY started_at"
    )
    assert [tuple(tick.values()) for tick in ticks] == [("success", 5, 5, 0, 0, 0), ("success", 5, 2, 3, 0, 0)]
    reading = block.splitlines()[1]
    told = {row["business_id"]: row for row in json.loads(shops.typed(reading, **place).stdout)["businesses"]}
    assert {key: _numbers(row) for key, row in told.items()} == _of_the_ledger(shops)
    with psycopg.connect(shops.url) as session:
        active = session.execute("SELECT id::text, name FROM businesses WHERE status = 'active'").fetchall()
    assert {(key, row["name"]) for key, row in told.items() if row["status"] == "active"} == set(active)
    for wrong in (reading.replace("status.key", "cron.key"), second.replace("cron.key", "status.key")):
        assert "403" in shops.typed(wrong, **place).stderr, "each key does its own"
    assert len(shops.launcher.launched) == 2


def _crontab(text: str) -> tuple[str, str]:
    """Of a line, when it runs and what. A crontab continues no line; whoever copies this one joins them."""
    *when, command = text.strip().replace("\\\n", " ").split(maxsplit=5)
    return " ".join(when), command


def _numbers(row: dict[str, Any]) -> tuple[Any, ...]:
    instants = [datetime.fromisoformat(row[name]) for name in ("snapshot_at", "confirmed_until")]
    return (row["backup_id"], row["backup_type"], row["backups"], row["bytes"], *instants)


def _of_the_ledger(shops: Shops) -> dict[str, tuple[Any, ...]]:
    """The same of each business, by SQL of the test's own: a tick confirms what it found unchanged."""
    found = shops.rows(
        "SELECT DISTINCT ON (business) business, backup_id, kind, count(*) OVER own, sum(file_size_bytes) OVER own,"
        " snapshot_at, (SELECT max(snapshot_at) FROM business_ticks) FROM backup_logs"
        " WHERE catalog = 'retail' AND business IS NOT NULL AND status = 'success'"
        " WINDOW own AS (PARTITION BY business) ORDER BY business, snapshot_at DESC"
    )
    return {str(row["business"]): tuple(row.values())[1:] for row in found}


def test_businesses_are_listed_with_how_each_is_protected(office: Office) -> None:
    program = program_of(office.console, P.BUSINESSES, name="looks")
    first = program.get("/api/v1/businesses?limit=1").json()
    assert [row["business_id"] for row in first["businesses"]] == ["b1"]
    rest = program.get(f"/api/v1/businesses?limit=1&after={first['next']}").json()
    assert rest["next"] is None
    [row] = rest["businesses"]
    assert (row["business_id"], row["name"], row["status"], row["backup_id"]) == ("b2", "Meghna", "inactive", None)
    assert row["quota_bytes"] == 5_000_000_000
    own = program_of(office.console, P.BUSINESSES, name="looks at b2", business="b2")
    assert [row["business_id"] for row in own.get("/api/v1/businesses").json()["businesses"]] == ["b2"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An office whose own system has businesses, and a backup of one."""
    office = open_office(new_ledger(), tmp_path_factory.mktemp("shop"), days=1, businesses=True)
    add_business(office)
    add_backup(office, "b1", office.console.clock() - timedelta(minutes=5), Kind.FULL)
    return office


@pytest.fixture
def asked(shop: Office) -> FakeLauncher:
    shop.console.app.state.launcher = launcher = FakeLauncher()
    return launcher


def _backup_of_b1(shop: Office) -> str:
    return shop.ledger.ticks.newest_records("shop", ["b1"])["b1"].backup_id


@pytest.mark.acceptance("3.8", "3.33")
def test_a_business_is_asked_back_with_the_body_of_the_sources(shop: Office, asked: FakeLauncher) -> None:
    backup_id = _backup_of_b1(shop)
    program = program_of(shop.console, P.RESTORES_REQUEST, name="asks for b1", business="b1")
    body = {"business_id": "b1", "backup_id": backup_id, "restore_type": "full"}
    answer = program.post("/functions/v1/data-restore", json=body)
    assert answer.status_code == 202, answer.text
    order_made = answer.json()
    assert (order_made["mode"], order_made["business"], order_made["database"], order_made["plan_digest"]) == (
        "difference", "b1", "shop", None,
    )  # fmt: skip
    assert order_made["difference"]["changes"] == ["create", "update", "delete"]
    [(order, user)] = asked.launched
    assert (order.job, user) == ("shop_restore", "key:asks for b1")
    attempt = shop.ledger.get(backup_id)
    assert attempt is not None
    plan = business_plan_json(attempt, conflict="2 rows of goods are another business's by now.")
    shop.ledger.restores.change(order_made["restore_request"], RestoreChange(plan=plan))
    status = program.get(order_made["status_url"])
    assert status.json()["plan_digest"] == plan["digest"]
    difference = status.json()["difference"]
    assert difference["tables"] == [{"table": "goods", "create": 0, "update": 2, "delete": 1}]
    assert difference["conflicts"] == ["2 rows of goods are another business's by now."]
    assert HOSTILE not in status.text
    assert "g-1" not in status.text, "no value of any row"
    foreign = {**body, "business_id": "b2"}
    assert program.post("/functions/v1/data-restore", json=foreign).status_code == 404


@pytest.mark.acceptance("3.8", "3.39")
def test_a_moment_and_rows_stand_in_the_place_of_a_backup(shop: Office, asked: FakeLauncher) -> None:
    backup_id = _backup_of_b1(shop)
    program = program_of(shop.console, P.RESTORES_REQUEST, name="asks as of")
    now = shop.console.clock()
    body = {"business_id": "b1", "at": now.isoformat(), "restore_type": "selective", "rows": {"goods": ["g-1"]}}
    answer = program.post("/functions/v1/data-restore", json={**body, "changes": ["update"], "reason": "a typo"})
    assert answer.status_code == 202, answer.text
    order_made = answer.json()
    assert (order_made["backup_id"], order_made["reason"]) == (backup_id, "a typo")
    assert order_made["difference"] | {"at": None, "tables": [], "conflicts": [], "safety_backup": None} == {
        "at": None, "changes": ["update"], "rows": {"goods": ["g-1"]}, "but": {}, "tables": [], "conflicts": [],
        "safety_backup": None,
    }  # fmt: skip
    assert datetime.fromisoformat(order_made["difference"]["at"]) == now
    whole = {"business_id": "b1", "at": now.isoformat(), "mode": "difference"}
    assert program.post("/api/v1/restores", json=whole).status_code == 202
    wrong = (
        {**body, "restore_type": "full"},
        {**body, "at": "2026-11-30T14:05:00"},
        {**body, "backup_id": backup_id},
        {**body, "at": (now + timedelta(days=1)).isoformat()},
        {**body, "changes": []},
        {"business_id": "b1", "restore_type": "full"},
    )
    sent = len(asked.launched)
    for each in wrong:
        assert program.post("/functions/v1/data-restore", json=each).status_code == 422, each
    of_system = {"backup_id": shop.backups()[0].backup_id, "mode": "difference"}
    for each in ({**whole, "mode": "upsert"}, {**whole, "target": "staging"}, of_system):
        assert program.post("/api/v1/restores", json=each).status_code == 422, each
    early = {**body, "at": "2001-01-01T00:00:00Z"}
    assert program.post("/functions/v1/data-restore", json=early).status_code == 404
    own = program_of(shop.console, P.RESTORES_REQUEST, name="of b2", business="b2")
    assert own.post("/functions/v1/data-restore", json=body).status_code == 404
    assert len(asked.launched) == sent
