"""Tests of the package without a checkout around it, as a wheel installs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backup_pipeline
from backup_pipeline.core.errors import SettingsError
from backup_pipeline.settings import Settings
from backup_pipeline.wiring import embedded
from backup_pipeline_tests.environment import kept_environment

PACKAGE = Path(backup_pipeline.__file__).parent
TELL_HOME = """
from backup_pipeline.settings import PROJECT, Settings
print(PROJECT, Settings().home, sep="\\n")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages with a copy of ours in it."""
    found = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, found / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return found


def environment(site: Path, **more: str) -> dict[str, str]:
    return {**kept_environment("PYTHON"), "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", **more}


def test_its_state_is_kept_where_it_runs_and_never_among_the_packages(site: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-c", TELL_HOME]
    told = subprocess.run(run, cwd=tmp_path, env=environment(site), capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [str(site), str(tmp_path / ".backup_pipeline")]


def test_without_a_dagster_yaml_it_says_so_before_it_starts_anything(site: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-c", "import sys; from backup_pipeline.cli import main; sys.exit(main())", "up"]
    ended = subprocess.run(
        run, cwd=tmp_path, env=environment(site), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "DAGSTER_HOME is not set" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / ".backup_pipeline").exists()


def test_with_a_dagster_home_it_needs_no_dagster_yaml_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "PROJECT", tmp_path)
    assert embedded._dagster_home(Settings(home=tmp_path, dagster_home=tmp_path / "mine")) == {}
    with pytest.raises(SettingsError, match="DAGSTER_HOME is not set"):
        embedded._dagster_home(Settings(home=tmp_path, dagster_home=None))


def test_in_a_checkout_dagster_gets_the_projects_files(tmp_path: Path) -> None:
    found = embedded._dagster_home(Settings(home=tmp_path, dagster_home=None))
    assert found == {"DAGSTER_HOME": str(tmp_path / "dagster")}
    assert (tmp_path / "dagster" / "dagster.yaml").read_bytes() == (PACKAGE.parent / "dagster.yaml").read_bytes()
    assert Settings.model_fields["home"].get_default(call_default_factory=True) == PACKAGE.parent / ".backup_pipeline"
