"""The files of deploy/ as what reads them sees them: Compose, systemd, Prometheus, Dagster, the chart's schema."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from backup_pipeline.settings import PROJECT

DEPLOY = PROJECT / "deploy"


def program(name: str, package: str) -> str:
    """Where a program is; the test is skipped without it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return path


def answered(*command: str | Path, cwd: Path | None = None) -> str:
    """What a program says, which has to like what it reads."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_compose_reads_its_file(tmp_path: Path) -> None:
    compose = program("docker-compose", "docker-compose")
    shutil.copytree(DEPLOY / "compose", tmp_path / "compose")
    page = (PROJECT / "docs" / "deployment.md").read_text()
    [names] = re.findall(r"printf '((?:\w+=\S+\\n)+)'", page)
    (tmp_path / "compose" / ".env").write_text(re.sub(r"%s|…", "x", names.replace("\\n", "\n")))
    read = yaml.safe_load(answered(compose, "config", cwd=tmp_path / "compose"))
    assert {"code", "web", "daemon", "console", "postgres"} <= read["services"].keys()
    console = read["services"]["console"]["environment"]
    assert console["BACKUP_LEDGER_URL"] == "postgresql://backup:x@postgres/backup_ledger"


def test_prometheus_reads_its_rules() -> None:
    promtool = program("promtool", "prometheus")
    rules = DEPLOY / "monitoring" / "rules.yaml"
    count = sum(len(group["rules"]) for group in yaml.safe_load(rules.read_text())["groups"])
    assert f"SUCCESS: {count} rules found" in answered(promtool, "check", "rules", rules)


def test_systemd_reads_its_units(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    for unit in (DEPLOY / "systemd").iterdir():
        # The program of an installation is not here; that a command is one at all is what systemd looks at.
        text = re.sub(r"(?m)^(Exec\w+=)/srv/backups/venv/bin/backup-pipeline", r"\1/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    units = sorted(tmp_path.iterdir())
    assert len(units) == 3
    assert answered(analyze, "verify", "--man=no", *units).strip() == ""


def _concurrency(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of dagster.yaml that the chart makes of these values (dagsterYaml.concurrency, 1.12 and later)."""
    wanted = values["concurrency"]
    assert wanted.pop("enabled") is True
    assert values["dagsterDaemon"]["runCoordinator"]["type"] == "QueuedRunCoordinator"
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    return {
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {re.sub(r"([A-Z])", r"_\1", name).lower(): value for name, value in queue.items()},
        },
        "concurrency": {
            "pools": {"default_limit": wanted["pools"]["defaultLimit"], "granularity": wanted["pools"]["granularity"]},
            "runs": {"max_concurrent_runs": wanted["runs"]["maxConcurrentRuns"]},
        },
    }


def test_dagster_takes_the_limits_of_the_charts_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(_concurrency(values)))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        limits = instance.get_concurrency_config()
    assert limits.pool_config.default_pool_limit == 1
    assert str(limits.pool_config.pool_granularity) == "PoolGranularity.RUN"
    assert limits.run_queue_config is not None
    assert limits.run_queue_config.max_concurrent_runs == 4


def _merged(usual: Any, given: Any) -> Any:
    if not isinstance(usual, dict) or not isinstance(given, dict):
        return given
    return {**usual, **{name: _merged(usual.get(name), value) for name, value in given.items()}}


def _without_remote(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_remote(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _without_remote(part) for name, part in schema.items()}
    return {n: p for n, p in kept.items() if n != "$ref" or not str(p).startswith("http")}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A copy of Dagster's chart, whose schemas refer to nothing on the network."""
    given = Path(os.environ.get("DAGSTER_CHART", ""))
    if not (given / "values.schema.json").is_file():
        pytest.skip("Dagster's chart is not at hand (DAGSTER_CHART: helm/dagster of a checkout of dagster-io/dagster)")
    shutil.copytree(given, tmp_path / "chart")
    for schema in (tmp_path / "chart").rglob("values.schema.json"):
        schema.write_text(json.dumps(_without_remote(json.loads(schema.read_text()))))
    return tmp_path / "chart"


def test_the_charts_schema_takes_the_values(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    given = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    assert given.keys() <= schema["properties"].keys()
    jsonschema.validate(_merged(yaml.safe_load((chart / "values.yaml").read_text()), given), schema)


def test_dagster_takes_what_helm_draws_of_the_chart(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helm = pytest.importorskip("helm_python", reason="Helm is not installed (PyPI: helm-python-sdk)")
    with helm.Chart.load(chart) as loaded:
        drawn = loaded.render(yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text()), namespace="backups")
    documents = [yaml.safe_load(text) for name, text in drawn.items() if "configmap-instance" in name]
    (chart / "dagster.yaml").write_text(documents[0]["data"]["dagster.yaml"])
    monkeypatch.setenv("DAGSTER_HOME", str(chart))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "x")
    config, _ = dagster_instance_config(str(chart))
    assert config["concurrency"]["runs"] == {"max_concurrent_runs": 4}
    assert config["event_log_storage"]["config"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    assert config["run_launcher"]["config"]["volume_mounts"] == [{"mountPath": "/work", "name": "work"}]
