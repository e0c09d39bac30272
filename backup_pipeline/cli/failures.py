"""How a command that failed says so: one error on stderr, and the exit code it carries."""

from __future__ import annotations

import sys
import traceback

from rich.text import Text

from backup_pipeline.cli.output import json_text, note_console
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.secrets import redact
from backup_pipeline.core.unforeseen import in_our_words


def tell_failure(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Print what failed and what to do next, without secrets; the exit code.

    With `as_json` one line, `{"message_type": "exit_error", "code": …, "message": …, "what_to_do": …}`. With `debug`
    the traceback comes before it.
    """
    if debug:
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
    code = getattr(error, "exit_code", 1)
    what, do = _told(error)
    if as_json:
        line = {"message_type": "exit_error", "code": code, "message": what, "what_to_do": do}
        sys.stderr.write(json_text(line) + "\n")
        return int(code)
    console = note_console()
    console.print(Text.assemble(("Error: ", "bold red"), what))
    if do:
        console.print(Text.assemble(("What to do: ", "bold"), do))
    return int(code)


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, BackupError):
        return redact(error.what), redact(error.do)
    if say := getattr(error, "format_message", None):  # Typer's own: a wrong option or argument
        return redact(str(say())), "`--help` shows what is allowed."
    said = " ".join(in_our_words(error).split())
    return redact(said), "This was not foreseen. Run it again with --debug, and report it."
