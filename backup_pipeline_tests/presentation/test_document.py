"""A document says the same in each medium, and what others wrote in it acts in none."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from backup_pipeline.core.text import acts
from backup_pipeline.presentation import (
    Bytes,
    Checks,
    DayGrid,
    Minute,
    Note,
    Number,
    Part,
    ReportDocument,
    Section,
    Span,
    Table,
    TableColumn,
    Tone,
    document,
    duration,
    facts,
    item,
    joined,
    line,
    numbers,
    prose,
    size,
    text_of,
    texts,
)
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.presentation.drawing import in_terminal

AT = datetime(2026, 11, 20, 18, 5, 9, tzinfo=UTC)
EVIL = "\x1b]0;x\x07[red]|<img src=x>`*_a_\u202eb\n https://evil"
LETTER = Span("M", Tone.FAILURE)


def everything(text: str) -> ReportDocument:
    """A document that has `text` in each place where a text of others can stand."""
    first = Section(
        (
            facts([("Name", text), ("Bold", Span(text, Tone.STRONG))]),
            Table((*texts("Table"), prose("Why")), ((text, Span(text, Tone.WRONG)),), title=text, total=(text, None)),
        ),
        title=text,
    )
    second = Section(
        (
            line("Before ", Span(text, Tone.WARNING), " after"),
            item(text),
            Note("Warning", Tone.WARNING, text, about=text, do=text),
            Checks((Note("problem", Tone.FAILURE, text, about=text, do=text),)),
            DayGrid(text, (date(2026, 11, 20), date(2026, 11, 21)), ((text, (LETTER, Span(text))),)),
        )
    )
    return ReportDocument((first, second))


def test_texts_of_others_act_nowhere() -> None:
    terminal, page = in_terminal(everything(EVIL), width=4000), markdown(everything(EVIL))
    assert not [letter for letter in terminal + page if acts(letter) and letter not in "\n\u2060"]
    assert not re.search(r"(?<!\\)[<\[`]", page)
    assert "https://" not in page
    rows = [row for row in page.splitlines() if row.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 4}


def test_every_text_is_in_both_drawings_as_often() -> None:
    terminal, page = in_terminal(everything("zebra"), width=4000), markdown(everything("zebra"))
    assert terminal.count("zebra") == page.count("zebra") + 1  # only a terminal names the grid of days
    assert page.count("zebra") == 17


def test_what_is_secret_is_hidden_in_every_place_before_it_is_escaped() -> None:
    secret = "a_*b|c"  # as it is escaped, nobody would know it again

    def hide(text: str) -> str:
        return text.replace(secret, "***")

    terminal, page = in_terminal(everything(secret), width=4000, hide=hide), markdown(everything(secret), hide)
    assert secret not in terminal
    assert "b\\|c" not in page
    assert "***" in terminal
    assert r"\*\*\*" in page


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (None, ""),
        (0, "0"),
        (1_234_567, "1,234,567"),
        ("text", "text"),
        (Tone.PLAIN, "plain"),
        (Span(12_000, Tone.STRONG), "12,000"),
        (AT, "2026-11-20 18:05:09 UTC"),
        (Minute(AT), "2026-11-20 18:05 UTC"),
        (date(2026, 11, 20), "2026-11-20"),
        (Bytes(1_400_000_000), "1.4 GB"),
        (Bytes(1_200_000, signed=True), "+1.2 MB"),
        (Bytes(-2500, signed=True), "-2.5 kB"),
        (Number(1234.567, digits=2), "1,234.57"),
        (Number(120, signed=True), "+120"),
        (Number(-3.5, digits=1, signed=True), "-3.5"),
    ],
)
def test_values_in_words(part: Part, text: str) -> None:
    assert text_of(part) == text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (size(0), "0 bytes"),
        (size(1), "1 byte"),
        (size(999), "999 bytes"),
        (size(1_400_000_000), "1.4 GB"),
        (size(-2500), "-2.5 kB"),
        (duration(4.2), "4.2 s"),
        (duration(200), "3 min 20 s"),
        (duration(7500), "2 h 5 min"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


def test_facts_without_a_value_are_left_out() -> None:
    assert [fact.name for fact in facts([("a", None), ("b", ""), ("c", 0), ("d", Span(""))]).facts] == ["c"]


def test_documents_follow_each_other() -> None:
    both = document(line("one")) + document(line("two"))
    assert both == joined([document(line("one")), document(line("two"))])
    assert markdown(both) == "one\n\ntwo"
    assert in_terminal(both) == "one\n\ntwo"


def test_items_are_a_list_and_all_else_stands_apart() -> None:
    note = Note("REFUSED", Tone.FAILURE, "it is there", about="orders", do="Go.")
    page = markdown(document(line("a"), item("b"), note, line("c")))
    assert page == "a\n\n- b\n- **REFUSED**: orders: it is there *What to do:* Go.\n\nc"


def test_a_terminal_shows_notes_and_checks_with_what_to_do() -> None:
    note = Note("Warning", Tone.WARNING, "it is there", about="orders", do="Go.")
    shown = in_terminal(document(note, Checks((note, Note("ok", Tone.GOOD, "fine", about="store")))))
    assert shown.splitlines() == [
        "Warning: orders: it is there",
        "  What to do: Go.",
        "Warning orders: it is there",
        "         do: Go.",
        "ok      store: fine",
    ]


STACKED = Table(
    (TableColumn("ID"), *numbers("Rows"), TableColumn("Marks", below="ID"), prose("Why")),
    (("an-id", 1234, "late", "because it is so"),),
)


def test_where_there_is_little_room_columns_stand_below_each_other() -> None:
    wide, narrow = in_terminal(document(STACKED)), in_terminal(document(STACKED), width=100)
    assert wide.splitlines()[1].split() == ["an-id", "1,234", "late", *["because", "it", "is", "so"]]
    assert [row.split()[0] for row in narrow.splitlines()] == ["ID", "Marks", "an-id", "late"]
    assert sorted(wide.split()) == sorted(narrow.split())


def test_colours_are_for_terminals_alone() -> None:
    shown = in_terminal(document(line(Span("bad", Tone.WRONG), " news")), colors=True)
    assert shown == "\x1b[31mbad\x1b[0m news"


def test_a_table_without_titles_has_no_head_and_one_with_a_total_has_lines() -> None:
    assert in_terminal(document(Table(texts("", ""), (("a", "b"),)))) == "a  b"
    shown = in_terminal(document(Table(numbers("Rows"), ((1,), (2,)), title="All", total=(3,))))
    assert shown.splitlines()[0] == "All"
    assert "├" in shown
