"""Names with a percent sign, which a driver might take for the place of a parameter."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.drill.rehearsing import backed_up, drafted, run
from backup_pipeline_tests.restore.bench import back_up, everything

SQL = """
CREATE SCHEMA "5%"; CREATE TYPE "mood %s" AS ENUM ('%', '%%');
CREATE TABLE "100% sure" ("rate %" serial PRIMARY KEY, "%s" text UNIQUE, "%(value)s" "mood %s" DEFAULT '%');
CREATE TABLE "5%"."%%" (
    "id%" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "of%" int NOT NULL REFERENCES "100% sure",
    "%d" text DEFAULT '%d');
CREATE INDEX "%i" ON "5%"."%%" ("%d"); CREATE SEQUENCE "free %s";
CREATE VIEW "seen %" AS SELECT * FROM "100% sure" WHERE "%s" LIKE '%a%';
INSERT INTO "100% sure" ("%s") VALUES ('a%'), (NULL); INSERT INTO "5%"."%%" ("of%") VALUES (1), (2), (2);
"""


def test_a_drill_takes_names_with_a_percent_sign(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, SQL)
    report = backed_up(fresh_database, tmp_path, drafted(fresh_database)).drill()
    assert report.findings == ()
    assert {trial.table: trial.drawn for trial in report.inserts} == {"5%.%%": ("4",), "public.100% sure": ("3",)}


def test_a_restore_in_every_mode_takes_names_with_a_percent_sign(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, SQL)
    shop = back_up(fresh_database, tmp_path)
    before = everything(fresh_database)
    run(
        fresh_database,
        """DELETE FROM "5%"."%%" WHERE "id%" = 1; UPDATE "100% sure" SET "%s" = 'b' WHERE "rate %" = 2""",
    )
    shop.restore(fresh_database, Mode.INSERT_MISSING)
    shop.restore(fresh_database, Mode.UPSERT)
    shop.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before
