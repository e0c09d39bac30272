"""docs/cli.md, made from the commands themselves: `python -m backup_pipeline_tests.docs.cli_page` writes it anew."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from backup_pipeline.cli.app import EXIT_CODES, PROGRAM, app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
REGENERATE = "python -m backup_pipeline_tests.docs.cli_page"
_INTRODUCTION = f"""\
<!-- Made from the commands' own help. Do not edit: change the help, then run `{REGENERATE}`. -->

# The command line

`{PROGRAM}` makes, lists, checks, hands out and restores backups. Results go to standard output, everything else to
standard error, so that a result can be piped. With `--json` a command that fails ends with one line on standard error:
`{{"message_type": "exit_error", "code": 10, "message": "…", "what_to_do": "…"}}`. No password is ever printed.

Settings come from the environment: see [configuration.md](configuration.md).
"""


def cli_page() -> str:
    """The page."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Exit codes\n"
    yield "| code | meaning |"
    yield "|---:|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    yield ""
    yield from _commands(typer.main.get_command(app), PROGRAM)


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield from _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    yield f"## {path}\n"
    yield "```\n" + " ".join([path, *(_metavar(argument) for argument in arguments), "[OPTIONS]"]) + "\n```\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if arguments or options:
        yield "| | |"
        yield "|---|---|"
    yield from (f"| `{_cell(_metavar(p))}` | {_cell(p.help or '')} |" for p in arguments)
    yield from (f"| `{_cell(_names(p))}` | {_cell(_meaning(p))} |" for p in options)
    yield ""


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _names(option: Any) -> str:
    return ", ".join(option.opts) + ("" if option.is_flag else f" {option.opts[0].strip('-').upper()}")


def _meaning(option: Any) -> str:
    """The help, and the default where it says something."""
    default = option.default
    shown = not option.is_flag and isinstance(default, str | int | float) and default != ""
    return f"{option.help or ''}{f' Default: `{default}`.' if shown else ''}"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
    sys.stdout.write(f"Wrote {PAGE}\n")
