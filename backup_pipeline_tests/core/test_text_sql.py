"""Names and texts as SQL that people copy: one printable line, and the same name to the server."""

from __future__ import annotations

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.restore.dump import significant
from backup_pipeline.core.text import name_sql, text_sql
from backup_pipeline.embedded import EmbeddedPostgres

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@given(_TEXTS)
def test_a_name_reads_back_and_is_one_printable_line(name: str) -> None:
    shown = name_sql(name)
    assert shown.isprintable()
    assert not set("$!") & set(shown)
    assert [token.text for token in significant(shown)] == [name]


@settings(max_examples=3, deadline=None)
@given(st.lists(_TEXTS, min_size=60, max_size=90))
def test_the_server_reads_the_same(postgres_server: EmbeddedPostgres, texts: list[str]) -> None:
    shown = ", ".join(f"{text_sql(text)} AS {name_sql(text[:15])}" for text in texts)
    with psycopg.connect(postgres_server.url("postgres")) as session:
        cursor = session.execute(f"SELECT {shown}".encode())
        assert cursor.fetchone() == tuple(texts)
        assert [column.name for column in cursor.description or ()] == [text[:15] for text in texts]
