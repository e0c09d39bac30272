"""Reading a hostile source: the backup role runs none of its functions where that can be helped."""

from __future__ import annotations

import pytest

from backup_pipeline.core.errors import BackupError
from backup_pipeline_tests.postgres.reading import plan_for, read_table, run_sql, snapshot_of

_CASTS = """
CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'code of the source ran'; END $$;
CREATE TYPE mood AS ENUM ('sad', 'it''s happy');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE span AS RANGE (SUBTYPE = int);
CREATE DOMAIN feeling AS mood;
CREATE DOMAIN couple AS pair;
CREATE FUNCTION cast_mood(mood) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION cast_moods(mood[]) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION cast_pair(pair) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION cast_span(span) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE CAST (mood AS text) WITH FUNCTION cast_mood(mood);
CREATE CAST (mood[] AS text) WITH FUNCTION cast_moods(mood[]);
CREATE CAST (pair AS text) WITH FUNCTION cast_pair(pair);
CREATE CAST (span AS text) WITH FUNCTION cast_span(span);
CREATE TABLE kinds (id int PRIMARY KEY, mood mood UNIQUE);
CREATE TABLE it (id int PRIMARY KEY, mood mood, moods mood[], pair pair, span span, feeling feeling, couple couple,
                 kind int REFERENCES kinds);
INSERT INTO kinds VALUES (1, 'sad');
INSERT INTO it VALUES (1, 'it''s happy', '{sad,NULL}', '(1,"x y")', '[1,3)', 'sad', '(2,)', 1),
                      (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
"""


def test_values_are_printed_without_the_casts_of_whoever_owns_a_type(fresh_database: str) -> None:
    run_sql(fresh_database, _CASTS)
    with pytest.raises(Exception, match="code of the source ran"):
        run_sql(fresh_database, "SELECT mood::text FROM it WHERE id = 1")
    with snapshot_of(fresh_database) as snapshot:
        plan = plan_for(snapshot, "it", {"columns": {"Id": "id", "Kind": "kind.mood"}}, kinds={})
        rows = read_table(snapshot, plan).to_pylist()
    own = [{name: row[name] for name in ("mood", "moods", "pair", "span", "feeling", "couple")} for row in rows]
    assert own[0] == {
        "mood": "it's happy", "moods": "{sad,NULL}", "pair": '(1,"x y")', "span": "[1,3)", "feeling": "sad",
        "couple": "(2,)",
    }  # fmt: skip
    assert set(own[1].values()) == {None}
    assert "sad" in rows[0].values()


@pytest.mark.acceptance("2.31")
def test_a_policy_s_function_never_runs_for_a_backup(fresh_database: str) -> None:
    run_sql(
        fresh_database,
        "CREATE TABLE it (id int PRIMARY KEY)",
        "INSERT INTO it VALUES (1)",
        "CREATE FUNCTION trap() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'code ran'; END $$",
        "CREATE POLICY watching ON it USING (trap())",
        "ALTER TABLE it ENABLE ROW LEVEL SECURITY",
        "DROP ROLE IF EXISTS hostile_reader",
        "CREATE ROLE hostile_reader LOGIN PASSWORD 'only-a-test'",
        "GRANT USAGE ON SCHEMA public TO hostile_reader",
        "GRANT SELECT ON it TO hostile_reader",
    )
    reader = f"postgresql://hostile_reader:only-a-test@{fresh_database.rpartition('@')[2]}"
    try:
        with snapshot_of(reader) as snapshot, pytest.raises(BackupError, match="row-level security") as refused:
            read_table(snapshot, plan_for(snapshot, "it"))
        assert "code ran" not in refused.value.what
    finally:
        run_sql(fresh_database, "DROP OWNED BY hostile_reader", "DROP ROLE hostile_reader")
