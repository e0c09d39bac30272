"""What Dagster sees of the built-in catalogs, and that its own tools load it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from backup_pipeline.core.errors import NotFoundError, SettingsError
from backup_pipeline.definitions import configured_catalogs
from backup_pipeline.demo import CAR_AUDIO
from backup_pipeline.embedded.cluster import make_role_password
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import BUILT_IN_CATALOGS, PROJECT, Settings, given_settings
from backup_pipeline.wiring.addresses import chosen_catalog
from backup_pipeline_tests.environment import kept_environment
from backup_pipeline_tests.orchestration.installation import isp_catalogs

ISP = [
    "customers",
    "payments",
    "invoices",
    "invoice_items",
    "billing_records",
    "transactions",
    "support_tickets",
    "ticket_comments",
    "service_tasks",
    "inventory_items",
    "stock_movements",
    "metered_usage_logs",
    "employees",
    "leave_requests",
    "payroll",
    "reminder_logs",
    "call_records",
    "mikrotik_users",
    "packages",
    "routers",
    "resellers",
    "reseller_customers",
    "reseller_commissions",
    "areas",
]
CHECKS = {"row_count", "key_unique", "shrinkage", "anomaly"}
KEYS = {("isp", table) for table in (*ISP, "bundle")} | {("isp_customers", "customers"), ("isp_customers", "bundle")}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return assemble(isp_catalogs(), Settings(catalogs=BUILT_IN_CATALOGS))


def test_every_table_and_bundle_is_an_asset_in_the_group_of_its_catalog(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert len(ISP) == 24
    assert {tuple(key.path) for key in graph.materializable_asset_keys} == KEYS
    assert all(graph.get(key).group_name == key.path[0] for key in graph.materializable_asset_keys)


def test_assets_carry_kinds_owners_descriptions_and_daily_partitions_in_dhaka(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.kinds == ({"zip"} if key.path[-1] == "bundle" else {"postgres", "parquet", "csv"})
        assert node.owners == ["team:data"]
        assert node.description
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert (node.partitions_def.timezone, node.partitions_def.end_offset) == ("Asia/Dhaka", 1)


def test_the_kind_of_the_bundle_says_s3_for_a_store_in_s3_alone() -> None:
    settings = Settings(catalogs=BUILT_IN_CATALOGS, store="s3://a-bucket/backups")
    graph = assemble(isp_catalogs(), settings).resolve_asset_graph()
    assert graph.get(dg.AssetKey(["isp", "bundle"])).kinds == {"s3", "zip"}


def test_the_bundle_is_downstream_of_every_table_and_each_table_of_what_it_is_read_from(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    bundle = dg.AssetKey(["isp", "bundle"])
    assert {key.path[-1] for key in graph.get(bundle).parent_keys} == set(ISP)
    for table in ISP:
        [source] = graph.get(dg.AssetKey(["isp", table])).parent_keys
        node = graph.get(source)
        assert (source.path[:2], node.group_name) == (["isp", "public"], "isp_source")
        assert (node.is_materializable, node.is_executable) == (False, False)
        assert "postgres" in node.kinds
        assert source.path[-1] in str(node.description)


def test_every_table_and_every_bundle_has_its_four_checks(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_asset_graph().asset_check_keys
    expected = {(path, name) for path in KEYS if path[1] != "bundle" for name in CHECKS}
    of_bundle = ("readable_from_store", "anomaly", "verified", "restores")
    expected |= {((catalog, "bundle"), name) for catalog in ("isp", "isp_customers") for name in of_bundle}
    assert {((key.asset_key.path[0], key.asset_key.path[1]), key.name) for key in keys} == expected


def test_the_tables_of_a_catalog_are_one_step_so_that_one_snapshot_spans_them(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("isp_full_backup")
    assert {node.name for node in job.nodes} == {"isp_tables", "isp_bundle"}
    assert job.executor_def.name == "in_process"


def test_jobs_schedules_and_sensors(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    assert jobs == {
        f"{catalog}_{job}"
        for catalog in ("isp", "isp_customers")
        for job in ("full_backup", "tables_only", "restore", "drill", "prune", "verify", "delete", "render")
    } | {"purge_events"}
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "isp_daily",
        "isp_customers_daily",
        "isp_drill_weekly",
        "isp_customers_drill_weekly",
        "isp_prune",
        "isp_customers_prune",
        "purge_events_weekly",
    }
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    assert set(sensors) == {
        "backup_failed",
        "backup_canceled",
        "backup_checks_failed",
        "backup_orphans",
        "backup_alerts",
        "backup_overdue",
    }


@pytest.mark.parametrize("automation", ["running", "stopped"])
def test_nothing_starts_by_itself_unless_automation_is_asked_for(automation: str) -> None:
    settings = Settings(catalogs=BUILT_IN_CATALOGS, automation=automation)
    repository = assemble(isp_catalogs(), settings).get_repository_def()
    switched = [sensor.default_status.value for sensor in repository.sensor_defs]
    switched += [schedule.default_status.value for schedule in repository.schedule_defs]
    assert switched == [automation.upper()] * 13


def test_the_catalogs_of_the_demo_are_there_only_where_nothing_else_is_configured(tmp_path: Path) -> None:
    own = SecretStr("postgresql://backup@db/shop")

    def configured(**values: object) -> set[str]:
        return set(configured_catalogs(given_settings(home=tmp_path, **values)))

    assert configured() == {"isp", "isp_customers"}
    assert configured(source_urls={"isp": own}) == {"isp"}
    assert configured(source_url=own, catalog="isp") == {"isp"}
    with pytest.raises(SettingsError, match="BACKUP_SOURCE_URL_SHOP is set, and no catalog") as caught:
        configured(source_urls={"shop": own})
    assert "`backup-pipeline catalog init`" in caught.value.do


def test_a_database_of_somebodys_own_is_backed_up_by_no_demos_catalog(tmp_path: Path) -> None:
    settings = given_settings(home=tmp_path, source_url=SecretStr("postgresql://backup@db/shop"))
    for asked in (lambda: configured_catalogs(settings), lambda: chosen_catalog(settings.catalog, settings)):
        with pytest.raises(SettingsError, match="BACKUP_SOURCE_URL is set, and no catalog says which tables"):
            asked()


def test_another_built_in_catalog_is_there_once_it_has_a_database(tmp_path: Path) -> None:
    own = SecretStr("postgresql://backup@db/events")

    def configured(**values: object) -> set[str]:
        return set(configured_catalogs(given_settings(home=tmp_path, **values)))

    assert configured(source_urls={"car_audio": own}) == {"car_audio"}
    assert configured(source_url=own, catalog="car_audio") == {"car_audio"}
    (tmp_path / "postgres").mkdir()
    make_role_password(tmp_path / "postgres", CAR_AUDIO.role)  # what making its demo leaves
    assert configured() == {"isp", "isp_customers", "car_audio"}


def test_a_catalog_without_a_database_says_what_would_bring_it_here(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no database here") as caught:
        chosen_catalog("car_audio", given_settings(home=tmp_path))
    assert "`backup-pipeline demo car_audio`" in caught.value.do


def _bare(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a plain shell: nothing of ours in it, but a folder for what Dagster keeps."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
    return {**kept_environment(), "DAGSTER_HOME": str(home)}


def _run(tmp_path: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=PROJECT, env=_bare(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("dagster", "definitions", "validate", "-w", "workspace.yaml"), marks=pytest.mark.slow),
        pytest.param(("dg", "check", "defs"), marks=pytest.mark.slow),
        ("dg", "list", "defs"),
    ],
    ids=" ".join,
)
def test_the_tools_of_dagster_load_the_project_in_a_bare_environment(command: tuple[str, ...], tmp_path: Path) -> None:
    said = _run(tmp_path, str(Path(sys.executable).with_name(command[0])), *command[1:])
    if command[1] == "list":
        assert "isp_full_backup" in said
        assert "isp_daily" in said
    else:
        assert "successful" in said or "loaded successfully" in said
