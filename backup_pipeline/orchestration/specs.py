"""What Dagster's graph says of a catalog: an asset a table, and the bundle downstream of them."""

from collections.abc import Callable, Sequence

import dagster as dg

from backup_pipeline.core.catalog.model import BUNDLE, Catalog
from backup_pipeline.orchestration.keys import Execute, PlacedCatalog, bundle_key, daily_partitions, table_key
from backup_pipeline.orchestration.read import of_table


def placed(
    catalog: Catalog, described: Callable[[dg.AssetSpec, str], dg.AssetSpec], execute: Execute | None = None
) -> PlacedCatalog:
    """The catalog as it stands in a project of somebody's.

    `described` gets the spec of each asset with its table (or `bundle`), and may change what it likes of it, its key
    too; what is upstream in the catalog stays upstream by its new key.
    """
    specs = dict(zip((*catalog.tables, BUNDLE), [*table_specs(catalog), bundle_spec(catalog)], strict=True))
    changed = {name: described(spec, name) for name, spec in specs.items()}
    keys = {spec.key: changed[name].key for name, spec in specs.items()}
    moved = {
        name: spec.replace_attributes(deps=[keys.get(dep.asset_key, dep) for dep in spec.deps])
        for name, spec in changed.items()
    }
    return PlacedCatalog.of(catalog, moved, execute)


def placed_specs(catalog: Catalog, specs: Sequence[dg.AssetSpec]) -> Sequence[dg.AssetSpec]:
    """`specs` as whoever has placed the catalog in a project of his describes them."""
    if not isinstance(catalog, PlacedCatalog):
        return specs
    known = {spec.key: spec for spec in catalog.specs.values()}
    return [known.get(spec.key, spec) for spec in specs]


def table_specs(catalog: Catalog) -> list[dg.AssetSpec]:
    """An asset per table."""
    return [of_table(_table_spec(catalog, table), catalog.catalog, table) for table in catalog.tables]


def _table_spec(catalog: Catalog, table: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        table_key(catalog, table),
        description=_description(catalog, table),
        group_name=catalog.catalog,
        kinds={"postgres", "parquet", "csv"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
    )


def bundle_spec(catalog: Catalog) -> dg.AssetSpec:
    """The asset of the bundle, downstream of every table."""
    return dg.AssetSpec(
        bundle_key(catalog),
        deps=[table_key(catalog, table) for table in catalog.tables],
        description=(
            f"{catalog.title or catalog.catalog}: every table of a date as one ZIP with its manifest, in the store, "
            "checked there, and a row in `backup_logs`."
        ),
        group_name=catalog.catalog,
        kinds={"s3", "zip"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
    )


def _description(catalog: Catalog, table: str) -> str:
    spec = catalog.tables[table]
    schema, name = catalog.relation_of(table)
    text = spec.description or f"The table {table}."
    return f"{text}\n\nRead from `{schema}.{name}` into Parquet and the sheet *{catalog.sheet_of(table)}*."
