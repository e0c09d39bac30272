"""docs/cli.md says what the commands' own help says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

import backup_pipeline
from backup_pipeline.cli.app import EXIT_CODES, app
from backup_pipeline_tests.docs.cli_page import PAGE, REGENERATE, cli_page

PACKAGE = Path(backup_pipeline.__file__).parent


def test_the_page_is_what_the_commands_say() -> None:
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    assert page == cli_page(), f"{PAGE.name} is out of date. Make it anew: {REGENERATE}"


def test_the_page_has_every_command_and_every_exit_code() -> None:
    page = cli_page()
    for command in (
        "backup",
        "list",
        "show",
        "verify",
        "download",
        "url",
        "restore",
        "restores approve",
        "catalog init",
    ):
        assert f"\n## backup-pipeline {command}\n" in page
    for code in EXIT_CODES:
        assert f"| {code} | " in page


def test_the_commands_that_messages_and_pages_advise_can_be_typed() -> None:
    advised = [
        *(text for path in sorted(PACKAGE.rglob("*.py")) for text in _texts(path)),
        *(path.read_text(encoding="utf-8") for path in sorted(PAGE.parent.glob("*.md"))),
    ]
    commands = [words for text in advised for words in re.findall(r"backup-pipeline ([a-z][^`\n\"'|;)&]*)", text)]
    assert len(commands) > 100
    root = typer.main.get_command(app)
    assert {refused for words in commands for refused in unknown_options(root, words)} == set()


def _texts(path: Path) -> Iterator[str]:
    """The texts of a module; what they put in at run time is `N`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "N" for part in node.values)


def unknown_options(command: Any, words: str) -> Iterator[str]:
    """The options in `words` that the command they begin with, below `command`, does not know."""
    for word in words.split():
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    yield from (f"{words}: {option}" for option in re.findall(r"(?<!\S)--[a-z-]+", words) if option not in known)
