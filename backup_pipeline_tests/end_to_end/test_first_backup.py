"""What a newcomer types first: one command, nothing configured, and a real backup is there."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from backup_pipeline.demo import ISP
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.environment import kept_environment
from backup_pipeline_tests.reachable import open_to_others


def _environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    return {**kept_environment(), "BACKUP_HOME": str(home), **settings}


def _run(home: Path, words: Sequence[str], **settings: str) -> subprocess.CompletedProcess[str]:
    program = "import os; os.umask(0o022); from backup_pipeline.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(
        command,
        env=_environment(home, settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=home.parent,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a machine on which the demo was made small, and nothing else."""
    home = tmp_path_factory.mktemp("newcomer") / "state"
    done = _run(home, ["demo", "--scale", "0.02"])
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def summary(home: Path) -> dict[str, object]:
    """What the first backup prints as JSON."""
    done = _run(home, ["backup", "--json", "--reason", "the first"])
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.acceptance("1.1")
def test_the_first_backup_holds_every_row_of_the_demo(home: Path, summary: dict[str, object]) -> None:
    expected = ISP.rows(0.02)
    tables = summary["tables"]
    assert isinstance(tables, dict)
    assert len(tables) == 24
    assert all(rows > 0 for rows in tables.values())
    counted = {name: rows for name, rows in tables.items() if name in expected}
    assert counted == {name: expected[name] for name in counted}
    assert "customers" in counted
    with zipfile.ZipFile(home / "store" / str(summary["bundle"])) as bundle:
        assert bundle.testzip() is None
        assert "sheets/Customers.csv" in bundle.namelist()


@pytest.mark.acceptance("1.6")
def test_no_secret_of_the_demo_is_in_the_bundle(home: Path, summary: dict[str, object]) -> None:
    with zipfile.ZipFile(home / "store" / str(summary["bundle"])) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    assert not [name for name, content in members.items() if b"s3cr3t-" in content]


def test_the_first_backup_leaves_no_process_behind(home: Path, summary: dict[str, object]) -> None:
    assert summary["status"] == "success"
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])]


def test_no_other_user_of_the_machine_can_read_or_list_anything_of_it(home: Path, summary: dict[str, object]) -> None:
    del summary
    written = [found for found in home.rglob("*") if found.is_file()]
    assert len(written) > 50
    assert list(open_to_others(home)) == []
    ours = [found for found in written if home / "postgres" not in found.parents]  # PostgreSQL has its own rule
    assert [str(found) for found in ours if found.stat().st_mode & 0o077] == []


def test_one_table_again_is_a_selective_backup(home: Path, summary: dict[str, object]) -> None:
    done = _run(home, ["backup", "--table", "customers", "--json"])
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert list(again["tables"]) == ["customers"]
    assert "-selective-" in again["backup_id"]
    assert again["backup_id"] != summary["backup_id"]


@pytest.mark.acceptance("1.14")
def test_the_backup_is_listed_verified_and_shown(home: Path, summary: dict[str, object]) -> None:
    backup_id = str(summary["backup_id"])
    listed = _run(home, ["list", "--json"])
    assert backup_id in listed.stdout
    assert _run(home, ["verify", backup_id]).returncode == 0
    assert "the first" in _run(home, ["show", backup_id]).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["backup", "--table", "customer"], 2, "customers"),
        (["backup", "--date", "2026-01-02"], 21, "--late"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (["backup", "--catalog", "shop"], 10, "isp_customers"),
                (["show", "20200101T000000Z-full-00000000"], 10, "backup-pipeline list"),
                (["verify", "nonsense"], 2, "20261120T180000Z-full-1f3a9c2e"),
            )
        ),
    ],
)
def test_a_wrong_request_says_what_to_do(
    home: Path, summary: dict[str, object], words: list[str], code: int, said: str
) -> None:
    del summary
    done = _run(home, words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_says_each_table_and_who_could_not_be_told(
    home: Path, summary: dict[str, object], tmp_path: Path
) -> None:
    del summary
    text = (BUILT_IN_CATALOGS / "isp.yaml").read_text(encoding="utf-8")
    wrong = text.replace("  payments:\n", "  paymentz:\n").replace("area_id.name", "area_id.nme")
    (tmp_path / "isp.yaml").write_text(wrong, encoding="utf-8")
    settings = {"BACKUP_CATALOGS": str(tmp_path), "BACKUP_ALERT_URLS": "json://127.0.0.1:9/t0ken"}
    done = _run(home, ["backup"], **settings)
    assert done.returncode == 3
    assert "Did you mean public.payments?" in done.stderr
    assert "public.areas has: id, name" in done.stderr
    assert "Alert NOT delivered to json://127.0.0.1:9" in done.stderr
    assert "t0ken" not in done.stderr
