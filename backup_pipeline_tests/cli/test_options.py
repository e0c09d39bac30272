"""What commands print of texts that others chose: it can neither act on the terminal nor style itself."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from backup_pipeline.cli.options import json_text, print_json
from backup_pipeline.core.text import acts
from backup_pipeline.presentation.terminal import SafeConsole

EVIL = "\x1b]0;owned\x07\x1b[2J[red]x[/red][/] :bomb: \u202egnp.exe \x9b31m \r\u2028"


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_tables_and_styled_texts_show_what_would_act(shown: io.StringIO, terminal: bool) -> None:
    console = SafeConsole(file=shown, force_terminal=terminal, color_system="standard" if terminal else None, width=200)
    table = Table("[/]", "b")
    table.add_row(EVIL, "[bold]")
    console.print(EVIL, soft_wrap=True)
    console.print(table)
    console.print(Text.assemble(("Warning:", "yellow"), f" {EVIL}"))
    text = shown.getvalue()
    if terminal:
        assert "\x1b[33mWarning:\x1b[0m" in text  # what rich itself says
        text = text.replace("\x1b[33m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert not [letter for letter in text if acts(letter) and letter != "\n"]
    assert text.count(r"\x1b]0;owned") == 3
    assert text.count(r"\x1b[2J[red]x[/red][/] :bomb: \u202egnp.exe \x9b31m") >= 2


def test_json_is_the_same_and_has_nothing_that_acts(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": EVIL + "\U000e0041 গ্রাহক \u200d"}
    text = json_text(value)
    assert json.loads(text) == value
    assert not any(map(acts, text))
    assert "গ্রাহক" in text
    print_json(value)
    assert json.loads(capsys.readouterr().out) == value
