"""Tests of the sheet source grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.catalog.rules import Back, Through, parse_sheet_source, quote_name

NAMES = st.text(st.characters(codec="utf-8"), min_size=1) | st.sampled_from(
    ['"', '""', ".", "a.b", 'a"b', 'a"."b', "[x]", "a b", "Größe", "নাম", "a$1", "1st", "_", "select", 'x".y"[', "\n"]
)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("name", Through((), "name")),
        ("_x$1", Through((), "_x$1")),
        ("নাম", Through((), "নাম")),
        ('"odd name"', Through((), "odd name")),
        ('"say ""hi"""', Through((), 'say "hi"')),
        ('"a.b"', Through((), "a.b")),
        ("area_id.name", Through(("area_id",), "name")),
        ("customer_id.area_id.name", Through(("customer_id", "area_id"), "name")),
        ('"area id"."the.name"', Through(("area id",), "the.name")),
        ("mikrotik_users[customer_id].username", Back("mikrotik_users", "customer_id", "username")),
        ("crm.notes[customer_id].text", Back("crm.notes", "customer_id", "text")),
        ('notes["customer id"]."the text"', Back("notes", "customer id", "the text")),
    ],
)
def test_the_grammar(text: str, source: Through | Back) -> None:
    assert parse_sheet_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "a.", ".a", "a..b", "a b", "1st", '"', '""', '"a', 'a"b"', "a-b", "a;b", "name\n", "count(*)"),
        *("a[b]", "a[].c", "[b].c", "a[b].c.d", "a.b.c[d].e", "a[b.c].d", "a[b]c", "a[b].c;", "x.a[b].c[d].e"),
    ],
)
def test_what_is_no_source_is_told_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="is not a sheet source") as refused:
        parse_sheet_source(text)
    assert "`relation[fk_column].column`" in str(refused.value)
    assert repr(text) in str(refused.value)


@given(keys=st.lists(NAMES, max_size=4), column=NAMES)
def test_any_names_can_be_written_and_read_back(keys: list[str], column: str) -> None:
    text = ".".join(quote_name(name) for name in (*keys, column))
    assert parse_sheet_source(text) == Through(tuple(keys), column)


@given(relation=NAMES, key=NAMES, column=NAMES)
def test_any_back_reference_can_be_written_and_read_back(relation: str, key: str, column: str) -> None:
    source = parse_sheet_source(f"{quote_name(relation)}[{quote_name(key)}].{quote_name(column)}")
    assert source == Back(quote_name(relation), key, column)


def test_plain_names_are_written_without_quotes() -> None:
    assert [quote_name(n) for n in ("name", "Name", "নাম", "two words")] == ["name", "Name", "নাম", '"two words"']


def test_a_long_name_with_a_mistake_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is not a sheet source"):
        parse_sheet_source("ক" * 10_000 + "!")
