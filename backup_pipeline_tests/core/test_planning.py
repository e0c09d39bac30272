"""Tests of planning: a catalog against a database, both made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.planning import plan_catalog, plan_table
from backup_pipeline.core.plans import RowOrder
from backup_pipeline.core.relations import Relation, RelationKind
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


def test_a_bare_table_has_every_column_in_order_on_file_and_sheet() -> None:
    plan = plan_table(catalog({"customers": {}}), "customers", SHOP)
    assert [c.name for c in plan.columns] == ["id", "name", "phone", "area_id"]
    assert [(c.title, c.field) for c in plan.sheet.columns] == [(n, n) for n in ("id", "name", "phone", "area_id")]
    assert (plan.sheet.name, plan.key, plan.key_enforced, plan.notes) == ("customers", ("id",), True, ())


def test_a_missing_table_names_the_nearest_and_spares_the_others() -> None:
    plan = plan_catalog(catalog({"custmers": {}, "payments": {}}), SHOP)
    assert set(plan.tables) == {"payments"}
    error = plan.failed["custmers"]
    assert "reads public.custmers, which database shop does not have" in error.what
    assert "Did you mean public.customers?" in error.do


def test_a_table_of_that_name_in_another_schema_is_named() -> None:
    crm = relation("notes", "id", schema="crm")
    assert refusal({"notes": {}}, database(CUSTOMERS, crm)).do.endswith("Did you mean crm.notes?")


def test_a_missing_table_in_an_empty_database_names_none() -> None:
    assert refusal({"customers": {}}, database()).do.endswith("There is none.")


def test_a_table_that_resembles_none_is_shown_what_there_is() -> None:
    assert "There are: public.areas, public.customers" in refusal({"zzz": {}}).do


@pytest.mark.parametrize(
    "spec",
    [
        {"key": ["nmae"]},
        {"exclude": {"nmae": "not needed"}},
        {"mask": ["nmae"]},
        {"allow": {"nmae": "harmless"}},
        {"references": {"nmae": "areas.id"}},
        {"columns": {"Name": "nmae"}},
    ],
)
def test_a_missing_column_names_the_nearest_wherever_it_stands(spec: dict[str, Any]) -> None:
    error = refusal({"customers": spec})
    assert "names the column 'nmae', which public.customers does not have" in error.what
    assert "Did you mean name?" in error.do


def test_a_table_the_role_may_not_read_is_granted() -> None:
    closed = replace(CUSTOMERS, readable=False)
    error = refusal({"customers": {}}, database(AREAS, closed))
    assert error.what == "Table customers of catalog shop reads public.customers, but the backup role may not."
    assert error.do.startswith("GRANT SELECT ON public.customers")


def test_open_secrets_stop_the_whole_catalog_and_are_all_listed() -> None:
    routers = relation("routers", "id", "api_password", "apiKey", "name")
    staff = relation("staff", "id", "password_hash")
    tables = {"routers": {"mask": ["apiKey"]}, "staff": {}, "customers": {}, "missing": {}}
    with pytest.raises(CatalogError) as refused:
        plan_catalog(catalog(tables), database(routers, staff, CUSTOMERS))
    assert refused.value.what.endswith("look like secrets: routers.api_password, staff.password_hash.")


def test_secrets_that_are_dealt_with_are_excluded_masked_or_shown() -> None:
    routers = relation("routers", "id", "api_password", "api_key", "token_no")
    spec = {
        "exclude": {"api_password": "secret"},
        "mask": ["api_key"],
        "allow": {"token_no": "a number of the queue"},
    }
    plan = plan_table(catalog({"routers": spec}), "routers", database(routers))
    assert [(c.name, c.masked, c.arrow_type) for c in plan.columns] == [
        ("id", False, "int64"),
        ("api_key", True, "string"),
        ("token_no", False, "string"),
    ]
    assert [c.title for c in plan.sheet.columns] == ["id", "api_key", "token_no"]
    assert plan.excluded == {"api_password": "secret"}
    assert plan.masked == ("api_key",)
    assert plan.notes == ("api_key: values replaced by [ENCRYPTED]",)


def test_a_masked_number_becomes_text() -> None:
    shop = database(replace(CUSTOMERS, columns=(column("id", "int8"), column("due", "numeric", precision=12, scale=2))))
    plan = plan_table(catalog({"customers": {"mask": ["due"]}}), "customers", shop)
    assert [c.arrow_type for c in plan.columns] == ["int64", "string"]


def test_an_excluded_column_can_not_be_on_the_sheet() -> None:
    error = refusal({"customers": {"exclude": {"phone": "private"}, "columns": {"Phone": "phone"}}})
    assert "'Phone' of table customers shows 'phone', which is excluded" in error.what


# Keys and order


@pytest.mark.parametrize(
    ("given", "primary", "unique", "key", "enforced"),
    [
        ([], ("id",), (), ("id",), True),
        ([], (), (("phone",), ("name",)), ("phone",), True),
        ([], (), (), (), False),
        (["phone"], ("id",), (("phone",),), ("phone",), True),
        (["name", "phone"], ("id",), (("phone",),), ("name", "phone"), True),  # holds a unique key
        (["name"], ("id",), (("name", "phone"),), ("name",), False),
        (["name"], (), (), ("name",), False),
    ],
)
def test_the_key_is_the_catalogs_or_the_best_the_database_has(
    given: list[str],
    primary: tuple[str, ...],
    unique: tuple[tuple[str, ...], ...],
    key: tuple[str, ...],
    enforced: bool,
) -> None:
    shop = database(replace(CUSTOMERS, primary_key=primary, unique_keys=unique))
    plan = plan_table(catalog({"customers": {"key": given}}), "customers", shop)
    assert (plan.key, plan.key_enforced) == (key, enforced)


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (RelationKind.TABLE, RowOrder.CTID),
        (RelationKind.MATERIALIZED, RowOrder.CTID),
        (RelationKind.PARTITIONED, RowOrder.SCAN),
        (RelationKind.VIEW, RowOrder.SCAN),
        (RelationKind.FOREIGN, RowOrder.SCAN),
    ],
)
def test_without_a_key_rows_come_by_place_or_in_one_pass(kind: RelationKind, order: RowOrder) -> None:
    shop = database(replace(CUSTOMERS, primary_key=(), kind=kind))
    tables = {"customers": {} if kind in {RelationKind.TABLE, RelationKind.PARTITIONED} else {"kind": str(kind)}}
    assert plan_table(catalog(tables), "customers", shop).order is order


def test_a_number_that_an_index_enforces_is_followed() -> None:
    assert plan_table(catalog({"customers": {}}), "customers", SHOP).order is RowOrder.KEY


def test_a_key_that_only_the_catalog_declares_is_never_paged_by() -> None:
    plan = plan_table(catalog({"customers": {"key": ["area_id"]}}), "customers", SHOP)
    assert plan.order is RowOrder.CTID


# What is left out


def left_out(excluded: list[dict[str, str]], *relations: Relation, **spec: Any) -> tuple[dict[str, str], list[str]]:
    plan = plan_catalog(catalog({"customers": spec}, excluded=excluded), database(CUSTOMERS, AREAS, *relations))
    return dict(plan.excluded), list(plan.unlisted)


def test_tables_nobody_decided_about_are_unlisted_and_sorted() -> None:
    crm = relation("notes", "id", schema="crm")
    assert left_out([], PAYMENTS, crm) == ({}, ["crm.notes", "public.areas", "public.payments"])


def test_an_excluded_table_keeps_its_reason_and_the_first_rule_counts() -> None:
    rules = [{"table": "areas", "reason": "fixed list"}, {"table": "*", "reason": "not ours"}]
    assert left_out(rules, PAYMENTS) == ({"public.areas": "fixed list", "public.payments": "not ours"}, [])


def test_a_glob_without_a_dot_means_the_catalogs_schema() -> None:
    others = (relation("tmp_a", "id"), relation("tmp_b", "id", schema="crm"), relation("log", "id", schema="audit"))
    rules = [{"table": "tmp_*", "reason": "scratch"}, {"table": "audit.*", "reason": "kept elsewhere"}]
    excluded, unlisted = left_out(rules, *others)
    assert excluded == {"public.tmp_a": "scratch", "audit.log": "kept elsewhere"}
    assert unlisted == ["crm.tmp_b", "public.areas"]


def test_a_listed_table_is_not_excluded_by_a_glob() -> None:
    assert "public.customers" not in left_out([{"table": "*", "reason": "the rest"}])[0]


def test_a_covered_table_counts_as_listed() -> None:
    assert left_out([], covers=["areas"]) == ({}, [])


def test_partitions_views_and_foreign_tables_are_not_unlisted() -> None:
    whole = relation("logs", "id", kind=RelationKind.PARTITIONED)
    part = relation("logs_2026", "id", is_partition=True)
    nested = relation("logs_2025", "id", kind=RelationKind.PARTITIONED, is_partition=True)
    shown = [relation(k.name.lower(), "id", kind=k) for k in RelationKind if k.name not in {"TABLE", "PARTITIONED"}]
    assert left_out([], whole, part, nested, *shown) == ({}, ["public.areas", "public.logs"])


def test_a_value_that_does_not_fit_turns_its_column_to_text_and_says_so() -> None:
    plan = plan_table(catalog({"customers": {}}), "customers", SHOP).as_text("id", "infinity")
    assert plan.columns[0].arrow_type == "string"
    assert plan.columns[1:] == plan_table(catalog({"customers": {}}), "customers", SHOP).columns[1:]
    assert plan.notes == ("id is text, not int64: it holds infinity",)
