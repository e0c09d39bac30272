"""Two catalogs in a Dagster project of somebody's, made and run with Dagster's own tools and the default executor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from backup_pipeline.cli import main
from backup_pipeline.core.manifest import read_manifest
from backup_pipeline.orchestration.keys import Automation
from backup_pipeline.settings import given_settings
from backup_pipeline_tests.environment import kept_environment
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import SHOP_YAML, TABLES, Installation

FILES = {
    "pyproject.toml": """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "mine"
code_location_target_module = "mine.definitions"
""",
    "src/mine/__init__.py": "",
    "src/mine/definitions.py": """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
    "src/mine/defs/__init__.py": "",
    # A key prefix like a catalog's name, and a resource and a sensor of their own: nothing of it is ours.
    "src/mine/defs/own.py": """
import dagster as dg

class Clock(dg.ConfigurableResource):
    zone: str = "UTC"

@dg.asset(key=["shop", "clean"], deps=[["shop", "bundle"]])
def clean(context: dg.AssetExecutionContext, clock: Clock) -> None:
    context.log.info(clock.zone)

@dg.run_failure_sensor
def my_alarm(context: dg.RunFailureSensorContext) -> None: ...

@dg.definitions
def own() -> dg.Definitions:
    return dg.Definitions(assets=[clean], sensors=[my_alarm], resources={"clock": Clock()})
""",
    "src/mine/backups.py": """
from collections.abc import Iterator
import dagster as dg
from backup_pipeline import BackupComponent
from backup_pipeline.component import BackupAsset
from backup_pipeline.orchestration.keys import Event

class LoudBackups(BackupComponent):
    def get_asset_spec(self, spec: dg.AssetSpec, asset: BackupAsset) -> dg.AssetSpec:
        return super().get_asset_spec(spec, asset).merge_attributes(tags={"mine": asset.name})

    def execute(self, context: dg.AssetExecutionContext, events: Iterator[Event]) -> Iterator[Event]:
        context.log.info("Mine begins.")
        yield from events
        context.log.info("Mine has ended.")
""",
    "src/mine/defs/people/catalog.yaml": """
catalog: people
timezone: Asia/Dhaka
tables:
  customers:
    exclude: {password: hashes stay in the database}
  orders:
excluded:
  - {table: "*", reason: the other catalog has them}
""",
    "src/mine/defs/people/defs.yaml": """
type: mine.backups.LoudBackups
attributes:
  catalog: catalog.yaml
  source_url: "{{ env.SHOP_URL }}"
  ledger_url: "{{ env('LEDGER_URL') }}"
  store: "{{ env.STORE }}"
  automation: running
  workers: 1
  translation:
    key: "company/{{ spec.key.to_user_string() }}"
    group_name: hr
""",
}
SHOP_DEFS = """
type: backup_pipeline.BackupComponent
attributes:
  catalog: catalog.yaml
  source_url: "{{ env.SHOP_URL }}"
  ledger_url: "{{ env.LEDGER_URL }}"
  store: "{{ env.STORE }}"
"""


