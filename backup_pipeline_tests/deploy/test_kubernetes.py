"""Runs as Jobs of Kubernetes, by dagster-k8s' launcher with what deploy/helm/values.yaml says of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest
import yaml

from backup_pipeline.core.ledger import Status
from backup_pipeline.settings import PROJECT
from backup_pipeline_tests.deploy.kubernetes_api import Kubernetes, kubernetes
from backup_pipeline_tests.deploy.test_celery import BIN, SLOW_VIEW, Cluster, can_name_hosts, running_process
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import until

VALUES = PROJECT / "deploy" / "helm" / "values.yaml"
# As the chart turns values into the launcher's configuration.
PLAIN = {
    "jobNamespace": "job_namespace",
    "imagePullPolicy": "image_pull_policy",
    "envVars": "env_vars",
    "labels": "labels",
    "volumes": "volumes",
    "volumeMounts": "volume_mounts",
    "resources": "resources",
    "securityContext": "security_context",
    "failPodOnRunFailure": "fail_pod_on_run_failure",
}
RUN = {"jobSpecConfig": "job_spec_config", "podSpecConfig": "pod_spec_config"}


def launcher_of(values: Mapping[str, Any], home: Path, kubeconfig: Path) -> dict[str, Any]:
    """The section `run_launcher` of dagster.yaml."""
    given = dict(values["runLauncher"]["config"]["k8sRunLauncher"])
    assert given.pop("loadInclusterConfig") is True
    secrets = [secret["name"] for secret in given.pop("envSecrets")]
    run = {RUN[name]: value for name, value in given.pop("runK8sConfig").items()}
    config = {PLAIN[name]: value for name, value in given.items()}
    deployment = values["dagster-user-deployments"]["deployments"][0]["image"]
    config |= {
        "env_secrets": secrets,
        "run_k8s_config": run,
        "job_image": f"{deployment['repository']}:{deployment['tag']}",
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": str(home),
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
    }
    return {"module": "dagster_k8s", "class": values["runLauncher"]["type"], "config": config}


def storage_of(values: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The sections for Dagster's storage in the database of `url`, as the chart makes them."""
    at = urlsplit(url)
    place = {"hostname": at.hostname, "port": at.port, "db_name": at.path.strip("/"), "username": at.username}
    place |= {"password": unquote(at.password or ""), "scheme": values["postgresql"]["postgresqlScheme"]}
    parts = {"schedule_storage": "Schedule", "run_storage": "Run", "event_log": "EventLog"}
    return {
        name if name.endswith("storage") else f"{name}_storage": {
            "module": f"dagster_postgres.{name}",
            "class": f"Postgres{kind}Storage",
            "config": {"postgres_db": place},
        }
        for name, kind in parts.items()
    }


def write_kubeconfig(path: Path, server: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "dagster", "user": {"token": "x"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "dagster"}}],
        "current-context": "here",
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def cluster(install: Install, fresh_database: str, tmp_path: Path) -> Iterator[tuple[Cluster, Kubernetes]]:
    if not can_name_hosts():
        pytest.skip("no process may get a host name of its own here (unshare)")
    values = yaml.safe_load(VALUES.read_text())
    with ExitStack() as stack:
        site = stack.enter_context(install())
        home = site.home / "dagster"
        # A pod gets what the secret holds, and nothing else of this environment.
        names = ("BACKUP_CATALOGS", "BACKUP_SOURCE_URL", "BACKUP_LEDGER_URL", "BACKUP_STORE", "BACKUP_ALERT_URLS")
        secret = {name: os.environ[name] for name in names}
        secret |= {"BACKUP_HOME": str(tmp_path / "pod-home"), "DAGSTER_PG_URL": fresh_database}
        opened = kubernetes(tmp_path, f"{BIN}:/usr/bin:/bin:/usr/sbin", {"backup-pipeline": secret})
        api, address = stack.enter_context(opened)
        written = yaml.safe_load((PROJECT / "backup_pipeline/installation/dagster.production.yaml").read_text())
        del written["storage"]
        written |= storage_of(values, fresh_database)
        written["run_launcher"] = launcher_of(values, home, write_kubeconfig(tmp_path / "kubeconfig", address))
        written["run_launcher"]["config"]["env_vars"] = [f"BACKUP_WORK_DIR={tmp_path / 'work'}"]
        (home / "dagster.yaml").write_text(yaml.safe_dump(written))
        site.configure(DAGSTER_PG_URL=fresh_database, BACKUP_AUTOMATION="running")
        with site.instance() as instance:
            instance.get_runs(limit=1)
        made = Cluster(site, tmp_path)
        daemon: list[str | Path] = [sys.executable, BIN / "dagster-daemon", "run", "-w", made.workspace]
        stack.enter_context(running_process(tmp_path / "daemon.log", *daemon))
        yield made, api


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_are_jobs_and_one_whose_pod_is_gone_is_taken_over(cluster: tuple[Cluster, Kubernetes]) -> None:
    made, api = cluster
    site = made.installation
    site.sql(SLOW_VIEW % 300)
    run_id = made.launch("shop_full_backup")
    until(lambda: made.attempt_is(run_id, Status.RUNNING), 150)
    [job] = api.jobs.values()
    pod = job.body["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert job.body["spec"]["backoffLimit"] == 0
    assert job.body["metadata"]["labels"]["app.kubernetes.io/part-of"] == "backups"
    assert container["resources"]["limits"] == {"memory": "2Gi"}
    assert container["securityContext"]["runAsNonRoot"] is True
    assert {"name": "work", "mountPath": "/work"} in container["volumeMounts"]
    assert pod["terminationGracePeriodSeconds"] == 120
    assert made.host_of(run_id).startswith(f"{job.name[:60]}/")  # a pod's process ids are its own
    until(lambda: any((made.logs / "work").rglob("*.parquet*")), 60)
    job.kill()
    until(lambda: made.attempt_is(run_id, Status.FAILED), 200)
    until(lambda: made.status(run_id) is dg.DagsterRunStatus.FAILURE, 60)
    assert site.backups() == []
    site.sql(SLOW_VIEW % 0)
    again = made.launch("shop_full_backup")
    until(lambda: made.is_good(again), 150)
    until(lambda: made.status(again) is dg.DagsterRunStatus.SUCCESS, 60)
    assert len(site.backups()) == 2
    until(lambda: api.jobs[max(api.jobs, key=lambda name: api.jobs[name].started)].process.poll() == 0, 60)


def test_events_are_written_into_the_charts_storage(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load(VALUES.read_text())
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(storage_of(values, fresh_database)))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("goods"))
        assert instance.get_latest_materialization_event(dg.AssetKey("goods")) is not None


def test_the_launcher_takes_what_the_values_say(tmp_path: Path) -> None:
    from dagster_k8s import K8sRunLauncher

    section = launcher_of(yaml.safe_load(VALUES.read_text()), tmp_path, tmp_path / "kubeconfig")
    fields = K8sRunLauncher.config_type()  # type: ignore[no-untyped-call]  # theirs
    assert section["config"].keys() <= fields.keys()
    known = fields["run_k8s_config"].config_type.fields
    assert section["config"]["run_k8s_config"].keys() <= known.keys()
