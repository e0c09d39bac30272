"""What belongs to a table's rows: references and sequences, also where the table is read through a view."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.core.planning import plan_table
from backup_pipeline.core.relations import ColumnSequence, Database, ForeignKey, RelationKind
from backup_pipeline_tests.core.values import AREAS, CUSTOMERS, catalog, database, points, relation

IDS = ColumnSequence(("public", "customers_id_seq"), "id", 7, is_called=True)
BASE = replace(CUSTOMERS, sequences=(IDS,))
SAFE = relation("customers_safe", "id", "name", "area_id", kind=RelationKind.VIEW, primary_key=())
SHOP: Database = database(AREAS, BASE, SAFE)


def test_a_table_has_the_foreign_keys_and_sequences_of_its_relation() -> None:
    plan = plan_table(catalog({"customers": None}), "customers", SHOP)
    assert (plan.references, plan.sequences, plan.covers) == ((points("area_id", "areas"),), (IDS,), ())


def test_a_view_has_what_the_catalog_declares_and_the_sequences_of_what_it_covers() -> None:
    spec = {"relation": "customers_safe", "covers": ["customers"], "references": {"area_id": "areas.id"}}
    plan = plan_table(catalog({"customers": spec}), "customers", SHOP)
    assert plan.references == (ForeignKey(("area_id",), ("public", "areas"), ("id",), enforced=False),)
    assert (plan.sequences, plan.covers) == ((IDS,), (("public", "customers"),))


def test_a_reference_that_is_both_declared_and_a_foreign_key_stands_once_and_is_enforced() -> None:
    spec = {"references": {"area_id": "areas.id", "name": "other.areas.name"}}
    plan = plan_table(catalog({"customers": spec}), "customers", SHOP)
    declared = ForeignKey(("name",), ("other", "areas"), ("name",), enforced=False)
    assert plan.references == (points("area_id", "areas"), declared)
