"""Tests of docs/catalog.md: it names every field, and its example loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.model import Anomalies, Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.catalog.rules import parse_sheet_source
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.text import MASK
from backup_pipeline_tests.core.values import database, points, relation

DOC = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)


def section(title: str) -> str:
    return DOC.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(title: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)


def names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


@pytest.mark.parametrize(("model", "title"), [(Catalog, "Fields of the file"), (TableSpec, "Fields of a table")])
def test_each_field_has_its_row_in_order_and_no_other_has(model: type[BaseModel], title: str) -> None:
    assert first_cells(title) == names(model)


@pytest.mark.parametrize("model", [Shrinkage, Anomalies, Excluded])
def test_the_parts_of_a_field_are_named(model: type[BaseModel]) -> None:
    for name in names(model):
        assert re.search(rf"\b{name}\b", section("Fields of the file")), name


@pytest.mark.parametrize("name", ["schema", "schedule", "bundle_name", "grace_minutes"])
def test_the_defaults_are_those_of_the_code(name: str) -> None:
    (row,) = (line for line in section("Fields of the file").splitlines() if line.startswith(f"| `{name}` |"))
    field = next(f for n, f in Catalog.model_fields.items() if (f.alias or n) == name)
    assert row.split("|")[2].strip().strip("`") == str(field.default)


def test_the_default_of_shrinkage_is_that_of_the_code() -> None:
    assert f"{{ratio: {Shrinkage().ratio}, floor: {Shrinkage().floor}}}" in section("Fields of the file")


def test_the_defaults_of_anomalies_are_those_of_the_code() -> None:
    rule = Anomalies()
    told = f"ratio: {rule.ratio}, floor_rows: {rule.floor_rows}, floor_bytes: {rule.floor_bytes}"
    assert f"{{{told}, trailing: {rule.trailing}, allow: {{}}}}" in section("Fields of the file")


def test_the_example_loads_and_fits_a_database(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    shop = load_catalog(path)
    plan = plan_catalog(
        shop,
        database(
            relation("areas", "id", "name"),
            relation(
                *("customers", "id", "name", "area_id", "notes_internal", "national_id", "token_no"),
                foreign_keys=(points("area_id", "areas"),),
            ),
            relation("accounts", "username", "customer_id", foreign_keys=(points("customer_id", "customers"),)),
            relation("employees", "id", "salary", readable=False),
            relation("employees_safe", "id", "name", kind=RelationKind.VIEW, primary_key=()),
            relation("schema_migrations", "version"),
            relation("tmp_1", "id"),
        ),
    )
    assert dict(plan.failed) == {}
    assert set(plan.tables) == {"areas", "customers", "employees"}
    assert set(plan.excluded) == {"public.schema_migrations", "public.tmp_1"}
    assert plan.unlisted == ("public.accounts",)


def test_the_sheet_sources_in_the_table_are_sources() -> None:
    sources = first_cells("Where a sheet column comes from")
    assert len(sources) == 4
    assert {type(parse_sheet_source(source)).__name__ for source in sources} == {"Through", "Back"}
    assert parse_sheet_source('"area id"."the ""name"""')


def test_the_mask_is_the_one_that_is_written() -> None:
    assert f"`{MASK}`" in DOC
