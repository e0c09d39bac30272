"""Tests of the small decisions of a restore: types, views, sequences."""

from __future__ import annotations

import pytest

from backup_pipeline.core.restore.columns import Conversion, conversion
from backup_pipeline.core.restore.dump import plain_view
from backup_pipeline.core.restore.tables import SequenceLimits, SequenceState, state_after

SAME, CHECKED, ALTERING = Conversion.SAME, Conversion.CHECKED, Conversion.ALTERING


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("text", "text", SAME),
        ("integer", "bigint", CHECKED),
        ("bigint", "smallint", CHECKED),  # what is too large is refused
        ("integer", "numeric(5,2)", CHECKED),
        ("integer", "numeric(5,-2)", ALTERING),
        ("numeric(10,2)", "numeric(12,3)", CHECKED),
        ("numeric(10,3)", "numeric(12,2)", ALTERING),
        ("numeric", "numeric(12,2)", ALTERING),
        ("numeric(10,2)", "numeric", CHECKED),
        ("numeric(10,2)", "integer", ALTERING),
        ("numeric(10,2)", "double precision", ALTERING),
        ("bigint", "double precision", ALTERING),
        ("integer", "double precision", CHECKED),
        ("integer", "real", ALTERING),
        ("double precision", "real", ALTERING),
        ("character varying(20)", "character varying(5)", CHECKED),
        ("text", "name", ALTERING),
        ("text", "uuid", CHECKED),
        ("text", "date", ALTERING),  # would cut a time off
        ("timestamp without time zone", "date", ALTERING),
        ("timestamp without time zone", "timestamp with time zone", ALTERING),
        ("timestamp with time zone", "timestamp(0) with time zone", ALTERING),
        ("timestamp(0) with time zone", "timestamp with time zone", CHECKED),
        ("date", "timestamp without time zone", CHECKED),
        ("date", "timestamp with time zone", ALTERING),
        ("time without time zone", "time(2) without time zone", ALTERING),
        ("uuid", "text", CHECKED),
        ("bytea", "integer", ALTERING),
        ("boolean", "integer", ALTERING),
        ("json", "jsonb", CHECKED),
        ("inet", "cidr", ALTERING),
        ("public.mood", "public.state", CHECKED),
        ("public.mood", "text", CHECKED),
        ("text", "public.mood", CHECKED),
        ("integer[]", "bigint[]", CHECKED),
        ("numeric[]", "integer[]", ALTERING),
        ("integer[]", "integer", ALTERING),
        ("integer[]", "text", CHECKED),
    ],
)
def test_a_value_is_never_altered_in_silence(before: str, now: str, expected: Conversion) -> None:
    assert conversion(before, now) is expected


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        (" SELECT id,\n    name\n   FROM public.people;", {"id": "id", "name": "name"}),
        ("SELECT p.id, p.name AS who FROM public.people p", {"id": "id", "who": "name"}),
        (
            "CREATE VIEW public.v WITH (security_barrier='true') AS\n SELECT \"from\" FROM public.people;",
            {"from": "from"},
        ),
    ],
)
def test_a_view_that_shows_columns_leads_to_its_table(sql: str, columns: dict[str, str]) -> None:
    found = plain_view(sql)
    assert found is not None
    assert (found.base, found.columns) == (("public", "people"), columns)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM public.people WHERE id > 1",
        "SELECT id FROM public.people p WHERE p.id > 1",
        "SELECT id + 1 AS id FROM public.people",
        "SELECT lower(name) AS name FROM public.people",
        "SELECT DISTINCT id FROM public.people",
        "SELECT id, id AS other FROM public.people",
        "SELECT p.id FROM public.people p JOIN public.jobs j ON j.id = p.id",
        "SELECT p.id FROM public.people p, public.jobs j",
        "SELECT id FROM public.people LIMIT 5",
        "SELECT id FROM public.people ORDER BY id",
        "SELECT id FROM public.people UNION ALL SELECT id FROM public.jobs",
        "SELECT id FROM (SELECT 1 AS id) AS x",
        "SELECT 1",
        "VALUES (1)",
        "SELECT 'open",
    ],
)
def test_any_other_view_does_not(sql: str) -> None:
    assert plain_view(sql) is None


def called(value: int) -> SequenceState:
    return SequenceState(value, is_called=True)


FRESH = SequenceState(1, is_called=False)
UP = SequenceLimits(1, 1, 2**63 - 1)
DOWN = SequenceLimits(-1, -100, -1)


@pytest.mark.parametrize(
    ("candidates", "furthest", "limits", "expected"),
    [
        ([called(10)], 10, UP, called(10)),
        ([called(10)], 25, UP, called(25)),
        ([called(10), called(30)], 25, UP, called(30)),
        ([FRESH], None, UP, FRESH),
        ([FRESH], 1, UP, called(1)),
        ([None, None], 7, UP, called(7)),
        ([None], None, UP, None),
        ([SequenceState(11, is_called=False)], 10, UP, SequenceState(11, is_called=False)),
        ([called(5)], 999, SequenceLimits(1, 1, 100), called(5)),  # nobody drew 999 from it
        ([called(-5)], -9, DOWN, called(-9)),
        ([called(-5)], -2, DOWN, called(-5)),
        ([called(10)], 12, SequenceLimits(5, 1, 100), called(12)),
    ],
)
def test_a_sequence_goes_as_far_as_anything_asks(
    candidates: list[SequenceState | None], furthest: int | None, limits: SequenceLimits, expected: SequenceState | None
) -> None:
    assert state_after(candidates, furthest, limits) == expected
