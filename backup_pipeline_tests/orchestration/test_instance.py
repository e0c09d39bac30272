"""The instance of `dagster.yaml`: it loads whole, and what it leaves to the environment follows the environment."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import pytest
import yaml
from dagster._core.launcher.base import WorkerStatus
from dagster._core.scheduler import DagsterDaemonScheduler
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_postgres import PostgresRunStorage

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ledger import Owner
from backup_pipeline.ledger import this_owner
from backup_pipeline.orchestration.instance import SupervisedRunLauncher, psycopg2_url
from backup_pipeline.orchestration.keys import OWNER_TAG, owner_tag, read_owner_tag
from backup_pipeline.settings import PROJECT
from backup_pipeline.wiring.installation import FILES
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.environment import bare_environment
from backup_pipeline_tests.orchestration.installation import TABLES, Installation

DAEMONS = {
    "SENSOR",
    "BACKFILL",
    "SCHEDULER",
    "QUEUED_RUN_COORDINATOR",
    "MONITORING",
    "EVENT_LOG_CONSUMER",
    "ASSET",
    "FRESHNESS_DAEMON",
}


@pytest.fixture(scope="module")
def instance(dagster_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("instance") / "home"
    shutil.copytree(dagster_template, home)
    with bare_environment() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as found:
            yield found


def test_every_daemon_is_required(instance: dg.DagsterInstance) -> None:
    assert set(instance.get_required_daemon_types()) == DAEMONS


def test_every_setting_of_the_file_is_in_force(instance: dg.DagsterInstance) -> None:
    written = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert isinstance(instance.run_launcher, SupervisedRunLauncher)
    assert isinstance(instance.scheduler, DagsterDaemonScheduler)
    assert (instance.scheduler.max_catchup_runs, instance.scheduler.max_tick_retries) == (1, 3)
    limits = instance.get_concurrency_config()
    assert limits.run_queue_config is not None
    assert limits.run_queue_config.max_concurrent_runs == 4
    assert limits.pool_config.default_pool_limit == 1
    assert str(limits.pool_config.pool_granularity).endswith("RUN")
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_settings == written["run_monitoring"]
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 0
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert instance.code_server_settings == written["code_servers"]
    assert instance.get_settings("schedules") == written["schedules"]
    assert instance.get_settings("sensors") == written["sensors"]
    assert instance.get_settings("retention") == written["retention"]


def test_without_a_url_storage_is_sqlite_and_compute_logs_are_local(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_storage, SqliteRunStorage)
    assert isinstance(instance.compute_log_manager, LocalComputeLogManager)
    assert str(instance.compute_log_manager._base_dir).startswith(os.environ["DAGSTER_HOME"])


def test_with_a_bucket_compute_logs_go_to_s3(installation: Installation) -> None:
    installation.configure(
        BACKUP_COMPUTE_LOG_BUCKET="logs", BACKUP_S3_ENDPOINT_URL="http://127.0.0.1:9", BACKUP_S3_REGION="eu-x-1"
    )
    with installation.instance() as instance:
        manager = instance.compute_log_manager
        assert isinstance(manager, S3ComputeLogManager)
        assert (manager._s3_bucket, manager._s3_prefix) == ("logs", "dagster")
        assert manager._s3_session.meta.endpoint_url == "http://127.0.0.1:9"
        assert manager._region == "eu-x-1"


def test_with_a_url_storage_is_postgres_and_a_backup_runs_on_it(
    installation: Installation, fresh_database: str
) -> None:
    installation.configure(DAGSTER_PG_URL=fresh_database)
    result = installation.run()
    assert result.success, result
    with installation.instance() as instance:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert instance.get_run_by_id(result.run_id) is not None
        for asset in (*TABLES, "bundle"):
            key = dg.AssetKey(["shop", asset])
            assert instance.get_materialized_partitions(key) == {installation.today.isoformat()}
    with psycopg.connect(fresh_database) as session:
        checks = session.execute(
            "SELECT execution_status, c.partition, e.asset_key = c.asset_key AND e.partition = c.partition, count(*)"
            " FROM asset_check_executions c LEFT JOIN event_logs e ON e.id = materialization_event_storage_id"
            " GROUP BY 1, 2, 3"
        ).fetchall()
    # Each check stands once, as made for its date, of the materialization of this run: none is left as planned.
    assert checks == [("SUCCEEDED", installation.today.isoformat(), True, 4 * len(TABLES) + 2)]


def test_in_production_nothing_runs_on_sqlite(fresh_database: str, tmp_path: Path) -> None:
    shutil.copy(FILES / "dagster.production.yaml", tmp_path / "dagster.yaml")
    with bare_environment() as environment:
        environment.setenv("DAGSTER_HOME", str(tmp_path))
        with pytest.raises(dg.DagsterInvalidConfigError, match="DAGSTER_PG_URL"):
            dg.DagsterInstance.get()
        environment.setenv("DAGSTER_PG_URL", fresh_database)
        with dg.DagsterInstance.get() as found:
            assert isinstance(found.run_storage, PostgresRunStorage)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_the_url_of_the_storage_names_the_driver_that_dagster_speaks(scheme: str) -> None:
    assert psycopg2_url(f"{scheme}://u:p%40@h:1/d?x=y") == "postgresql+psycopg2://u:p%40@h:1/d?x=y"


@pytest.mark.parametrize("url", ["mysql://u:hush@h/d", "u:hush@h/d", ""])
def test_a_storage_url_of_another_kind_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        psycopg2_url(url)
    assert "postgresql://" in caught.value.do
    assert "hush" not in str(caught.value)


def test_an_owner_survives_being_a_tag() -> None:
    assert read_owner_tag(owner_tag(this_owner())) == this_owner()
    assert read_owner_tag("") is None


def _health(instance: dg.DagsterInstance, **tags: str) -> WorkerStatus:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    launcher = instance.run_launcher
    assert isinstance(launcher, SupervisedRunLauncher)
    assert launcher.supports_check_run_worker_health
    return launcher.check_run_worker_health(run).status


def test_a_run_of_the_command_line_lives_as_long_as_its_process(instance: dg.DagsterInstance) -> None:
    assert _health(instance, **{OWNER_TAG: owner_tag(this_owner())}) is WorkerStatus.RUNNING
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = Owner(socket.gethostname(), process.pid, psutil.Process(process.pid).create_time())
        assert _health(instance, **{OWNER_TAG: owner_tag(owner)}) is WorkerStatus.RUNNING
        process.kill()
    assert _health(instance, **{OWNER_TAG: owner_tag(owner)}) is WorkerStatus.NOT_FOUND


def test_a_process_id_that_was_given_out_again_is_not_the_owner(instance: dg.DagsterInstance) -> None:
    another = replace(this_owner(), started=this_owner().started - 3600)
    assert _health(instance, **{OWNER_TAG: owner_tag(another)}) is WorkerStatus.NOT_FOUND


def test_a_process_of_another_host_is_left_in_peace(instance: dg.DagsterInstance) -> None:
    elsewhere = replace(this_owner(), host="elsewhere.example", pid=999_999)
    assert _health(instance, **{OWNER_TAG: owner_tag(elsewhere)}) is WorkerStatus.RUNNING


def test_a_run_whose_code_server_is_gone_is_dead(instance: dg.DagsterInstance) -> None:
    address = json.dumps({"host": "127.0.0.1", "port": free_port()})
    assert _health(instance, **{GRPC_INFO_TAG: address}) is WorkerStatus.NOT_FOUND


def test_of_a_run_that_no_server_is_known_of_nothing_is_claimed(instance: dg.DagsterInstance) -> None:
    assert _health(instance) is WorkerStatus.UNKNOWN
