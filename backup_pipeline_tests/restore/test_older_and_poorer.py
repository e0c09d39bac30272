"""Backups that know less: of format 1.0, made by a role that may not read everything, without a schema, selective."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.errors import PreflightRefusedError
from backup_pipeline.core.manifest import StoredManifest, seal
from backup_pipeline.core.restore import Mode
from backup_pipeline.demo import create_isp
from backup_pipeline.operations.browse import place_of
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.restore.bench import (
    Bench,
    back_up,
    back_up_catalog,
    everything,
    one,
    refusals,
    run,
    warnings,
)
from backup_pipeline_tests.restore.test_oracles import AS_FILLED, FILLED

SHOP = """
CREATE TABLE goods (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
CREATE TABLE sold (id serial PRIMARY KEY, good_id int REFERENCES goods);
INSERT INTO goods (name) VALUES ('a'), ('b'); INSERT INTO sold (good_id) VALUES (1), (2), (2);
"""


def stored_as(bench: Bench, manifest: StoredManifest) -> None:
    """Put another manifest there, one that the ledger takes for the right one."""
    data = seal(manifest)
    bench.place.store.put(place_of(bench.attempt).manifest, [data])
    bench.place.ledger.adopt([replace(bench.attempt, manifest_sha256=hashlib.sha256(data).hexdigest())], [])


def as_of_1_0(manifest: StoredManifest) -> StoredManifest:
    """The manifest as the first version of the format wrote it."""
    poorer = {"relation_id": None, "relation_kind": None, "references": (), "sequences": (), "sheet_sources": ()}
    plain = {"generated": False, "identity": False}
    tables = tuple(
        table.model_copy(
            update={**poorer, "columns": tuple(column.model_copy(update=plain) for column in table.columns)}
        )
        for table in manifest.tables
    )
    return manifest.model_copy(update={"format_version": "1.0", "tables": tables})


def test_a_backup_of_format_1_0(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(fresh_database, SHOP)
    bench = back_up(fresh_database, tmp_path)
    stored_as(bench, as_of_1_0(bench.place.manifest))
    plan = bench.plan(empty_database, Mode.NEW)
    assert any("format 1.0: it does not record sequences" in remark.message for remark in plan.remarks)
    bench.restore(empty_database, Mode.NEW)
    assert everything(empty_database) == everything(fresh_database)
    before = everything(fresh_database)
    run(fresh_database, "DELETE FROM sold; UPDATE goods SET name = 'x'")
    bench.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before


def test_a_backup_whose_tables_show_different_instants_says_so(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, SHOP)
    bench = back_up(fresh_database, tmp_path)
    stored_as(bench, bench.place.manifest.model_copy(update={"consistent": False}))
    assert "show different instants" in warnings(bench.plan(fresh_database, Mode.REPLACE))


def test_a_backup_without_definitions(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(fresh_database, SHOP)
    bench = back_up(fresh_database, tmp_path)
    entries = {path: sha256 for path, sha256 in bench.place.manifest.entries.items() if path != "schema.sql"}
    stored_as(bench, bench.place.manifest.model_copy(update={"entries": entries}))
    plan = bench.plan(empty_database, Mode.NEW)
    assert "schema.sql has no definition of public.goods" in refusals(plan)
    bench.restore(empty_database, Mode.NEW, into_schema="copy")
    assert one(empty_database, "SELECT count(*) FROM copy.sold") == 3
    run(empty_database, SHOP + "TRUNCATE goods, sold RESTART IDENTITY")
    bench.restore(empty_database, Mode.UPSERT)
    run(empty_database, "DROP SCHEMA copy CASCADE")
    assert everything(empty_database) == everything(fresh_database)


def test_a_role_that_may_not_read_everything(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    """The tables behind the safe views are in no schema.sql then: the application makes them, and they are filled."""
    create_isp(fresh_database, scale=0.005, backup_password="only-a-test")
    role = f"postgresql://isp_backup:only-a-test@{fresh_database.rpartition('@')[2]}"
    bench = back_up_catalog(role, tmp_path, load_catalog(BUILT_IN_CATALOGS / "isp.yaml"))
    plan = bench.plan(empty_database, Mode.NEW)
    assert "no definition of public.employees, which the backup role could not read" in refusals(plan)
    assert "as your application does, then use --mode replace" in refusals(plan)
    assert "needs public.employees, which the backup role could not read" in warnings(plan)
    assert not bench.plan(empty_database, Mode.NEW, "areas", "packages").refused

    create_isp(empty_database, scale=0.001)
    tables = ", ".join(table.target_name for table in bench.plan(empty_database, Mode.REPLACE).tables)
    run(empty_database, f"TRUNCATE {tables}, sessions, api_keys, schema_migrations RESTART IDENTITY")
    bench.restore(empty_database, Mode.REPLACE, fill=FILLED)
    run(fresh_database, AS_FILLED)
    assert everything(empty_database)[1] == everything(fresh_database)[1]


def test_the_target_is_never_the_backup_role(fresh_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.001, backup_password="only-a-test")
    role = f"postgresql://isp_backup:only-a-test@{fresh_database.rpartition('@')[2]}"
    bench = back_up_catalog(role, tmp_path, load_catalog(BUILT_IN_CATALOGS / "isp.yaml"))
    assert "transactions of role isp_backup are read-only" in refusals(bench.plan(role, Mode.REPLACE, "areas"))
    with pytest.raises(PreflightRefusedError):
        bench.restore(role, Mode.REPLACE, "areas")
