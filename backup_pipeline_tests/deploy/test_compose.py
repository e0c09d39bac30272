"""deploy/compose: what it says is known here; its services are started as processes, by its own commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.settings import PROJECT, Settings
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.deploy.test_celery import BIN, running_process
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.postgres import temporary_database

FOLDER = PROJECT / "deploy" / "compose"
OURS = ("code", "web", "daemon", "console")


def _services() -> Mapping[str, Any]:
    services: Mapping[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return services


def test_its_variables_are_settings_and_its_containers_may_do_nothing_else() -> None:
    known = {f"BACKUP_{name.upper()}" for name in Settings.model_fields} | {"DAGSTER_PG_URL", "DAGSTER_HOME"}
    dockerfile = (FOLDER / "Dockerfile").read_text()
    baked = set(re.findall(r"\b((?:BACKUP|DAGSTER)_\w+)=", dockerfile))
    for name in OURS:
        service = _services()[name]
        set_here = {variable for variable in service["environment"] if not variable.startswith("AWS_")}
        assert set_here | baked <= known, name
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "USER 10001" in dockerfile
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*) \S+$", dockerfile, re.MULTILINE)
    assert len(copied) == 3
    assert all((PROJECT / name).exists() for line in copied for name in line.split())
    assert (PROJECT / "backup_pipeline/installation/dagster.production.yaml").is_file()


def test_what_the_image_writes_is_on_volumes_since_its_root_is_read_only() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    written = dict(re.findall(r"\b(BACKUP_HOME|BACKUP_WORK_DIR|DAGSTER_HOME)=(\S+)", dockerfile))
    places = {written["BACKUP_HOME"], written["BACKUP_WORK_DIR"], f"{written['DAGSTER_HOME']}/compute_logs"}
    [install] = re.findall(r"install -d -o 10001 -g 10001 -m 0700((?:[\s\\]+/\S+)+)", dockerfile)
    assert places | {written["DAGSTER_HOME"]} <= set(install.replace("\\", "").split())
    for name in OURS:
        service = _services()[name]
        assert places <= {volume.split(":")[1] for volume in service["volumes"] if not volume.endswith(":ro")}
        assert service["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("name", ["compose/compose.yaml", "compose/Dockerfile", "helm/values.yaml"])
def test_what_could_not_be_run_says_so_at_its_top(name: str) -> None:
    paths = list((PROJECT / "deploy").glob(name))
    assert paths
    assert [path for path in paths if not path.read_text().startswith("# untested")] == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_services_run_as_processes_and_make_a_backup(
    install: Install, postgres_server: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    ports = {name: str(free_port()) for name in ("4000", "3000", "3001")}
    with ExitStack() as stack:
        site = stack.enter_context(install())
        site = replace(site, ledger_url=stack.enter_context(temporary_database(postgres_server)))
        site.configure(BACKUP_LEDGER_URL=site.ledger_url)  # an empty one
        workspace = tmp_path / "workspace.yaml"
        text = (FOLDER / "workspace.yaml").read_text()
        workspace.write_text(text.replace("host: code", "host: 127.0.0.1").replace("4000", ports["4000"]))
        shutil.copy(
            PROJECT / "backup_pipeline/installation/dagster.production.yaml", site.home / "dagster/dagster.yaml"
        )
        # Names of containers become this machine, and the databases and the store those of the test.
        here = {
            "DAGSTER_PG_URL": fresh_database,
            "BACKUP_DAGSTER_URL": f"http://127.0.0.1:{ports['3000']}",
            "BACKUP_DAGSTER_API_URL": f"http://127.0.0.1:{ports['3000']}",
            "BACKUP_CONSOLE_KEY": "a key that is long enough for a test",
        }
        skipped = {"BACKUP_CATALOGS", "BACKUP_LEDGER_URL", "BACKUP_STORE", "BACKUP_S3_ENDPOINT_URL", "BACKUP_S3_REGION"}
        for name in OURS:
            service = _services()[name]
            given = {key: value for key, value in service["environment"].items() if key not in skipped}
            words = [_word(word, ports, workspace) for word in service["command"]]
            log = tmp_path / f"{name}.log"
            stack.enter_context(running_process(log, BIN / words[0], *words[1:], **{**given, **here}))
            if name == "code":
                probe = [_word(word, ports, workspace) for word in service["healthcheck"]["test"][1:]]
                until(lambda probe=probe: _succeeds(BIN / probe[0], *probe[1:]), 120, every=2)  # type: ignore[misc]
            if name == "daemon":
                page = (PROJECT / "docs" / "deployment.md").read_text()
                [words] = re.findall(
                    r"docker compose run --rm console backup-pipeline (rebuild --confirm) +# once", page
                )
                assert _succeeds(BIN / "backup-pipeline", *words.split())
        until(lambda: _answers(f"http://127.0.0.1:{ports['3000']}/server_info"), 90)
        until(lambda: _answers(f"http://127.0.0.1:{ports['3001']}/healthz"), 90)
        site.configure(DAGSTER_PG_URL=fresh_database)
        tags = json.dumps({"dagster/partition": site.today.isoformat()})
        launch = ["dagster", "job", "launch", "-w", str(workspace), "-j", "shop_full_backup", "--tags", tags]
        assert _succeeds(BIN / launch[0], *launch[1:])
        until(lambda: any(row.status.good for row in site.attempts()), 150, every=1)
        assert len(site.backups()) == 2


def _word(word: str, ports: Mapping[str, str], workspace: Path) -> str:
    if word == "0.0.0.0":
        return "127.0.0.1"
    return str(workspace) if word.startswith("/etc/") else ports.get(word, word)


def _succeeds(*command: str | Path) -> bool:
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, capture_output=True, env=dict(os.environ), timeout=120, check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
