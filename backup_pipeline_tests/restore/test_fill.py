"""Values for unique columns that a backup does not hold: each row gets its own, or the plan says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.restore.bench import Bench, back_up, one, refusals, rows, run, warnings

KEYS = """
CREATE TABLE users (id int PRIMARY KEY, name text, api_key varchar(32) NOT NULL UNIQUE, secret_id uuid NOT NULL,
    password_no int NOT NULL, token text NOT NULL);
CREATE UNIQUE INDEX ON users (lower(secret_id::text)); CREATE UNIQUE INDEX ON users (name, token);
CREATE UNIQUE INDEX ON users (password_no) WHERE password_no > 0;
INSERT INTO users SELECT n, 'u' || n, 'k' || n, gen_random_uuid(), n, 't' FROM generate_series(1, 5) n;
"""
SPEC = {"users": {"exclude": dict.fromkeys(("api_key", "secret_id", "password_no", "token"), "a secret"), "allow": {}}}
ALIKE = {"users.api_key": "none", "users.secret_id": "{random}", "users.password_no": "{n}", "users.token": "-"}
EACH = ALIKE | {"users.api_key": "{random}"}


@pytest.fixture
def bench(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, KEYS)
    return back_up(fresh_database, tmp_path, SPEC)


def distinct(url: str) -> tuple[int, ...]:
    columns = "count(DISTINCT api_key), count(DISTINCT secret_id), count(DISTINCT password_no), count(DISTINCT token)"
    return tuple(rows(url, f"SELECT {columns} FROM users")[0])


def test_one_value_for_all_is_refused_in_the_plan(bench: Bench, empty_database: str) -> None:
    told = refusals(bench.plan(empty_database, Mode.NEW, fill=ALIKE))
    assert "public.users.api_key must be unique, and --fill gives 'none' to every new row." in told
    assert "--fill users.api_key='{random}' (32 random digits), or '…{n}' (numbered)" in told
    told = refusals(bench.plan(empty_database, Mode.NEW, fill=ALIKE | {"users.password_no": "1"}))
    assert "public.users.password_no must be unique" in told
    told = refusals(bench.plan(empty_database, Mode.NEW, fill=EACH | {"users.secret_id": "0" * 32}))
    assert "public.users.secret_id must be unique" in told


def test_each_row_gets_its_own(bench: Bench, empty_database: str) -> None:
    bench.restore(empty_database, Mode.NEW, fill=EACH)
    assert distinct(empty_database) == (5, 5, 5, 1)
    assert one(empty_database, "SELECT max(password_no) FROM users") == 5
    assert one(empty_database, "SELECT bool_and(api_key ~ '^[0-9a-f]{32}$') FROM users")
    assert (
        rows(empty_database, "SELECT attname FROM pg_attribute WHERE atthasdef AND attrelid = 'users'::regclass") == []
    )


def test_into_the_living_table_numbers_go_on(bench: Bench, fresh_database: str) -> None:
    run(fresh_database, "DELETE FROM users WHERE id > 3")
    told = warnings(bench.plan(fresh_database, Mode.INSERT_MISSING, fill=ALIKE))
    assert "of two, the restore stops and changes nothing" in told
    bench.restore(fresh_database, Mode.INSERT_MISSING, fill=EACH)
    assert distinct(fresh_database) == (5, 5, 5, 2)
    run(fresh_database, "DELETE FROM users")
    bench.restore(fresh_database, Mode.INSERT_MISSING, fill=EACH)
    assert distinct(fresh_database)[:3] == (5, 5, 5)
