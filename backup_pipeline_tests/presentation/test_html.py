"""Documents as HTML: everything is escaped, tones have a shape, times are of the catalog's wall clock."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from backup_pipeline.presentation import (
    Bytes,
    Checks,
    DayGrid,
    Minute,
    Note,
    ReportDocument,
    Section,
    Span,
    Table,
    TableColumn,
    Tone,
    document,
    facts,
    item,
    line,
)
from backup_pipeline.presentation.html import badge, html, instant

HOSTILE = "<img src=x onerror=alert(1)>'\"&\u202e"
AT = datetime(2026, 11, 20, 18, 3, 5, tzinfo=UTC)
_HEAD = (TableColumn(HOSTILE), TableColumn("Rows", right=True))


@pytest.mark.parametrize(
    "document",
    [
        document(line(HOSTILE, Span(HOSTILE, Tone.WRONG))),
        document(item(HOSTILE)),
        document(Note(HOSTILE, Tone.WARNING, HOSTILE, HOSTILE, HOSTILE)),
        document(Checks((Note(HOSTILE, Tone.GOOD, HOSTILE),))),
        document(facts([(HOSTILE, HOSTILE)])),
        document(Table(_HEAD, ((HOSTILE, 1),), HOSTILE, (HOSTILE, 1))),
        document(DayGrid(HOSTILE, (date(2026, 11, 20),), ((HOSTILE, (Span(HOSTILE, Tone.GOOD),)),))),
        ReportDocument((Section((), HOSTILE),)),
    ],
)
def test_no_text_acts_as_html(document: ReportDocument) -> None:
    drawn = html(document)
    assert "&lt;img" in drawn
    assert "<img" not in drawn
    assert "\u202e" not in drawn
    assert "\\u202e" in drawn
    assert "'\"" not in drawn


@pytest.mark.acceptance("2.36")
def test_a_tone_is_a_word_a_shape_and_a_colour() -> None:
    drawn = html(document(line(Span("failed", Tone.FAILURE), " on Sunday")))
    assert '<span class="tone failure"><svg' in drawn
    assert 'href="#i-cross"' in drawn
    assert "failed</span> on Sunday" in drawn
    assert badge("manual", "manual").count("manual") == 3


def test_times_are_those_of_the_catalog_with_utc_as_their_title() -> None:
    drawn = instant(AT, "Asia/Dhaka")
    assert "21 Nov 2026, 00:03<" in drawn
    assert 'title="2026-11-20 18:03:05 UTC"' in drawn
    assert "21 Nov 2026, 00:03:05" in html(document(line(AT)), zone="Asia/Dhaka")
    assert "20 Nov 2026, 18:03<" in html(document(line(Minute(AT))))


def test_a_row_says_on_a_phone_what_each_cell_is() -> None:
    drawn = html(document(Table((TableColumn("Table"), TableColumn("Size", right=True)), (("goods", Bytes(1400)),))))
    assert '<td data-label="Size" class="number">1.4 kB</td>' in drawn
    assert '<th scope="col" class="number">Size</th>' in drawn


def test_items_that_follow_each_other_are_one_list() -> None:
    drawn = html(document(item("a"), item("b"), line("c"), item("d")))
    assert drawn.count("<ul>") == 2


def test_what_is_secret_is_taken_out_before_anything_is_escaped() -> None:
    assert "hush" not in html(document(line("it is h&ush")), hide=lambda text: text.replace("h&ush", "***"))
