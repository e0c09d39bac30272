"""Backups that are hard to restore by themselves: what is masked, left out, computed, partitioned, numbered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.core.drill import Fault, How
from backup_pipeline.core.errors import BackupError
from backup_pipeline.postgres.drill import PostgresScratch
from backup_pipeline_tests.drill.rehearsing import backed_up, drafted, run, said, table
from backup_pipeline_tests.operations.conftest import SHOP, SHOP_SQL

SHAPES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE people (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, token text NOT NULL UNIQUE, pin text NOT NULL,
  nid text NOT NULL, mood mood NOT NULL, CHECK (length(pin) = 4));
CREATE TABLE events (at date NOT NULL, id bigserial, body text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');
CREATE TABLE codes (code text PRIMARY KEY, value double precision);
CREATE TABLE loose (a int, b text, c jsonb);
CREATE TABLE bare (id serial PRIMARY KEY, needed text NOT NULL UNIQUE);
CREATE TABLE orders (id serial PRIMARY KEY, person int REFERENCES people, ref text UNIQUE, amount numeric(10, 2));
ALTER TABLE orders ADD CONSTRAINT later CHECK (amount > 5) NOT VALID;
CREATE INDEX ON orders (person);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER noting BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
CREATE VIEW sums AS SELECT person, sum(amount) AS total FROM orders GROUP BY person;
CREATE VIEW moment AS SELECT clock_timestamp() AS at, n FROM generate_series(1, 2) AS n;
CREATE MATERIALIZED VIEW old_sums AS SELECT count(*) AS n FROM orders;
INSERT INTO people (name, token, pin, nid, mood)
  SELECT 'p' || n, 't' || n, '0000', 'x', 'sad' FROM generate_series(1, 30) n;
INSERT INTO events (at, body) SELECT date '2024-12-01' + n, E'line\\n' || n FROM generate_series(1, 60) n;
INSERT INTO codes SELECT 'k' || n, CASE n WHEN 1 THEN '-0'::float8 WHEN 2 THEN 'NaN' ELSE n / 7.0 END
  FROM generate_series(1, 20) n;
INSERT INTO loose SELECT n % 3, NULLIF('', '') , 'null' FROM generate_series(1, 10) n;
INSERT INTO bare (needed) VALUES ('one');
INSERT INTO orders (person, ref, amount) SELECT 1 + n % 30, 'r' || n, n FROM generate_series(6, 50) n;
"""
SPECS: dict[str, dict[str, Any]] = {
    "people": {"exclude": {"token": "a secret", "pin": "a secret", "nid": "private"}, "mask": ["mood"]},
    "orders": {"columns": {"Number": "id", "Who": "person.name", "Sum": "amount"}},
    "sums": {"kind": "view"},
    "old_sums": {"kind": "materialized view"},
    "moment": {"kind": "view"},
}


def test_everything_odd_comes_back(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, SHAPES + "INSERT INTO orders (person, ref, amount) VALUES (1, 'late', 7);")
    shop = backed_up(fresh_database, tmp_path, drafted(fresh_database, **SPECS))
    report = shop.drill()
    assert report.findings == ()
    told = said(report)
    assert "people.nid is not in the backup and may not be NULL: rows get '-'" in told
    assert "public.people.token is not in the backup and has to be something of its own" in told
    assert "public.people.pin is not in the backup" in told
    assert "people: not compared, because the backup does not have their values: mood." in told
    assert "people: columns of the sheet that could not be made again: mood." in told
    assert "public.orders.later: is not validated in the source (NOT VALID or NOT ENFORCED), and is not here." in told
    assert table(report, "people").parquet is How.FINGERPRINT
    assert table(report, "orders").parquet is How.BYTES
    assert table(report, "orders").sheet is How.BYTES
    assert table(report, "people").sheet is How.FINGERPRINT
    assert table(report, "events").parquet is How.BYTES
    assert not table(report, "sums").restored
    assert (table(report, "moment").parquet, table(report, "old_sums").parquet) == (How.DIFFERENT, How.DIFFERENT)
    assert "moment: the rows of its Parquet files are not those of the backup. It is a view" in told
    counts = {one.kind: (one.valid, one.wanted) for one in report.objects}
    assert counts["triggers"] == (1, 1)
    assert counts["keys and other constraints"][0] == counts["keys and other constraints"][1] - 1  # NOT VALID
    trials = {trial.table: trial for trial in report.inserts}
    assert trials["public.people"].drawn == ("31",)
    assert trials["public.orders"].drawn == ("47",)
    assert trials["public.events"].drawn == ("61",)
    assert "needed must be unique" in trials["public.bare"].not_tried
    assert shop.level() == (4, True)


