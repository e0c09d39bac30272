"""Tests of look-ups: chains of foreign keys, rows that point back, and references of the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backup_pipeline.core.planning import plan_table
from backup_pipeline.core.plans import LookUp, Step
from backup_pipeline.core.relations import Database, RelationKind
from backup_pipeline_tests.core.values import (
    AREAS,
    CUSTOMERS,
    PAYMENTS,
    SHOP,
    catalog,
    column,
    database,
    refusal,
    relation,
)


def look_up(tables: dict[str, Any], table: str, shop: Database = SHOP) -> LookUp:
    """The only look-up of a table."""
    (sheet,) = plan_table(catalog(tables), table, shop).look_ups
    assert sheet.look_up is not None
    return sheet.look_up


def test_a_foreign_key_is_looked_up() -> None:
    found = look_up({"customers": {"columns": {"Area": "area_id.name"}}}, "customers")
    assert found.steps == (Step(("public", "areas"), ("id",), ("area_id",)),)
    assert (found.column.name, found.joined) == ("name", False)


def test_a_chain_follows_one_foreign_key_after_another_and_round_in_circles() -> None:
    found = look_up({"payments": {"columns": {"Top": "customer_id.area_id.parent_id.parent_id.name"}}}, "payments")
    assert [step.relation[1] for step in found.steps] == ["customers", "areas", "areas", "areas"]
    assert [step.from_columns for step in found.steps] == [
        ("customer_id",),
        ("area_id",),
        ("parent_id",),
        ("parent_id",),
    ]


def test_rows_that_point_back_are_joined() -> None:
    found = look_up({"customers": {"columns": {"Paid": "payments[customer_id].amount"}}}, "customers")
    assert found == LookUp(
        (Step(("public", "payments"), ("customer_id",), ("id",)),), column("amount"), "string", joined=True
    )


def test_rows_point_back_to_what_their_foreign_key_says_whatever_the_key() -> None:
    tables = {"customers": {"key": ["phone"], "columns": {"Paid": "payments[customer_id].amount"}}}
    assert look_up(tables, "customers").steps[0].from_columns == ("id",)


def test_without_a_foreign_key_rows_point_back_to_the_key() -> None:
    view = relation("accounts", "username", "customer_id", kind=RelationKind.VIEW)
    tables = {"customers": {"columns": {"Account": "accounts[customer_id].username"}}, "accounts": {"kind": "view"}}
    assert look_up(tables, "customers", database(CUSTOMERS, view)).steps[0].from_columns == ("id",)


def test_pointing_back_needs_a_key_of_one_column() -> None:
    view = relation("accounts", "username", "customer_id", kind=RelationKind.VIEW)
    keyless = replace(CUSTOMERS, primary_key=())
    tables = {"customers": {"columns": {"A": "accounts[customer_id].username"}}, "accounts": {"kind": "view"}}
    error = refusal(tables, database(keyless, view))
    assert "no key of one column" in error.what
    assert error.do == "Give the table a `key` in the catalog."


def test_references_go_before_foreign_keys_and_may_lead_to_another_schema() -> None:
    safe = relation("areas_safe", "code", "name", schema="safe", kind=RelationKind.VIEW)
    customers = {"references": {"area_id": "safe.areas_safe.code"}, "columns": {"Area": "area_id.name"}}
    tables = {"customers": customers, "safe": {"relation": "safe.areas_safe", "kind": "view"}}
    found = look_up(tables, "customers", database(CUSTOMERS, AREAS, safe))
    assert found.steps == (Step(("safe", "areas_safe"), ("code",), ("area_id",)),)


def test_a_look_up_leads_to_no_view_that_the_catalog_does_not_know() -> None:
    view = replace(AREAS, kind=RelationKind.VIEW)
    error = refusal({"customers": {"columns": {"Area": "area_id.name"}}}, database(CUSTOMERS, view))
    assert "leads to public.areas, which is a view" in error.what
    assert "name it in the catalog under `views`, or list it as a table with `kind: view`" in error.do
    named = catalog({"customers": {"columns": {"Area": "area_id.name"}}}, views=["areas"])
    (sheet,) = plan_table(named, "customers", database(CUSTOMERS, view)).look_ups
    assert sheet.look_up is not None


def test_references_of_another_table_of_the_catalog_help_a_chain() -> None:
    bare = replace(CUSTOMERS, foreign_keys=())
    tables = {
        "customers": {"references": {"area_id": "areas.id"}},
        "payments": {"columns": {"Area": "customer_id.area_id.name"}},
    }
    assert len(look_up(tables, "payments", database(AREAS, bare, PAYMENTS)).steps) == 2


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"columns": {"X": "phone.name"}}, "public.customers.phone leads nowhere: there is no foreign key"),
        ({"columns": {"X": "nothing.name"}}, "goes through public.customers.nothing, which does not exist"),
        ({"columns": {"X": "area_id.nmae"}}, "shows public.areas.nmae, which does not exist"),
        ({"columns": {"X": "area_id.nothing.name"}}, "goes through public.areas.nothing, which does not exist"),
        ({"columns": {"X": "none[customer_id].name"}}, "leads to public.none, which database shop does not have"),
        ({"columns": {"X": "payments[nothing].amount"}}, "compares with public.payments.nothing, which does not exist"),
        ({"columns": {"X": "payments[customer_id].no"}}, "shows public.payments.no, which does not exist"),
        (
            {"references": {"area_id": "areas.nothing"}, "columns": {"X": "area_id.name"}},
            "compares with public.areas.nothing, which does not exist",
        ),
        (
            {"references": {"area_id": "none.id"}, "columns": {"X": "area_id.name"}},
            "leads to public.none, which database shop does not have",
        ),
    ],
)
def test_a_look_up_that_leads_nowhere_says_where_it_ends(spec: dict[str, Any], said: str) -> None:
    error = refusal({"customers": spec})
    assert said in error.what
    assert error.do


def test_a_look_up_into_a_table_the_role_may_not_read_is_refused() -> None:
    shop = database(CUSTOMERS, replace(AREAS, readable=False))
    error = refusal({"customers": {"columns": {"Area": "area_id.name"}}}, shop)
    assert "public.areas, which the backup role may not read" in error.what
    assert "look up through a view" in error.do


@pytest.mark.parametrize("hidden", [{"mask": ["name"]}, {"exclude": {"name": "private"}}])
def test_what_one_table_hides_no_look_up_of_another_shows(hidden: dict[str, Any]) -> None:
    tables = {"areas": hidden, "customers": {"columns": {"Area": "area_id.name"}}}
    error = refusal(tables)
    assert "shows public.areas.name, which table areas masks or excludes" in error.what
