"""What is whole is not called broken: keys that only PostgreSQL can compare, odd sequences, keys the source breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.verification import Level, VerifyReport
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.operations import anomalies as anomaly_references
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline.operations.verify import contents as references
from backup_pipeline_tests.drill.rehearsing import Rehearsing, drafted, run
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.servers.postgres import temporary_database

KEYS = """
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE products (sku text COLLATE ci PRIMARY KEY, name text NOT NULL);
CREATE TABLE lines (id int PRIMARY KEY, sku text COLLATE ci NOT NULL REFERENCES products, qty int);
INSERT INTO products VALUES ('AB-100', 'Router'), ('CD-200', 'Cable');
INSERT INTO lines VALUES (1, 'ab-100', 1), (2, 'AB-100', 2), (3, 'Cd-200', 3);
CREATE DOMAIN any_case AS text COLLATE ci;
CREATE TABLE tags (tag any_case PRIMARY KEY); INSERT INTO tags VALUES ('Red');
CREATE TABLE tagged (id int PRIMARY KEY, tag any_case REFERENCES tags); INSERT INTO tagged VALUES (1, 'rEd');
CREATE TABLE parted (sku text COLLATE ci PRIMARY KEY) PARTITION BY HASH (sku);
"""
VALUES = """
CREATE TABLE n (a numeric PRIMARY KEY); INSERT INTO n VALUES (1.0), (2.50);
CREATE TABLE n_child (id int PRIMARY KEY, a numeric REFERENCES n); INSERT INTO n_child VALUES (1, 1.00), (2, 2.5);
CREATE TABLE n2 (a numeric(10,2) PRIMARY KEY); INSERT INTO n2 VALUES (1.00);
CREATE TABLE n2_child (id int PRIMARY KEY, a numeric(12,4) REFERENCES n2); INSERT INTO n2_child VALUES (1, 1.0000);
CREATE TABLE f (a float8 PRIMARY KEY); INSERT INTO f VALUES ('-0'), ('NaN');
CREATE TABLE f_child (id int PRIMARY KEY, a float8 REFERENCES f); INSERT INTO f_child VALUES (1, 0), (2, 'NaN');
CREATE TABLE c (a char(6) PRIMARY KEY); INSERT INTO c VALUES ('ab');
CREATE TABLE c_child (id int PRIMARY KEY, a char(6) REFERENCES c); INSERT INTO c_child VALUES (1, 'ab  ');
CREATE TABLE b (a bpchar PRIMARY KEY); INSERT INTO b VALUES ('ab');
CREATE TABLE b_child (id int PRIMARY KEY, a bpchar REFERENCES b); INSERT INTO b_child VALUES (1, 'ab   ');
CREATE TABLE cv_child (id int PRIMARY KEY, a varchar(10) REFERENCES c); INSERT INTO cv_child VALUES (1, 'ab');
CREATE TABLE i (a interval PRIMARY KEY); INSERT INTO i VALUES ('1 mon');
CREATE TABLE i_child (id int PRIMARY KEY, a interval REFERENCES i); INSERT INTO i_child VALUES (1, '30 days');
CREATE TABLE tz (a timetz PRIMARY KEY); INSERT INTO tz VALUES ('12:00+06');
CREATE TABLE tz_child (id int PRIMARY KEY, a timetz REFERENCES tz); INSERT INTO tz_child VALUES (1, '12:00+06');
CREATE TABLE j (a jsonb PRIMARY KEY); INSERT INTO j VALUES ('{"a": 1.0}');
CREATE TABLE j_child (id int PRIMARY KEY, a jsonb REFERENCES j); INSERT INTO j_child VALUES (1, '{"a": 1.00}');
CREATE TABLE r (a int4range PRIMARY KEY); INSERT INTO r VALUES ('[1,3]');
CREATE TABLE r_child (id int PRIMARY KEY, a int4range REFERENCES r); INSERT INTO r_child VALUES (1, '[1,4)');
CREATE TABLE big (a bigint PRIMARY KEY); INSERT INTO big VALUES (7);
CREATE TABLE small (id int PRIMARY KEY, a smallint REFERENCES big); INSERT INTO small VALUES (1, 7);
CREATE TYPE mood AS ENUM ('sad', 'happy'); ALTER TYPE mood ADD VALUE 'calm' BEFORE 'happy';
CREATE TABLE moods (m mood PRIMARY KEY); INSERT INTO moods VALUES ('calm'), ('happy'), ('sad');
CREATE TABLE felt (id int PRIMARY KEY, m mood REFERENCES moods); INSERT INTO felt VALUES (1, 'calm');
CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b)); INSERT INTO pair VALUES (1, 1);
CREATE TABLE simple (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES pair);
INSERT INTO simple VALUES (1, 1, 1), (2, 9, NULL), (3, NULL, NULL);
CREATE TABLE whole (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES pair MATCH FULL);
INSERT INTO whole VALUES (1, 1, 1), (2, NULL, NULL);
CREATE TABLE later (id int PRIMARY KEY, next int REFERENCES later DEFERRABLE INITIALLY DEFERRED);
INSERT INTO later VALUES (1, 2), (2, 1);
CREATE TABLE years (id int, y int, PRIMARY KEY (id, y)) PARTITION BY LIST (y);
CREATE TABLE years_1 PARTITION OF years FOR VALUES IN (1); CREATE TABLE years_2 PARTITION OF years FOR VALUES IN (2);
INSERT INTO years VALUES (1, 1), (1, 2);
CREATE TABLE of_year (id int PRIMARY KEY, of int, y int, FOREIGN KEY (of, y) REFERENCES years);
INSERT INTO of_year VALUES (1, 1, 2);
CREATE TABLE unfilled_of (id int PRIMARY KEY); CREATE UNLOGGED TABLE quick (id int PRIMARY KEY);
INSERT INTO quick VALUES (1);
CREATE MATERIALIZED VIEW unfilled AS SELECT id FROM unfilled_of WITH NO DATA;
"""
NEW_KEYS = """
CREATE TABLE loose (id int PRIMARY KEY, a bigint REFERENCES big NOT ENFORCED); INSERT INTO loose VALUES (1, 99);
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE stays (id int, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
INSERT INTO stays VALUES (1, '[2026-01-01,2026-02-01)'), (1, '[2026-02-01,2026-03-01)');
CREATE TABLE booked (id int PRIMARY KEY, stay int, valid daterange,
    FOREIGN KEY (stay, PERIOD valid) REFERENCES stays (id, PERIOD valid));
INSERT INTO booked VALUES (1, 1, '[2026-01-15,2026-02-15)');
"""
SEQUENCES = """
CREATE SEQUENCE around MINVALUE 1 MAXVALUE 3 CYCLE;
CREATE TABLE spun (at timestamptz DEFAULT now(), place int DEFAULT nextval('around'));
INSERT INTO spun SELECT FROM generate_series(1, 7);
CREATE TABLE turned (id int GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 4 CYCLE), v int);
INSERT INTO turned (v) SELECT 1 FROM generate_series(1, 6);
CREATE TABLE kept (id int GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 5 CYCLE) PRIMARY KEY, v int);
INSERT INTO kept (v) SELECT 1 FROM generate_series(1, 5); DELETE FROM kept WHERE id < 4;
CREATE TABLE down (id int GENERATED ALWAYS AS IDENTITY (INCREMENT -2 START -1 MAXVALUE -1 MINVALUE -99), v int);
INSERT INTO down (v) SELECT 1 FROM generate_series(1, 6);
CREATE TABLE used_up (id smallint GENERATED ALWAYS AS IDENTITY (MAXVALUE 3) PRIMARY KEY, v int);
INSERT INTO used_up (v) SELECT 1 FROM generate_series(1, 3);
CREATE SEQUENCE at_end MAXVALUE 2; SELECT nextval('at_end'), nextval('at_end');
"""
BROKEN = """
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parents);
INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1);
SET session_replication_role = replica; INSERT INTO children VALUES (2, 99);
"""


@pytest.fixture
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        yield url


class Counting(Place):
    """A place whose backups follow their references, as those of an installation do."""

    def ports(self, url: str) -> Ports:
        return replace(super().ports(url), decoder=FileDecoder)


def verified(made: Rehearsing) -> VerifyReport:
    attempt = made.attempt
    place = BackupPlace(attempt.scope, attempt.partition_date, attempt.backup_id)
    return verify_backup(place, VerifyRequest(Level.REFERENCES), verify_ports(made.place.store))


def backed(url: str, folder: Path, *statements: str) -> Rehearsing:
    for sql in statements:
        run(url, sql)
    catalog, place = drafted(url), Counting(folder / "spool")
    return Rehearsing(place, place.back_up(url, catalog), catalog, folder / "work")


def check(made: Rehearsing) -> VerifyReport:
    """Verify and drill it: nothing is found wrong."""
    report = verified(made)
    assert report.findings == ()
    drilled = made.drill()
    assert drilled.findings == ()
    return report


def test_keys_over_a_nondeterministic_collation_are_not_followed(system_database: str, tmp_path: Path) -> None:
    """The scratch server is of the source's version, and has ICU too."""
    report = check(backed(system_database, tmp_path, KEYS))
    told = "lines(sku) → public.products(sku) was not followed: the collation of sku takes different texts for equal"
    assert [remark for remark in report.remarks if remark.message.startswith(told)]


def test_keys_whose_equality_is_postgresqls_own(
    postgres_server: EmbeddedPostgres, database: str, tmp_path: Path
) -> None:
    new = NEW_KEYS
    with psycopg.connect(database) as session:
        there = session.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'btree_gist'").fetchone()
    if not there:
        new = new.partition("CREATE EXTENSION")[0]
    check(backed(database, tmp_path, VALUES, new))


def test_sequences_that_cycle_go_down_or_are_used_up(database: str, tmp_path: Path) -> None:
    check(backed(database, tmp_path, SEQUENCES))


def test_a_key_that_the_source_breaks_is_no_damage_where_it_was_too_large_to_be_counted(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of the target is in the backup, so what is missing there was missing in the source."""
    for module in (anomaly_references, references):
        monkeypatch.setattr(module, "CHEAP_ROWS", 2)
    made = backed(database, tmp_path, BROKEN)
    report = verified(made)
    assert report.findings == ()
    assert any("the source itself broke this key" in remark.message for remark in report.remarks)
