"""What the doctor saw, line by line, and counted."""

from __future__ import annotations

from backup_pipeline.core.doctor import ok, problem, skipped
from backup_pipeline.presentation.health import doctor_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.presentation.drawing import in_terminal

LINES = (ok("ledger", "it answers"), problem("store", "it is full", "Make room."), skipped("keys", "none"))
SEEN = doctor_document(LINES)


def test_in_a_terminal_each_check_is_a_line_and_what_to_do_another() -> None:
    assert in_terminal(SEEN).splitlines() == [
        "ok      ledger: it answers",
        "problem store: it is full",
        "         do: Make room.",
        "skipped keys: none",
        "1 ok, 1 problem, 1 skipped",
    ]


def test_as_markdown_problems_stand_out() -> None:
    assert markdown(SEEN).splitlines() == [
        "- ok: ledger: it answers",
        "- **problem**: store: it is full *What to do:* Make room.",
        "- skipped: keys: none",
        "",
        "1 ok, 1 problem, 1 skipped",
    ]
