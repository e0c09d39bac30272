"""Drafting a catalog: fit names, readable sheets, look-ups by the name people know, and nothing secret."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.draft import (
    distinct,
    draft_catalog,
    draft_yaml,
    human_column,
    plain_name,
    sheet_title,
)
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.relations import Database, Relation, RelationKind
from backup_pipeline_tests.core.values import column, database, points, relation


def columns_of(name: str, shop: Database) -> Mapping[str, str]:
    return draft_catalog(shop).catalog.tables[name].columns


def test_every_table_is_in_it_and_views_and_partitions_are_not() -> None:
    shop = database(
        relation("sold", "id", kind=RelationKind.PARTITIONED),
        relation("sold_2026", "id", is_partition=True),
        relation("totals", "id", kind=RelationKind.VIEW),
        relation("elsewhere", "id", kind=RelationKind.FOREIGN),
    )
    draft = draft_catalog(shop)
    assert list(draft.catalog.tables) == ["sold"]
    assert draft.beside == ("public.elsewhere", "public.totals")
    assert "public.totals" in draft_yaml(draft)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("order_items", "Order Items"),
        ("OrderItems", "Order Items"),
        ("order-items.2026", "Order Items 2026"),
        ("HTTPLog", "HTTPLog"),
        ("গ্রাহক_তালিকা", "গ্রাহক তালিকা"),
        ("!!!", "Table"),
    ],
)
def test_sheets_are_named_for_people(name: str, title: str) -> None:
    assert sheet_title(name) == title


@given(st.text(max_size=80), st.text(string.ascii_letters, min_size=1, max_size=5))
def test_a_plain_name_is_always_fit_for_the_catalog(text: str, fallback: str) -> None:
    name = plain_name(text, fallback=fallback)
    assert 1 <= len(name) <= 63
    assert set(name) <= set(string.ascii_letters + string.digits + "_")
    assert not name[0].isdigit()


@given(st.lists(st.text("aB_", min_size=1, max_size=6), max_size=20))
def test_distinct_names_differ_whatever_the_case(names: list[str]) -> None:
    taken: set[str] = set()
    for name in names:
        found = distinct(name, taken, separator="_", length=6)
        assert found.casefold() not in taken
        assert len(found) <= 6
        taken.add(found.casefold())


def test_the_name_of_the_bundle_is_given_to_no_table() -> None:
    draft = draft_catalog(database(relation("bundle", "id"), relation("Bundle", "id")))
    assert "bundle" not in {name.casefold() for name in draft.catalog.tables}
    assert {draft.catalog.relation_of(name)[1] for name in draft.catalog.tables} == {"bundle", "Bundle"}


def test_a_table_whose_own_name_will_do_keeps_it() -> None:
    shop = database(relation("Orders", "id"), relation("orders", "id"), relation("orders", "id", schema="sales"))
    catalog = draft_catalog(shop).catalog
    assert {name: catalog.relation_of(name) for name in catalog.tables} == {
        "orders": ("public", "orders"),
        "Orders_2": ("public", "Orders"),
        "sales_orders": ("sales", "orders"),
    }
    assert sorted(catalog.sheet_of(name) for name in catalog.tables) == ["Orders", "Orders 2", "Sales Orders"]


def test_without_tables_in_public_the_fullest_schema_is_the_catalogs() -> None:
    shop = database(
        relation("a", "id", schema="app"), relation("b", "id", schema="app"), relation("c", "id", schema="log")
    )
    catalog = draft_catalog(shop).catalog
    assert catalog.schema_ == "app"
    assert list(catalog.tables) == ["a", "b", "log_c"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("id", "code", "name", "title"), "name"),
        (("id", "email", "title"), "title"),
        (("id", "first_name", "email"), "email"),
        (("id", "customer_name", "email"), "customer_name"),
        (("id", "FullName", "phone"), "FullName"),
        (("id", "customer"), "customer"),
        (("id", "password", "username"), "username"),
        (("id", "contact_title", "company_name"), "company_name"),
        (("id", "title", "contact_name", "company_name"), "company_name"),
        (("code", "label", "legal_name"), "legal_name"),
        (("id", "title", "contact_name"), "contact_name"),
        (("id", "title", "first_name", "user_name"), "title"),
    ],
)
def test_people_know_a_row_by_its_most_telling_column(names: tuple[str, ...], shown: str) -> None:
    found = human_column(relation("customers", *names))
    assert found is not None
    assert found.name == shown


def test_a_unique_text_is_better_than_nothing() -> None:
    table = relation("customers", "id", "nid", "phone", unique_keys=(("id", "phone"), ("nid",)))
    found = human_column(table)
    assert found is not None
    assert found.name == "nid"


def test_a_column_that_is_no_text_is_no_name() -> None:
    table = relation("files", "id", columns=(column("id", "int8"), column("name", "bytea"), column("label", "jsonb")))
    assert human_column(table) is None


def test_a_foreign_key_is_shown_as_a_name_under_a_shorter_title() -> None:
    customers = relation("customers", "id", "name")
    orders = relation("orders", "id", "customer_id", "note", foreign_keys=(points("customer_id", "customers"),))
    shown = columns_of("orders", database(customers, orders))
    assert shown == {"id": "id", "customer": "customer_id.name", "note": "note"}


def test_a_title_that_is_taken_stays_long() -> None:
    customers = relation("customers", "id", "name")
    orders = relation("orders", "id", "customer_id", "Customer", foreign_keys=(points("customer_id", "customers"),))
    shown = columns_of("orders", database(customers, orders))
    assert shown == {"id": "id", "customer_id": "customer_id.name", "Customer": "Customer"}


@pytest.mark.parametrize(
    "target",
    [
        relation("customers", "id", "password"),
        relation("customers", "id", "name", readable=False),
        relation("others", "id", "name"),
    ],
)
def test_a_foreign_key_without_a_name_to_show_stays_a_plain_column(target: Relation) -> None:
    orders = relation("orders", "id", "customer_id", foreign_keys=(points("customer_id", "customers"),))
    shop = database(target, orders)
    assert columns_of("orders", shop) == {}
    assert plan_catalog(draft_catalog(shop).catalog, shop).failed == {}


def test_a_natural_key_is_its_own_name() -> None:
    countries = relation("countries", "code", primary_key=("code",))
    cities = relation("cities", "id", "country", foreign_keys=(points("country", "countries", "code"),))
    assert columns_of("cities", database(countries, cities)) == {}


def test_secrets_are_left_out_with_the_reason_and_off_the_sheet() -> None:
    users = relation("users", "id", "name", "password_hash", "boss_id", foreign_keys=(points("boss_id", "users"),))
    spec = draft_catalog(database(users)).catalog.tables["users"]
    assert list(spec.exclude) == ["password_hash"]
    assert "looks like a secret" in spec.exclude["password_hash"]
    assert "password_hash" not in spec.columns.values()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (relation("tokens", "token", "api_key"), "look like secrets"),
        (relation("empty"), "no columns"),
        (relation("locked", "id", readable=False), "GRANT SELECT ON public.locked"),
        (relation("odd[*]name.x", "id", readable=False), "GRANT SELECT"),
    ],
)
def test_a_table_that_can_not_be_backed_up_is_excluded_with_the_reason(table: Relation, told: str) -> None:
    shop = database(relation("goods", "id"), table)
    catalog = draft_catalog(shop).catalog
    assert list(catalog.tables) == ["goods"]
    reason = catalog.excluded_reason(*table.id)
    assert reason is not None
    assert told in reason
    assert plan_catalog(catalog, shop).unlisted == ()


def test_an_excluded_odd_name_excludes_no_other() -> None:
    catalog = draft_catalog(
        database(relation("goods", "id"), relation("a*", "id", readable=False), relation("abc", "id"))
    ).catalog
    assert catalog.excluded_reason("public", "abc") is None


def test_a_table_without_a_key_works_and_is_pointed_out() -> None:
    shop = database(relation("log", "line"), relation("goods", "id"))
    draft = draft_catalog(shop)
    assert draft.keyless == ("log",)
    assert "# no key" in draft_yaml(draft)
    assert set(plan_catalog(draft.catalog, shop).tables) == {"log", "goods"}


def test_a_database_without_a_readable_table_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="1 tables in all"):
        draft_catalog(database(relation("locked", "id", readable=False)))


@pytest.mark.parametrize(
    ("name", "catalog"), [("shop", "shop"), ("My-Shop", "my_shop"), ("2024", "db_2024"), ("__", "db"), ("দোকান", "db")]
)
def test_the_catalog_is_named_like_the_database(name: str, catalog: str) -> None:
    shop = replace(database(relation("goods", "id")), name=name)
    assert draft_catalog(shop).catalog.catalog == catalog


_NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=20)
_TABLES = st.lists(
    st.tuples(st.sampled_from(["public", "Sales", "my schema"]), _NAMES, st.lists(_NAMES, max_size=4, unique=True)),
    min_size=1,
    max_size=6,
    unique_by=lambda table: table[:2],
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TABLES, _NAMES)
def test_any_database_gives_a_catalog_that_loads_and_plans(
    tmp_path: Path, tables: list[tuple[str, str, list[str]]], comment: str
) -> None:
    """Each table points to the one before it, so that odd names meet in look-ups too."""
    relations: list[Relation] = [relation("first", "id", "name")]
    for schema, name, names in tables:
        before = relations[-1]
        columns = tuple(column(n) for n in dict.fromkeys(("id", *names)))
        key = replace(points(columns[-1].name, ""), target=before.id)
        made = relation(name, schema=schema, columns=columns, foreign_keys=(key,), primary_key=("id",), comment=comment)
        relations.append(made)
    shop = database(*relations)
    draft = draft_catalog(shop)
    path = tmp_path / "drafted.yaml"
    path.write_text(draft_yaml(draft), encoding="utf-8")
    assert load_catalog(path) == draft.catalog
    plan = plan_catalog(draft.catalog, shop)
    assert (plan.failed, plan.unlisted) == ({}, ())


def test_sheets_fit_a_workbook_and_differ_whatever_the_case() -> None:
    names = [f"a_very_long_name_of_a_table_number_{number}" for number in range(12)]
    names += ["Orders", "orders", "\U0001f600" * 20, "\U0001f600" * 21]
    catalog = draft_catalog(database(*(relation(name, "id") for name in names))).catalog
    sheets = [catalog.sheet_of(name) for name in catalog.tables]
    assert all(len(sheet.encode("utf-16-le")) // 2 <= 31 for sheet in sheets)
    assert len({sheet.casefold() for sheet in sheets}) == len(names)
    assert not set("".join(sheets)) & set("[]:*?/\\")


def test_what_is_only_called_like_a_secret_is_allowed_with_the_reason() -> None:
    users = relation(
        "users",
        "id",
        columns=(
            column("id", "int8"),
            column("password_changed", "bool"),
            column("token_type", "text"),
            column("hmac_key", "text"),
            column("backup_codes", "text"),
        ),
    )
    draft = draft_catalog(database(users, relation("api_keys", "id", columns=(column("key", "text"),))))
    spec = draft.catalog.tables["users"]
    assert set(spec.exclude) == {"hmac_key", "backup_codes"}
    assert "looks like a secret (key)" in spec.exclude["hmac_key"]
    assert set(spec.allow) == {"password_changed", "token_type"}
    assert "but the type bool can hold none" in spec.allow["password_changed"]
    assert "move it to `exclude`" in spec.allow["token_type"]
    text = draft_yaml(draft)
    for told in ("hmac_key", "password_changed", "all its columns look like secrets: key (key)"):
        assert told in text
