"""The command line's commands, and `main`, which turns errors into exit codes."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Mapping, Sequence
from copy import copy as copied
from typing import Annotated

import typer
from rich.text import Text
from typer.main import get_command_name
from typer.models import CommandInfo

from backup_pipeline import __version__
from backup_pipeline.cli import ticks  # noqa: F401 - its commands are those of businesses
from backup_pipeline.cli.analytics import analytics_app
from backup_pipeline.cli.backup import backup, copy
from backup_pipeline.cli.businesses import businesses_app
from backup_pipeline.cli.catalog import catalog_app
from backup_pipeline.cli.download import download, query, url
from backup_pipeline.cli.health import alerts_app, check, doctor
from backup_pipeline.cli.init import init
from backup_pipeline.cli.key import key_app, webhooks_app
from backup_pipeline.cli.list import adopt, audit, calendar, list_backups, show, stats
from backup_pipeline.cli.options import forget_settings, json_text
from backup_pipeline.cli.payments import payment_app, plan_app
from backup_pipeline.cli.rebuild import migrate_back, rebuild
from backup_pipeline.cli.restore import RESTORE_HELP, restore, restores_app
from backup_pipeline.cli.restore import businesses as restored_businesses  # noqa: F401 - its command is one of theirs
from backup_pipeline.cli.retention import delete, hold, prune, purge_events, release
from backup_pipeline.cli.runs import runs_app
from backup_pipeline.cli.up import demo, serve, up
from backup_pipeline.cli.user import user_app
from backup_pipeline.cli.verification import drill, verify
from backup_pipeline.core.errors import BackupError, in_our_words
from backup_pipeline.core.text import redact
from backup_pipeline.lazy import begin_program
from backup_pipeline.presentation.terminal import note_console
from backup_pipeline.wiring.folders import owner_only
from backup_pipeline.wiring.installation import missing_extra

INTERRUPTED = 130
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "failed",
    2: "the request is wrong: an option, a setting or a catalog",
    3: "partial: some of what was asked was done, and some was not",
    10: "not found: no such catalog, backup, table or object",
    11: "locked: somebody else holds what is needed",
    12: "can not decrypt: the key is wrong or missing",
    20: "verification failed: the stored bytes are not what the manifest says",
    21: "refused: a rule forbids it, and nothing was touched",
    22: "stale: the newest backup is too old",
    INTERRUPTED: "stopped on request (Ctrl-C)",
}


def tell_failure(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Print what failed and what to do next, without secrets; the exit code.

    With `as_json` one line, `{"message_type": "exit_error", "code": …, "message": …, "what_to_do": …}`. With `debug`
    the traceback comes before it.
    """
    if debug:
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
    if isinstance(error, ModuleNotFoundError):
        error = missing_extra(error) or error
    code = getattr(error, "exit_code", 1)
    what, do = _described(error)
    if as_json:
        line = {"message_type": "exit_error", "code": code, "message": what, "what_to_do": do}
        sys.stderr.write(json_text(line) + "\n")
        return int(code)
    console = note_console()
    console.print(Text.assemble(("Error: ", "bold red"), what))
    if do:
        console.print(Text.assemble(("What to do: ", "bold"), do))
    return int(code)


def _described(error: Exception) -> tuple[str, str]:
    if isinstance(error, BackupError):
        return redact(error.what), redact(error.do)
    if say := getattr(error, "format_message", None):  # Typer's own: a wrong option or argument
        return redact(str(say())), "`--help` shows what is allowed."
    return redact(
        " ".join(in_our_words(error).split())
    ), "This was not foreseen. Run it again with --debug, and report it."


PROGRAM = "backup-pipeline"

_COLLECT_AFTER = 50_000
"""Objects. With Python's 700 a sixth of the time in which modules are loaded goes into looking for garbage."""

_CODES = " · ".join(f"{code} {meaning.partition(':')[0]}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes: {_CODES}",
)
app.command()(init)
app.command()(backup)
app.command("list")(list_backups)
app.command()(show)
app.command()(verify)
app.command()(drill)
app.command()(check)
app.command()(doctor)
app.command()(calendar)
app.command()(stats)
app.command()(download)
app.command()(url)
app.command()(copy)
app.command()(query)
app.command()(adopt)
app.command(help=RESTORE_HELP)(restore)
app.add_typer(restores_app)
app.add_typer(alerts_app)
app.add_typer(runs_app)
app.add_typer(catalog_app)
app.add_typer(key_app)
app.add_typer(user_app)
app.add_typer(webhooks_app)
app.add_typer(businesses_app)
app.add_typer(payment_app)
app.add_typer(plan_app)
app.add_typer(analytics_app)
app.command()(prune)
app.command()(hold)
app.command()(release)
app.command()(delete)
app.command()(rebuild)
app.command("migrate-back")(migrate_back)
app.command()(audit)
app.command("purge-events")(purge_events)
app.command()(demo)
app.command()(up)
app.command()(serve)


def _version(wanted: bool) -> None:  # noqa: FBT001  # Typer calls it so
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Backups of the business tables of a PostgreSQL application: made, listed, checked, restored.

    Settings come from the environment (BACKUP_SOURCE_URL, BACKUP_STORE and others, docs/configuration.md). Without any,
    everything works on an embedded PostgreSQL with a demo database.
    """
    forget_settings()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code (see `exit_codes`). Errors are told on stderr, never raised.

    Without `arguments` it is the program, which ends afterwards.
    """
    if arguments is None:
        begin_program()
    code = _run(arguments)
    if arguments is None:
        # All is closed. Python, ending, would look through a million objects for what nobody refers to.
        gc.disable()
        gc.freeze()
    return code


def _narrowed(words: Sequence[str]) -> typer.Typer:
    """The program with the one command that is wanted: to make all eighty of them takes longer than many of them run.

    Without one, or with an unknown one, it is whole: it shows what there is.
    """
    commands = [each for each in app.registered_commands if _command_name(each) in words[:1]]
    groups = [
        each for each in app.registered_groups if each.typer_instance and each.typer_instance.info.name in words[:1]
    ]
    if not commands and not groups:
        return app
    narrowed = copied(app)
    narrowed.registered_commands, narrowed.registered_groups = commands, groups
    return narrowed


def _command_name(command: CommandInfo) -> str:
    return command.name or get_command_name(command.callback.__name__ if command.callback else "")


def _run(arguments: Sequence[str] | None) -> int:
    gc.set_threshold(_COLLECT_AFTER)
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        # Standalone, Typer prints wrong options itself, in colours; where JSON is wanted we do.
        with owner_only():
            code = _narrowed(words)(words, prog_name=PROGRAM, standalone_mode=not as_json)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except Exception as error:  # noqa: BLE001  # whatever it is, people get one line and scripts an exit code
        return tell_failure(error, as_json=as_json, debug="--debug" in words)
    return code if isinstance(code, int) else 0
