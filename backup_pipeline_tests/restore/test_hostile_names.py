"""Recovering by hand what has names that PostgreSQL takes and little else does: README.txt, to the letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.relations import write_relation
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.restore.bench import back_up_catalog, one, rows
from backup_pipeline_tests.restore.by_hand import DATABASE, unpacked

NAMES = (
    "Name", "name", "NAME", "name_1", "nAME", "c1", "C1", "t", "T", "pg", "END", "rowid", "filename",
    "select", "ROW_COUNT", "a\nEND\ntouch owned\n", "a\rb", "tab\tbed", "\\! touch owned",
    "x\n\\! touch owned\n", "$$", "$do$", "$(touch owned)", "`touch owned`", "it's", 'a "quoted" one', '"',
    "'", "\\", "\\\\", "\\0041", "%", "%s", "100%", "{braces}", "{name}", ":name", ":'name'", "-- note",
    "/* note", "*/", ";", "; DROP TABLE x; --", "!!", "^", "~", "*", "?", "[a]", " ", " lead", "trail ", ".",
    "..", "a.b", "../../up", "/etc", "C:\\x", "নাম", "Straße", "straße", "é", "é", "\u202eevil\u202c",
    "zero\u200bwidth", "\x1b[31mred", "\x01", "\x7f", "\u2028", "\ufeff", "😀", "_", "0", "null", "NULL",
    "true", "a,b", "a|b", "<b>bold</b>", "=1+1", "&amp;", "-" * 64, "x" * 63, "\xa0",
)  # fmt: skip
SCHEMAS = ('odd "schema"\nEND', "Odd", "odd")


@pytest.fixture
def recovered(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of the database that the README makes; dropped afterwards."""
    yield postgres_server.url(DATABASE)
    _drop(postgres_server)


def _drop(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def test_every_name_that_postgresql_takes(fresh_database: str, recovered: str, tmp_path: Path) -> None:
    """As a column and as a table, in schemas that need quotes too: the same values in the same columns."""
    names = [name for name in NAMES if len(name.encode()) < 64]
    _recovered(fresh_database, recovered, tmp_path, names, names[::3])


@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=15),
        min_size=60,
        max_size=80,
        unique=True,
    )
)
def test_any_name(postgres_server: EmbeddedPostgres, fresh_database: str, names: list[str]) -> None:
    _any_names(postgres_server, fresh_database, names)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.text(st.sampled_from("aA\n\r\t\\\"'$`!;:%{}[]()./-*? END\u202e\x1b~é\u0301😀"), min_size=1, max_size=15),
        min_size=1,
        max_size=60,
        unique=True,
    )
)
def test_any_name_of_letters_that_mean_something(
    postgres_server: EmbeddedPostgres, fresh_database: str, names: list[str]
) -> None:
    _any_names(postgres_server, fresh_database, names)


def _any_names(server: EmbeddedPostgres, url: str, names: Sequence[str]) -> None:
    with TemporaryDirectory() as folder:
        try:
            _recovered(url, server.url(DATABASE), Path(folder), names, names[:5])
        finally:
            _drop(server)
            with psycopg.connect(url, autocommit=True) as session:
                session.execute("DROP SCHEMA public CASCADE")
                for schema in SCHEMAS:
                    session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
                session.execute("CREATE SCHEMA public")


def _recovered(url: str, recovered: str, folder: Path, columns: Sequence[str], tables: Sequence[str]) -> None:
    """Make it, back it up, unpack it, type the README's commands, compare every value by its column's name."""
    relations = [("public", "wide"), *((SCHEMAS[at % 3], name) for at, name in enumerate(tables))]
    with psycopg.connect(url, autocommit=True) as session:
        for schema in SCHEMAS:
            session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        _make(session, relations[0], columns)
        for relation in relations[1:]:
            _make(session, relation, columns[:4])
    specs = {
        f"t{number}": {
            "relation": write_relation(*relation),
            "allow": dict.fromkeys(columns if number == 0 else columns[:4], "only a test"),
        }
        for number, relation in enumerate(relations)
    }
    catalog = Catalog.model_validate({"catalog": "odd", "timezone": "UTC", "tables": specs})
    bundle = unpacked(back_up_catalog(url, folder, catalog), folder / "bundle")
    assert "RECOVERED\n" in bundle.type_in(url)
    assert not [*folder.rglob("owned")]
    assert "\x1b" not in bundle.readme
    for relation in relations:
        assert _values(recovered, relation) == _values(url, relation) != []
    nexts = "SELECT nextval(pg_get_serial_sequence('public.wide', 'the id'))"
    assert one(recovered, nexts) == one(url, nexts)


def _make(session: psycopg.Connection[tuple[object, ...]], relation: tuple[str, str], columns: Sequence[str]) -> None:
    """A table whose every cell tells its column and its row; one of the columns has a type of a hostile name."""
    name = sql.Identifier(*relation)
    type_ = sql.Identifier(relation[0], "Mood\n'END'\n\\! touch owned")
    if relation[1] == "wide":
        session.execute(sql.SQL("CREATE TYPE {} AS ENUM ('it''s', E'two\nlines')").format(type_))
    made = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns)
    mood = sql.SQL(", {} {}").format(sql.Identifier("the mood"), type_) if relation[1] == "wide" else sql.SQL("")
    session.execute(sql.SQL("CREATE TABLE {} ({} serial PRIMARY KEY, {}{})").format(
        name, sql.Identifier("the id"), made, mood
    ))  # fmt: skip
    for row in range(3):
        values = sql.SQL(", ").join(sql.Literal(f"{row} of {column}") for column in columns)
        into = sql.SQL(", ").join(map(sql.Identifier, columns))
        session.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(name, into, values))
    if relation[1] == "wide":
        session.execute(sql.SQL("UPDATE {} SET {} = E'two\nlines'").format(name, sql.Identifier("the mood")))


def _values(url: str, relation: tuple[str, str]) -> list[tuple[object, ...]]:
    name = sql.Identifier(*relation).as_string(None)
    return rows(url, f"SELECT to_jsonb(t) FROM {name} AS t ORDER BY {sql.Identifier('the id').as_string(None)}")
