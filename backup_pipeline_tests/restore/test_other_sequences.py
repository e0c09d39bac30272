"""Sequences that no column's default names come back where they were: no number is given a second time."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.restore.bench import Bench, back_up, one, rows, run, warnings
from backup_pipeline_tests.restore.test_older_and_poorer import stored_as

NUMBERED = """
CREATE SEQUENCE invoice_no_seq START 1000;
CREATE TABLE invoices (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, no text UNIQUE NOT NULL, amount numeric(10, 2));
CREATE FUNCTION give_no() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN new.no := 'INV-' || nextval('public.invoice_no_seq'); RETURN new; END $$;
CREATE TRIGGER t BEFORE INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION give_no();
INSERT INTO invoices (amount) SELECT 10 FROM generate_series(1, 5);
CREATE SCHEMA "my app";
CREATE SEQUENCE "my app"."Ticket's" START 500; SELECT setval('"my app"."Ticket''s"', 541);
CREATE SEQUENCE never_used START 77;
CREATE SEQUENCE down INCREMENT -5 MAXVALUE 100 MINVALUE -100 START 100; SELECT setval('down', -40);
CREATE SEQUENCE round MAXVALUE 9 CYCLE; SELECT setval('round', 3);
CREATE TABLE left_out (id serial PRIMARY KEY); INSERT INTO left_out SELECT FROM generate_series(1, 12);
"""
STATES = {
    "public.invoice_no_seq": (1004, True),
    "my app.Ticket's": (541, True),
    "public.never_used": (77, False),
    "public.down": (-40, True),
    "public.round": (3, True),
}
LIST = "SELECT schemaname || '.' || sequencename, quote_ident(schemaname) || '.' || quote_ident(sequencename)"


def states(url: str) -> dict[str, tuple[int, bool]]:
    """Where every sequence stands."""
    found = rows(url, f"{LIST} FROM pg_sequences")
    return {name: rows(url, f"SELECT last_value, is_called FROM {quoted}")[0] for name, quoted in found}


def standing(url: str) -> dict[str, tuple[int, bool]]:
    """Of `STATES` where each stands."""
    return {name: state for name, state in states(url).items() if name in STATES}


@pytest.fixture
def bench(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, NUMBERED)
    return back_up(fresh_database, tmp_path)


def test_into_an_empty_database_each_stands_where_it_was(
    bench: Bench, fresh_database: str, empty_database: str
) -> None:
    bench.restore(empty_database, Mode.NEW)
    assert standing(empty_database) == STATES
    assert states(empty_database) == states(fresh_database)
    run(empty_database, "INSERT INTO invoices (amount) VALUES (11)")
    assert one(empty_database, "SELECT no FROM invoices WHERE amount = 11") == "INV-1005"
    assert one(empty_database, "SELECT nextval('\"my app\".\"Ticket''s\"')") == 542


@pytest.mark.parametrize("mode", [Mode.INSERT_MISSING, Mode.REPLACE])
def test_in_a_living_database_they_are_moved_on_and_never_back(bench: Bench, fresh_database: str, mode: Mode) -> None:
    run(fresh_database, "SELECT setval('invoice_no_seq', 7, false), setval('\"my app\".\"Ticket''s\"', 900)")
    run(fresh_database, "SELECT setval('down', 100), setval('round', 8), setval('never_used', 80)")
    bench.restore(fresh_database, mode)
    kept = {"my app.Ticket's": (900, True), "public.round": (8, True), "public.never_used": (80, True)}
    assert standing(fresh_database) == STATES | kept


def test_one_table_alone_leaves_them_and_says_so(bench: Bench, fresh_database: str) -> None:
    run(fresh_database, "SELECT setval('invoice_no_seq', 7)")
    plan = bench.plan(fresh_database, Mode.INSERT_MISSING, "invoices")
    assert "stay where they are" in "\n".join(remark.message for remark in plan.remarks)
    bench.restore(fresh_database, Mode.INSERT_MISSING, "invoices")
    assert one(fresh_database, "SELECT last_value FROM invoice_no_seq") == 7


def test_one_that_the_target_lacks_or_may_not_set_is_said_in_the_plan(bench: Bench, fresh_database: str) -> None:
    run(fresh_database, "DROP SEQUENCE never_used")
    plan = bench.plan(fresh_database, Mode.INSERT_MISSING)
    assert "not in the target, and are not made: public.never_used" in warnings(plan)
    bench.restore(fresh_database, Mode.INSERT_MISSING)


def test_one_that_the_backup_role_may_not_read_is_no_failure_and_is_said(
    fresh_database: str, empty_database: str, tmp_path: Path
) -> None:
    run(fresh_database, NUMBERED)
    bench = back_up(fresh_database, tmp_path)
    unread = tuple(one.model_copy(update={"last_value": None}) for one in bench.place.manifest.sequences)
    stored_as(bench, bench.place.manifest.model_copy(update={"sequences": unread}))
    plan = bench.plan(empty_database, Mode.NEW)
    assert "its role could not read them: my app.Ticket's, public.down" in warnings(plan)
    assert plan.sequences == ()


def test_a_backup_of_an_older_format_says_that_it_has_none(bench: Bench, empty_database: str) -> None:
    stored_as(bench, bench.place.manifest.model_copy(update={"format_version": "1.2", "sequences": ()}))
    assert "of a format before 1.3" in warnings(bench.plan(empty_database, Mode.NEW))
    bench.restore(empty_database, Mode.NEW)
