"""Names of types: what PostgreSQL prints is one, and nothing that could do anything else."""

from __future__ import annotations

import psycopg
import pytest

from backup_pipeline.core.plans import type_name
from backup_pipeline.embedded import EmbeddedPostgres

TYPES = (
    "bigint", '"char"', "character varying", "character varying(20)", "character(3)", "bit(3)", "bit varying(4)",
    "numeric(10,2)", "numeric(3,-2)", "double precision", "timestamp without time zone", "timestamp(3) with time zone",
    "time(0) without time zone", "interval", "interval(3)", "interval day to second(3)", "interval year to month",
    "text[]", "numeric(10,2)[]", "timestamp(3) with time zone[]", "pg_catalog.text",
)  # fmt: skip


@pytest.mark.parametrize("printed", TYPES)
def test_what_postgresql_prints_is_the_type_again(printed: str, postgres_server: EmbeddedPostgres) -> None:
    """The server itself says that the name that comes out is that of the same type."""
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'h'::regclass AND attnum > 0"
    with psycopg.connect(postgres_server.url("postgres")) as session:
        session.execute(f"CREATE TEMP TABLE h (a {type_name(printed).sql()})".encode())
        row = session.execute(query).fetchone()
        session.rollback()
    assert row == (printed.removeprefix("pg_catalog."),)


@pytest.mark.parametrize(
    ("printed", "sql"),
    [
        ("public.mood", '"public"."mood"'),
        ("public.geometry(PointZ,4326)", '"public"."geometry"(PointZ,4326)'),
        ('public."Mo""od"[]', '"public"."Mo""od"[]'),
        ('"odd ns"."a\nEND\n"', r'"odd ns".U&"a\000AEND\000A"'),
    ],
)
def test_names_are_quoted_and_stay_in_one_line(printed: str, sql: str) -> None:
    assert type_name(printed).sql() == sql
    assert type_name(type_name(printed).sql()) == type_name(printed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "int); DROP TABLE customers; --",
        "int DEFAULT pg_read_file('/etc/passwd')",
        "int, b int",
        "int /* more */",
        "int -- more",
        "text COLLATE evil",
        "int NOT NULL",
        "character varying(length('x'))",
        "timestamp with time zone without time zone",
        "int varying",
        '"timestamp" with time zone',
        "a.b.c",
        "a.",
        "public.",
        "text[][",
        "text[1]",
        "numeric(1)(2)",
        'public."open',
        "'int'",
        "$1",
        "x" * 501,
    ],
)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"not the name of a type|has no end"):
        type_name(text)
