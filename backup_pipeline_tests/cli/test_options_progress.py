"""What a running backup shows: tables by their names, with the titles of their sheets, and what it waits for."""

from __future__ import annotations

import io

from rich.console import Console

from backup_pipeline.cli.options import shown_progress
from backup_pipeline.core.ports import PageWritten, TableFinished, TableStarted, Waiting

EVENTS = (
    TableStarted("customers", 2, "Customers & [friends]"),
    PageWritten("customers", 2, 10),
    TableFinished("customers", "Customers & [friends]", 2, 10, 0.1),
    TableFinished("plain", "plain", 1, 10, 0.1),
    TableFinished("lost", "Lost", 0, 0, 0.0, "it [was] dropped"),
    Waiting("Waiting for a lock: public.t is locked by [somebody]."),
)


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=140, color_system=None)
    with shown_progress(console) as progress:
        for event in EVENTS:
            progress.tell(event)
    return out.getvalue()


def test_lines_have_the_table_and_the_title_of_its_sheet() -> None:
    assert shown(terminal=False).splitlines() == [
        "customers (Customers & [friends]): 2 rows, 10 bytes, 0.1 s",
        "plain: 1 rows, 10 bytes, 0.1 s",
        "lost (Lost): FAILED: it [was] dropped",
        "Waiting for a lock: public.t is locked by [somebody].",
    ]


def test_a_terminal_has_them_too() -> None:
    text = shown(terminal=True)
    assert "✓ customers (Customers & [friends])" in text
    assert "✓ plain " in text
    assert "✗ lost (Lost): it [was] dropped" in text
    assert "! Waiting for a lock: public.t is locked by [somebody]." in text
