"""How relations are written: plain, qualified and quoted, and back again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.relations import split_reference, split_relation, write_relation
from backup_pipeline_tests.core.values import catalog, column, database, relation

NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=63)


@given(st.none() | NAMES, NAMES)
def test_what_is_written_is_read_back(schema: str | None, name: str) -> None:
    assert split_relation(write_relation(schema, name)) == (schema, name)


@given(st.none() | NAMES, NAMES, NAMES)
def test_a_reference_is_a_relation_and_a_column(schema: str | None, name: str, column_name: str) -> None:
    text = f"{write_relation(schema, name)}.{write_relation(None, column_name)}"
    table, found = split_reference(text)
    assert (split_relation(table), found) == ((schema, name), column_name)


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("customers", None, "customers"),
        ("sales.customers", "sales", "customers"),
        ('"odd.name"', None, "odd.name"),
        ('sales."odd.name"', "sales", "odd.name"),
        ('"my schema"."odd.name"', "my schema", "odd.name"),
        ('"say ""hi"""', None, 'say "hi"'),
        ("two words", None, "two words"),
    ],
)
def test_names_are_read_as_they_are_written(text: str, schema: str | None, name: str) -> None:
    assert split_relation(text) == (schema, name)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", '"open', 'a"b', '""', '"a"b'])
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (name|relation)"):
        split_relation(text)


@pytest.mark.parametrize("text", ["id", "a.b.c.d", "a..b"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (name|reference)"):
        split_reference(text)


def test_a_catalog_reads_and_looks_up_through_quoted_names() -> None:
    people = relation("odd.people", "id", "name", schema="my schema")
    orders = relation("orders.2026", "id", "who")
    specs = {
        "orders": {
            "relation": '"orders.2026"',
            "references": {"who": '"my schema"."odd.people".id'},
            "columns": {"customer": "who.name"},
        }
    }
    shop = catalog(specs, excluded=[{"table": "my schema.odd.people", "reason": "elsewhere"}])
    plan = plan_catalog(shop, database(people, orders))
    (look_up,) = plan.tables["orders"].look_ups
    assert look_up.look_up is not None
    assert look_up.look_up.steps[0].relation == ("my schema", "odd.people")
    assert plan.tables["orders"].relation is orders
    assert plan.unlisted == ()


def test_blanks_at_the_ends_of_a_column_name_are_part_of_it() -> None:
    table = relation("users", "id", columns=(column("id", "int8"), column(" password ")))
    shop = catalog({"users": {"exclude": {" password ": "a secret"}}})
    assert plan_catalog(shop, database(table)).tables["users"].excluded == {" password ": "a secret"}
