"""The program as scripts see it: exit codes, where things are printed, how quick it is, and what never shows."""

from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from backup_pipeline import __version__
from backup_pipeline.cli import app as app_module
from backup_pipeline.cli.app import EXIT_CODES, app, main
from backup_pipeline.core import errors
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation

HEAVY = {"dagster", "pyarrow", "pandas", "boto3", "obstore", "sqlalchemy", "psycopg", "apprise"}


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a process of its own."""
    command = [sys.executable, "-c", "import sys; from backup_pipeline.cli import main; sys.exit(main())", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")}
    return subprocess.run(command, capture_output=True, text=True, env=kept | environment, timeout=120, check=False)


def kinds(kind: type[errors.BackupError]) -> Iterator[type[errors.BackupError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from kinds(inner)


@pytest.mark.acceptance("3.38")
def test_every_error_has_an_exit_code_that_is_explained() -> None:
    assert {kind.exit_code for kind in kinds(errors.BackupError)} <= set(EXIT_CODES)


@pytest.mark.parametrize("command", [[], ["list"], ["verify"], ["catalog", "init"], ["backup"], ["up"], ["demo"]])
def test_every_command_has_help_that_is_worth_reading(command: list[str]) -> None:
    ended = CliRunner().invoke(app, [*command, "--help"])
    assert ended.exit_code == 0
    assert "Exit codes" in ended.output
    assert not command or "Examples" in ended.output


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys, backup_pipeline.cli
print([name for name, module in sys.modules.items() if type(module).__name__ != "_Unloaded"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert HEAVY & set(ast.literal_eval(ended.stdout)) == set()


def test_the_version_is_the_packages() -> None:
    ended = program("--version")
    assert (ended.returncode, ended.stdout) == (0, f"backup-pipeline {__version__}\n")


def test_only_the_program_itself_leaves_its_garbage_to_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: left.append("frozen"))
    monkeypatch.setattr(gc, "disable", lambda: left.append("off"))
    monkeypatch.setattr(sys, "argv", ["backup-pipeline", "--version"])
    assert main(["--version"]) == 0
    assert left == []
    assert main() == 0
    assert left == ["off", "frozen"]


@pytest.mark.parametrize(
    ("words", "made"), [(["list", "--help"], {"list"}), (["nope"], None), (["runs", "--help"], {"runs"})]
)
def test_only_the_command_that_is_wanted_is_made(words: list[str], made: set[str] | None) -> None:
    whole = typer.main.get_group(app).commands.keys()
    assert typer.main.get_group(app_module._narrowed(words)).commands.keys() == (made or whole)
    assert all(typer.main.get_group(app_module._narrowed([word])).commands.keys() == {word} for word in whole)


def test_without_a_command_the_help_is_shown() -> None:
    ended = program()
    assert "Usage: backup-pipeline" in ended.stdout + ended.stderr


@pytest.mark.parametrize("arguments", [("nope",), ("list", "--nope"), ("show",), ("list", "--limit", "many")])
def test_a_wrong_request_ends_with_2(arguments: tuple[str, ...]) -> None:
    ended = program(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_wrong_request_for_json_is_told_as_json() -> None:
    ended = program("list", "--limit", "many", "--json")
    told = json.loads(ended.stderr)
    assert (ended.returncode, told["message_type"], told["code"]) == (2, "exit_error", 2)
    assert "--limit" in told["message"]


def test_where_nothing_was_ever_set_up_people_are_told_how_to_begin(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = program("list", BACKUP_HOME=str(home))
    assert ended.returncode == 10
    assert "backup-pipeline backup" in ended.stderr
    assert not home.exists()


def test_a_setting_that_is_wrong_ends_with_2_and_names_it() -> None:
    ended = program("list", BACKUP_WORKERS="many")
    assert ended.returncode == 2
    assert "BACKUP_WORKERS" in ended.stderr


def test_a_ledger_that_does_not_answer_ends_with_1_and_hides_its_password() -> None:
    ended = program("list", BACKUP_LEDGER_URL="postgresql://u:hushhush@127.0.0.1:1/ledger")
    assert ended.returncode == 1
    assert "can not be reached" in ended.stderr
    assert "hushhush" not in ended.stdout + ended.stderr


def test_a_real_process_lists_a_real_ledger(installation: Installation) -> None:
    ended = program("list", "--json", **installation.environment)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)[0]["backup_id"] == installation.good.backup_id


def test_the_embedded_server_is_started_for_the_ledger_and_stopped_again(tmp_path: Path) -> None:
    from backup_pipeline.embedded import EmbeddedPostgres
    from backup_pipeline.embedded.cluster import running

    with EmbeddedPostgres(tmp_path / "postgres", options={"fsync": "off"}):
        pass
    ended = program("list", BACKUP_HOME=str(tmp_path))
    assert (ended.returncode, ended.stdout.strip()) == (0, "There are no backups to list.")
    assert running(tmp_path / "postgres") is None


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Whatever stands in the list is raised by the next command."""
    raised: list[BaseException] = []

    def fail(*_: object, **__: object) -> None:
        raise raised[0]

    monkeypatch.setattr(app_module, "_narrowed", lambda _: fail)
    return raised


def test_what_nobody_foresaw_ends_with_1_and_one_line_without_secrets(
    broken: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    broken.append(ValueError("postgresql://u:hushhush@db/x\nis odd"))
    assert main(["list"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: ValueError: postgresql://u:***@db/x is odd")
    assert "Traceback" not in told


def test_debug_shows_the_traceback_without_secrets(
    broken: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    broken.append(ValueError("postgresql://u:hushhush@db/x"))
    assert main(["--debug", "list"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "hushhush" not in told


def test_ctrl_c_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("backup_pipeline.ledger.backups.SqlLedger.list", interrupted)
    assert run("list").code == 130
    assert run("list", "--json").code == 130