def test_a_number_that_is_given_out_twice_is_a_finding(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fresh_database, "CREATE TABLE t (id serial PRIMARY KEY, a int); CREATE TABLE u (id serial, a int);"
        "INSERT INTO t (a) SELECT 1 FROM generate_series(1, 9); INSERT INTO u (a) VALUES (1), (2);"
        "CREATE SEQUENCE tickets; SELECT setval('tickets', 41)")  # fmt: skip
    shop = backed_up(fresh_database, tmp_path, drafted(fresh_database))
    objects = PostgresScratch.objects

    def broken(scratch: PostgresScratch) -> object:
        with scratch._work() as work:
            work.run(
                "SELECT setval('public.t_id_seq', 5), setval('public.u_id_seq', 1), setval('public.tickets', 40)",
                "breaking it",
            )
        return objects(scratch)

    monkeypatch.setattr(PostgresScratch, "objects", broken)
    report = shop.drill()
    told = {finding.about: finding.message for finding in report.findings}
    assert told.keys() == {"public.t", "public.u", "public.tickets"}
    assert told["public.tickets"].startswith("the backup has this sequence at 41, and it stands at 40")
    assert all("next number of column id is taken" in told[name] for name in ("public.t", "public.u"))
    assert shop.level() == (3, False)
    [alert] = shop.alerter.alerts
    assert alert.title == "Drill failed: shop"
    assert alert.tables.keys() == {"public.t", "public.u", "public.tickets"}
    assert alert.do


def test_what_the_definitions_make_and_is_not_there_is_a_finding(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fresh_database, SHOP_SQL + "CREATE INDEX dear ON goods (price); CREATE SEQUENCE lonely;")
    shop = backed_up(fresh_database, tmp_path, SHOP)
    objects = PostgresScratch.objects

    def broken(scratch: PostgresScratch) -> object:
        # What nobody but the server's superuser could do.
        admin = scratch._admin.conninfo("tests", 10)
        run(admin, "DROP INDEX public.dear; DROP SEQUENCE public.lonely; ALTER TABLE public.sold "
            "DROP CONSTRAINT sold_good_id_fkey; UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'public.sold_pkey'::regclass")  # fmt: skip
        return objects(scratch)

    monkeypatch.setattr(PostgresScratch, "objects", broken)
    report = shop.drill()
    about = {finding.about for finding in report.findings}
    assert about == {"public.dear", "public.lonely", "public.sold.sold_good_id_fkey", "public.sold_pkey"}


def test_a_drill_that_can_not_be_done_alerts_and_leaves_the_level(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fresh_database, SHOP_SQL)
    shop = backed_up(fresh_database, tmp_path, SHOP)

    def refused(*_: object) -> None:
        raise BackupError("the scratch server lacks postgis", do="Install it.")

    monkeypatch.setattr(PostgresScratch, "prepare", refused)
    with pytest.raises(BackupError, match="could not be done: the scratch server lacks postgis") as failed:
        shop.drill()
    assert failed.value.exit_code == 1
    assert shop.level() == (1, True)
    [alert] = shop.alerter.alerts
    assert alert.do == "Install it."
    assert [event.detail["failed"] for event in shop.audits()] == [failed.value.what]
    assert shop.left() == []


def test_a_changed_value_is_found_though_nothing_else_changed(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row as many, the same keys: only a value is another one, in a table that comes in no order."""
    run(
        fresh_database,
        "CREATE TABLE loose (a int, b float8, c text); INSERT INTO loose VALUES (1, 0, ''), (2, 1, NULL)",
    )
    shop = backed_up(fresh_database, tmp_path, drafted(fresh_database))

    def change(scratch: PostgresScratch, _table: object) -> None:
        with scratch._work() as work:
            work.run("UPDATE public.loose SET b = '-0' WHERE a = 1", "changing a value")

    monkeypatch.setattr(PostgresScratch, "drop_row", change)
    report, outcome = shop.inject(Fault.DROP_ROW)
    assert outcome.exit_code == 20
    assert report.findings[0].about == "loose"
