"""A catalog that is not there gets one answer from every command that takes one, and one exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyrage
import pytest
import typer

from backup_pipeline.cli.app import app
from backup_pipeline.ledger.alerts import SqlOutbox
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation

VALUES = {
    "backup": "latest",
    "reason": "a test",
    "sql": "SELECT 1",
    "file": "legacy:backups/old.json",
    "business": "b1",
    "feature": "backups",
    "amount": "200.00",
    "method": "bank_transfer",
    "reference": "TXN123456",
    "by": "karim",
}
"""What commands want besides the catalog."""
ALSO: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("businesses", "set"): ("--credit", "1"),
    ("businesses", "feature"): ("--off",),
}
"""What some want that no value stands for."""
ARGUMENTS = {("catalog", "check"), ("catalog", "show")}
"""The commands whose catalog is an argument."""


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, below in subcommands.items():
        yield from _commands(below, (*path, name))


def _taking_a_catalog() -> Sequence[tuple[str, ...]]:
    """The words of each command that takes a catalog, with what else it wants, and `nowhere` as the catalog."""
    found: list[tuple[str, ...]] = []
    for path, command in _commands(typer.main.get_command(app)):
        named = [part for part in command.params if part.name in VALUES]
        given = [part for part in named if part.required or part.name == "backup"]
        words = [word for part in given for word in _words(part)]
        if path in ARGUMENTS:
            found.append((*path, "nowhere"))
        elif any("--catalog" in part.opts for part in command.params):
            found.append((*path, *words, *ALSO.get(path, ()), "--catalog", "nowhere"))
    return found


def _words(part: Any) -> list[str]:
    value = VALUES[str(part.name)]
    return [value] if part.param_type_name == "argument" else [part.opts[0], value]


def test_the_commands_are_found() -> None:
    names = {words[0] for words in _taking_a_catalog()}
    assert names >= {"backup", "list", "show", "verify", "drill", "check", "doctor", "calendar", "stats", "download"}
    assert names >= {
        "url",
        "copy",
        "restore",
        "prune",
        "hold",
        "release",
        "rebuild",
        "audit",
        "restores",
        "key",
        "catalog",
    }


@pytest.mark.parametrize("words", _taking_a_catalog(), ids=" ".join)
def test_a_catalog_that_is_not_there_has_one_answer(
    run: Run, installation: Installation, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("BACKUP_AGE_IDENTITY", str(pyrage.x25519.Identity.generate()))
    monkeypatch.setenv("BACKUP_SECOND_STORE", (tmp_path / "second").as_uri())
    ended = run(*words)
    assert ended.err.splitlines()[-2:] == [
        f"Error: There is no catalog 'nowhere' in {installation.environment['BACKUP_CATALOGS']}.",
        "What to do: Use one of shop, or set BACKUP_CATALOGS to another folder.",
    ]
    assert (ended.code, ended.out) == (10, "")


def test_a_catalog_that_was_declared_once_is_still_known(
    run: Run, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backups are there: they are listed, shown, taken out and restored."""
    (tmp_path / "other.yaml").write_text("catalog: other\ntimezone: UTC\ntables: {goods: }\n")
    monkeypatch.setenv("BACKUP_CATALOGS", str(tmp_path))
    assert run("list", "--catalog", "shop").code == 0
    assert run("show", "latest", "--catalog", "shop").code == 0
    assert run("rebuild", "--catalog", "shop").code == 0
    assert run("backup", "--catalog", "shop").code == 10


def test_delete_says_that_latest_is_no_id_for_it(run: Run, installation: Installation) -> None:
    ended = run("delete", "latest", "--confirm", "latest")
    assert ended.code == 2
    assert "'latest' is not a backup id" in ended.err
    assert "`latest` works too" not in ended.err
    assert "Here `latest` is none" in ended.err


def test_without_a_channel_no_alert_was_delivered(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqlOutbox, "list", lambda *_, **__: [])
    assert "No alert reaches anybody: BACKUP_ALERT_URLS is not set" in run("alerts").out
    monkeypatch.setenv("BACKUP_ALERT_URLS", "json://127.0.0.1:9")
    assert run("alerts").out == "Every alert was delivered.\n"
