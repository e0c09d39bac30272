"""Text of others, made fit to be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.text import acts, first_sentence, visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("গ্রাহক", "গ্রাহক"),
        ("র\u200d্যাব", "র\u200d্যাব"),
        ("a\u00a0b", "a\u00a0b"),
        ("a\\b c", "a\\b c"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("line\nbreak\r\t", r"line\nbreak\r\t"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u200bb\u2028", r"a\u200bb\u2028"),
        ("\x9b31m", r"\x9b31m"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_acts_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_it_can_always_be_printed(text: str) -> None:
    assert not any(map(acts, visible(text)))
    assert visible(visible(text)) == visible(text)
    assert visible_lines(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The table goods is on fire. Run.", "The table goods is on fire."),
        ("pg 17.2 at 10.0.0.1 is gone\nWhat to do: wait.", "pg 17.2 at 10.0.0.1 is gone"),
        ("\n", ""),
    ],
)
def test_the_first_sentence_ends_where_a_reader_would_say(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence
