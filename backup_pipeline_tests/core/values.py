"""Hand-made databases and catalogs for tests of the rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.relations import Column, Database, ForeignKey, Relation, RelationKind

# Hypothesis wants the bounds without a timezone.
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def column(name: str, base_type: str = "text", **fields: Any) -> Column:
    """A column of a built-in type."""
    given: dict[str, Any] = {"pg_type": base_type, "builtin": True}
    return Column(name=name, base_type=base_type, **(given | fields))


def relation(name: str, *names: str, schema: str = "public", **fields: Any) -> Relation:
    """A table whose column `id` is a bigint and its primary key; the other columns are text."""
    columns = tuple(column(n, "int8" if n == "id" or n.endswith("_id") else "text") for n in names)
    given: dict[str, Any] = {
        "kind": RelationKind.TABLE,
        "columns": columns,
        "primary_key": ("id",) if "id" in names else (),
    }
    return Relation(schema=schema, name=name, **(given | fields))


def points(key: str, target: str, target_column: str = "id") -> ForeignKey:
    """A foreign key of one column to a table of `public`."""
    return ForeignKey((key,), ("public", target), (target_column,))


def database(*relations: Relation) -> Database:
    """A database named `shop` of these relations."""
    return Database("shop", {r.id: r for r in relations})


def catalog(tables: dict[str, Any], **fields: Any) -> Catalog:
    """A catalog named `shop` with these tables."""
    return Catalog.model_validate({"catalog": "shop", "timezone": "Asia/Dhaka", "tables": tables, **fields})


def refusal(tables: dict[str, Any], shop: Database | None = None, **fields: Any) -> CatalogError:
    """The error of the one table that fails."""
    failed = plan_catalog(catalog(tables, **fields), shop or SHOP).failed
    assert len(failed) == 1
    error = next(iter(failed.values()))
    assert isinstance(error, CatalogError)
    return error


AREAS = relation("areas", "id", "name", "parent_id", foreign_keys=(points("parent_id", "areas"),))
CUSTOMERS = relation("customers", "id", "name", "phone", "area_id", foreign_keys=(points("area_id", "areas"),))
PAYMENTS = relation("payments", "id", "customer_id", "amount", foreign_keys=(points("customer_id", "customers"),))
SHOP = database(AREAS, CUSTOMERS, PAYMENTS)
