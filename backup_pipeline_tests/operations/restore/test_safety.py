"""The safety backup before a restore: a real backup of the target's tables, or a reason not to go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.restore import Action, LoadedColumn, Name, RestorePlan, RestoreRequest, TableRestore
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.browse import stored_manifest
from backup_pipeline.operations.restore import SafetyRequest, safety_backup
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.operations.conftest import SHOP, SHOP_SQL, Made
from backup_pipeline_tests.operations.made import Place


def _table(name: str, target: Name, rows_now: int | None, *columns: str) -> TableRestore:
    loaded = tuple(LoadedColumn(column, column, "text") for column in columns)
    return TableRestore(name, ("public", name), target, Action.REPLACE, loaded, ("id",), 500, rows_now)


def _plan(*tables: TableRestore) -> RestorePlan:
    at = datetime.now(UTC)
    return RestorePlan(RestoreRequest("x"), "x", "shop", at, "url", "shop", tables, (), safety_backup=True)


def _row(place: Place, backup_id: str) -> Attempt:
    found = place.ledger.get(backup_id)
    assert found is not None
    return found


def test_the_tables_of_the_target_are_in_the_store_as_they_are_now(
    fresh_database: str, made: Made, tmp_path: Path
) -> None:
    with psycopg.connect(fresh_database) as session:
        session.execute(SHOP_SQL)
        session.execute("CREATE SCHEMA rescued")
        session.execute("ALTER TABLE sold SET SCHEMA rescued")
        session.execute("DELETE FROM rescued.sold WHERE id > 7")
        session.execute("ALTER TABLE goods ADD note text DEFAULT 'here', ADD secret text")
    place = Place(tmp_path, made.store, made.ledger)
    partitions = {stored.key for stored in made.store.list("shop/")}
    plan = _plan(
        _table("goods", ("public", "goods"), 500),
        _table("sold", ("rescued", "sold"), 7, "id", "at"),
        _table("gone", ("public", "gone"), None),
    )
    backup_id = safety_backup(SafetyRequest(plan, 7, RAHIM, SHOP), place.ports(fresh_database))
    row = _row(place, backup_id)
    assert (row.status, row.kind, row.scope) == (Status.SUCCESS, "selective", Scope("shop").safety)
    assert (row.reason, row.actor) == ("before restore 7", RAHIM)
    assert row.table_counts == {"goods": 500, "sold": 7}
    manifest = stored_manifest(row, made.store)
    goods = next(table for table in manifest.tables if table.name == "goods")
    assert [column.name for column in goods.columns] == ["id", "name", "price", "note"]
    assert list(goods.excluded_columns) == ["secret"]
    sold = next(table for table in manifest.tables if table.name == "sold")
    assert (sold.relation, [column.name for column in sold.columns]) == ("rescued.sold", ["id", "at"])
    assert {stored.key for stored in made.store.list("shop/")} == partitions  # the catalog's own are as they were
    assert made.ledger.last_good(Scope("shop")) == made.attempt


def test_one_that_fails_says_so_in_its_row_and_stops_the_restore(
    fresh_database: str, made: Made, tmp_path: Path
) -> None:
    with psycopg.connect(fresh_database) as session:
        session.execute(SHOP_SQL)
    place = Place(tmp_path, made.store, made.ledger)
    plan = _plan(_table("goods", ("public", "goods"), 500))

    def full(*_: object) -> None:
        raise BackupError("The store is full.")

    store = type("Full", (type(made.store),), {"put_file": full, "put": full})()
    with pytest.raises(BackupError, match="The store is full"):
        safety_backup(SafetyRequest(plan, 7, RAHIM, SHOP), replace(place.ports(fresh_database), store=store))
    [row] = made.ledger.list(scope=Scope("shop").safety)
    assert (row.status, "The store is full" in str(row.error_message)) == (Status.FAILED, True)
