"""A whole database, backed up and restored into an empty one, is the same to pg_dump."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.errors import PreflightRefusedError
from backup_pipeline.core.restore import Mode
from backup_pipeline.demo import create_isp
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.restore.bench import back_up, back_up_catalog, everything, one, refusals, run
from backup_pipeline_tests.servers.pagila import load_pagila, needs_pagila

# What the safe views keep out of the backup, and new rows can not be without.
FILLED = {
    "employees.nid": "unknown",
    "employees.date_of_birth": "1900-01-01",
    "employees.basic_salary": "0",
    "employees.password_hash": "none",
    "mikrotik_users.password": "none",
    "routers.api_username": "none",
    "routers.api_password": "none",
}
# The source made like the target: with the values that are filled in, without what is kept out.
AS_FILLED = """
UPDATE employees SET nid = 'unknown', date_of_birth = '1900-01-01', basic_salary = 0, password_hash = 'none',
    bank_name = NULL, bank_account = NULL;
UPDATE mikrotik_users SET password = 'none';
UPDATE routers SET api_username = 'none', api_password = 'none', api_secret = NULL, api_port = DEFAULT;
UPDATE payroll SET bank_name = NULL, bank_account = NULL;
TRUNCATE sessions, api_keys, schema_migrations;
"""


@needs_pagila
def test_pagila_comes_back_as_it_was(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    load_pagila(fresh_database)
    run(fresh_database, "REFRESH MATERIALIZED VIEW rental_by_category")
    bench = back_up(fresh_database, tmp_path, {"staff": {"allow": {"password": "a hash of the sample"}, "exclude": {}}})
    report = bench.restore(empty_database, Mode.NEW)
    assert everything(empty_database) == everything(fresh_database)
    assert sum(table.loaded for table in report.tables) == bench.place.manifest.totals.rows
    views = "SELECT count(*) FROM rental_by_category"
    assert one(empty_database, views) == one(fresh_database, views) > 0
    run(empty_database, "INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date)"
        " SELECT customer_id, staff_id, rental_id, 1, '2022-02-02' FROM payment LIMIT 1")  # fmt: skip


@needs_pagila
def test_one_table_of_pagila_dropped_and_made_again(fresh_database: str, tmp_path: Path) -> None:
    load_pagila(fresh_database)
    run(fresh_database, "DROP VIEW sales_by_film_category, sales_by_store; DROP MATERIALIZED VIEW rental_by_category")
    bench = back_up(fresh_database, tmp_path, {"staff": {"allow": {"password": "a hash of the sample"}, "exclude": {}}})
    before = everything(fresh_database)
    run(fresh_database, "DROP TABLE payment")
    assert bench.restore(fresh_database, Mode.NEW, "payment").tables[0].loaded == 16049
    assert everything(fresh_database) == before


def test_the_isp_comes_back_but_for_what_is_kept_out(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.01)
    bench = back_up_catalog(fresh_database, tmp_path, load_catalog(BUILT_IN_CATALOGS / "isp.yaml"))
    without = bench.plan(empty_database, Mode.NEW)
    assert "--fill employees.nid=VALUE" in refusals(without)
    with pytest.raises(PreflightRefusedError) as refused:
        bench.restore(empty_database, Mode.NEW)
    assert refused.value.exit_code == 21

    bench.restore(empty_database, Mode.NEW, fill=FILLED)
    run(fresh_database, AS_FILLED)
    assert everything(empty_database) == everything(fresh_database)
    run(empty_database, "INSERT INTO call_records (phone, call_date) VALUES ('1', now())")