@dataclass(frozen=True)
class Project:
    """The project, and the installation whose databases it works with."""

    folder: Path
    installation: Installation
    environment: Mapping[str, str]

    def dg(self, *arguments: str) -> str:
        """What `dg` answers."""
        command = [str(Path(sys.executable).with_name("dg")), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout


@pytest.fixture(scope="module")
def project(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project in which the shop was scaffolded beside what was there."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.lstrip())
    with install() as installation:
        environment = {
            **kept_environment(),
            "PYTHONPATH": str(folder / "src"),
            "DAGSTER_HOME": str(installation.home / "dagster"),
            "BACKUP_HOME": str(installation.home),
            "SHOP_URL": installation.source_url,
            "LEDGER_URL": installation.ledger_url,
            "STORE": (installation.home / "store").as_uri(),
        }
        made = Project(folder, installation, environment)
        made.dg("scaffold", "defs", "backup_pipeline.BackupComponent", "shop")
        yield made


@pytest.mark.slow
def test_the_component_is_listed_and_its_scaffold_names_addresses_by_their_variables(project: Project) -> None:
    listed = json.loads(project.dg("list", "components", "--json"))
    assert "backup_pipeline.BackupComponent" in {component["key"] for component in listed["items"]}
    scaffolded = project.folder / "src/mine/defs/shop"
    text = (scaffolded / "defs.yaml").read_text()
    assert "type: backup_pipeline.BackupComponent" in text
    assert "{{ env.BACKUP_SOURCE_URL }}" in text
    assert "automation: stopped" in text
    assert "catalog: shop" in (scaffolded / "catalog.yaml").read_text()


@pytest.fixture(scope="module")
def filled_in(project: Project) -> Project:
    """The project, with the scaffolded files filled in."""
    shop = project.folder / "src/mine/defs/shop"
    (shop / "catalog.yaml").write_text(SHOP_YAML)
    (shop / "defs.yaml").write_text(SHOP_DEFS)
    return project


@pytest.mark.slow
def test_dg_checks_the_definitions(filled_in: Project) -> None:
    assert "All definitions loaded successfully" in filled_in.dg("check", "defs")


def test_two_catalogs_stand_beside_a_project_of_somebodys_without_a_name_in_common(filled_in: Project) -> None:
    listed = json.loads(filled_in.dg("list", "defs", "--json"))
    names = {kind: {entry.get("asset_key") or entry["name"] for entry in entries} for kind, entries in listed.items()}
    assert names["assets"] >= {f"shop/{table}" for table in (*TABLES, "bundle", "clean")}
    assert names["assets"] >= {"company/people/customers", "company/people/orders", "company/people/bundle"}
    assert {entry["group_name"] for entry in listed["assets"] if entry["asset_key"].startswith("company/")} == {"hr"}
    [bundle] = [entry for entry in listed["assets"] if entry["asset_key"] == "company/people/bundle"]
    assert set(bundle["dependency_keys"]) == {"company/people/customers", "company/people/orders"}
    assert names["resources"] >= {"clock", "shop_backups", "people_backups"}
    assert names["sensors"] >= {"my_alarm", "shop_backup_failed", "people_backup_failed"}
    assert not {"purge_events", "backup_failed"} & (names["jobs"] | names["sensors"])


IN_PROCESS = ("--config-json", json.dumps({"execution": {"config": {"in_process": {}}}}))


@pytest.mark.parametrize(
    "executor", [pytest.param((), id="default", marks=pytest.mark.slow), pytest.param(IN_PROCESS, id="in process")]
)
def test_all_of_the_project_materializes_in_one_run(filled_in: Project, executor: tuple[str, ...]) -> None:
    """By the default executor, a process for each step; and in one process, in a quarter of the time."""
    installation = filled_in.installation
    filled_in.dg("launch", "--assets", "*", "--partition", installation.today.isoformat(), *executor)
    with installation.instance() as instance:
        run = instance.get_runs(limit=1)[0]
        assert run.status is dg.DagsterRunStatus.SUCCESS
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
        messages = [entry.user_message for entry in instance.all_logs(run.run_id)]
    made = {event.asset_key.to_user_string() for event in events if event.is_step_materialization and event.asset_key}
    assert made == {f"shop/{name}" for name in (*TABLES, "bundle", "clean")} | {
        f"company/people/{name}" for name in ("customers", "orders", "bundle")
    }
    assert messages.count("Mine begins.") == messages.count("Mine has ended.") == 2  # the step of tables, the bundle's
    rows = {row.scope.catalog: row for row in installation.attempts() if row.run_id == run.run_id}
    assert {name: row.status.good for name, row in rows.items()} == {"shop": True, "people": True}
    owner = rows["shop"].owner
    assert owner is not None
    assert run.run_id in owner.host  # a run's, not a process's: that of the tables ends before the bundle is begun
    manifest = next(key for key in installation.store_keys("people/backups/") if key.endswith("manifest.json"))
    tables = read_manifest(installation.store.get(manifest), manifest).tables
    assert {table.name: table.row_count for table in tables} == {"customers": 500, "orders": 1200}


def test_what_the_command_line_proves_stands_at_the_bundle_where_the_project_has_put_it(
    filled_in: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the test before, whose run made the bundle; the command line knows the catalog's file alone."""
    installation = filled_in.installation
    monkeypatch.setenv("BACKUP_CATALOGS", str(filled_in.folder / "src/mine/defs/people/catalog.yaml"))
    assert main(["verify", "latest", "--catalog", "people"]) == 0
    key = dg.AssetKey(["company", "people", "bundle"])
    with installation.instance() as instance:
        check = dg.AssetCheckKey(key, "verified")
        [entry] = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
        [record] = instance.fetch_materializations(key, limit=1).records
    assert entry.evaluation is not None
    assert entry.evaluation.passed
    target = entry.evaluation.target_materialization_data
    assert target is not None
    assert target.storage_id == record.storage_id


def test_no_password_stands_in_what_dagster_keeps() -> None:
    """The variables are known by their names; what is given as text goes where Dagster does not look."""
    from backup_pipeline.orchestration.resources import BackupResource

    literal = BackupResource(
        source_url="postgresql://me:hush-hush@db/x", ledger_url=dg.EnvVar("LEDGER_URL"), defaults=given_settings()
    )

    @dg.asset(required_resource_keys={"shop_backups"})
    def mine() -> None: ...

    definitions = dg.Definitions(assets=[mine], resources={"shop_backups": literal})
    repository: Any = definitions.get_repository_def()
    from dagster._core.remote_representation.external_data import RepositorySnap

    snapshot = dg.serialize_value(RepositorySnap.from_def(repository))
    assert "LEDGER_URL" in snapshot
    assert "hush-hush" not in snapshot
    assert literal.settings.source_url is not None
    assert literal.settings.source_url.get_secret_value().endswith("@db/x")
    assert Automation(prefix="shop").named("backup_failed") == "shop_backup_failed"
