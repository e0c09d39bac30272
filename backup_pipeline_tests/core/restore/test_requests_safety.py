"""The catalog of a safety backup: every column of what may be overwritten, but for what the catalog keeps out."""

from __future__ import annotations

import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.relations import Column, Database, Relation, RelationKind
from backup_pipeline.core.restore import Action, LoadedColumn, Name, TableRestore
from backup_pipeline.core.restore.requests import safety_catalog


def _relation(schema: str, name: str, *columns: str) -> Relation:
    made = tuple(Column(column, "text", "text", builtin=True) for column in columns)
    return Relation(schema, name, RelationKind.TABLE, made, primary_key=columns[:1])


DATABASE = Database(
    "isp",
    {
        relation.id: relation
        for relation in (
            _relation("public", "customers", "id", "name", "password", "notes", "api_token"),
            _relation("rescued", "My.payments", "id", "amount"),
            _relation("public", "other", "id", "secret"),
        )
    },
)
BASE = Catalog.model_validate(
    {
        "catalog": "isp",
        "timezone": "Asia/Dhaka",
        "tables": {
            "customers": {
                "sheet": "Customers",
                "exclude": {"password": "never leaves", "gone": "is not in the target any more"},
                "mask": ["notes"],
                "key": ["id"],
                "columns": {"Area": "area_id.name"},
            },
            "payments": {"key": ["number"]},
        },
    }
)


def _table(name: str, target: Name, *columns: str, source: Name | None = None) -> TableRestore:
    loaded = tuple(LoadedColumn(column, column, "text") for column in columns)
    return TableRestore(name, source or target, target, Action.REPLACE, loaded, ("id",), 1, 1)


CUSTOMERS = _table("customers", ("public", "customers"), "id", "name", "notes")
OTHER = _table("other", ("public", "other"), "id")


def test_it_follows_the_catalog_where_the_target_still_has_the_columns() -> None:
    payments = _table("payments", ("rescued", "My.payments"), "id", source=("public", "payments"))
    catalog = safety_catalog("isp", [CUSTOMERS, payments], DATABASE, BASE)
    assert (catalog.catalog, catalog.timezone, catalog.schedule) == ("isp", "Asia/Dhaka", None)
    customers = catalog.tables["customers"]
    assert set(customers.exclude) == {"password", "api_token"}
    assert (customers.mask, customers.key, customers.sheet) == (("notes",), ("id",), "Customers")
    assert (catalog.relation_of("payments"), catalog.tables["payments"].key) == (("rescued", "My.payments"), ())
    plan = plan_catalog(catalog, DATABASE)
    assert plan.failed == {}
    assert [column.column.name for column in plan.tables["customers"].columns] == ["id", "name", "notes"]
    assert plan.unlisted == ()


@pytest.mark.parametrize("base", [BASE, None])
def test_what_a_safe_view_hides_stays_hidden(base: Catalog | None) -> None:
    through_view = _table("customers", ("public", "customers"), "id", "name", source=("public", "customers_safe"))
    catalog = safety_catalog("isp", [through_view], DATABASE, base)
    assert set(catalog.tables["customers"].exclude) == {"password", "api_token", "notes"}
    plan = plan_catalog(catalog, DATABASE)
    assert [column.column.name for column in plan.tables["customers"].columns] == ["id", "name"]


def test_a_column_that_came_after_the_backup_is_protected_too() -> None:
    before = _table("customers", ("public", "customers"), "id")
    assert set(safety_catalog("isp", [before], DATABASE, BASE).tables["customers"].exclude) == {"password", "api_token"}


def test_without_a_catalog_it_takes_everything_but_what_looks_like_a_secret() -> None:
    catalog = safety_catalog("shop", [OTHER], DATABASE, None)
    assert (catalog.timezone, set(catalog.tables["other"].exclude)) == ("UTC", {"secret"})
    assert plan_catalog(catalog, DATABASE).failed == {}


def test_a_table_that_is_not_there_needs_no_protection() -> None:
    catalog = safety_catalog("isp", [_table("gone", ("public", "gone"), "id"), OTHER], DATABASE, BASE)
    assert list(catalog.tables) == ["other"]
