"""What Dagster's graph says of a catalog: what is read, an asset a table, and the bundle downstream of them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg

from backup_pipeline.core.catalog.model import BUNDLE, Catalog
from backup_pipeline.core.schedule import due_times
from backup_pipeline.orchestration.keys import (
    Execute,
    PlacedCatalog,
    bundle_key,
    daily_partitions,
    source_key,
    table_key,
)
from backup_pipeline.orchestration.read import of_table


def placed(
    catalog: Catalog,
    described: Callable[[dg.AssetSpec, str], dg.AssetSpec],
    execute: Execute | None = None,
    *,
    in_s3: bool = False,
) -> PlacedCatalog:
    """The catalog as it stands in a project of somebody's.

    `described` gets the spec of each asset with its table (or `bundle`), and may change what it likes of it, its key
    too; what is upstream in the catalog stays upstream by its new key.
    """
    own = [*table_specs(catalog), bundle_spec(catalog, in_s3=in_s3)]
    specs = dict(zip((*catalog.tables, BUNDLE), own, strict=True))
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


def source_specs(catalog: Catalog) -> list[dg.AssetSpec]:
    """What the tables are read from: assets that nothing here makes. Each backup observes them, with their comments.

    None where somebody's project has put an asset of its own upstream of the table instead.
    """
    tables = placed_specs(catalog, table_specs(catalog))
    wanted = {dep.asset_key for spec in tables for dep in spec.deps}
    sources = {source_key(catalog, table): table for table in catalog.tables if source_key(catalog, table) in wanted}
    return [
        dg.AssetSpec(
            key,
            description=_source_description(catalog, table),
            group_name=f"{catalog.catalog}_source",
            kinds={"postgres", "view" if catalog.tables[table].kind else "table"},
            owners=list(catalog.owners),
            tags={"catalog": catalog.catalog},
            metadata={"dagster/table_name": ".".join(catalog.relation_of(table))},
        )
        for key, table in sources.items()
    ]


def table_specs(catalog: Catalog) -> list[dg.AssetSpec]:
    """An asset per table."""
    return [of_table(_table_spec(catalog, table), catalog.catalog, table) for table in catalog.tables]


def _table_spec(catalog: Catalog, table: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        table_key(catalog, table),
        deps=[source_key(catalog, table)],
        description=_description(catalog, table),
        group_name=catalog.catalog,
        kinds={"postgres", "parquet", "csv"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
    )


def bundle_spec(catalog: Catalog, *, in_s3: bool) -> dg.AssetSpec:
    """The asset of the bundle, downstream of every table."""
    return dg.AssetSpec(
        bundle_key(catalog),
        deps=[table_key(catalog, table) for table in catalog.tables],
        description=(
            f"{catalog.title or catalog.catalog}: every table of a date as one ZIP with its manifest, in the store, "
            "checked there, and a row in `backup_logs`."
        ),
        group_name=catalog.catalog,
        kinds={"s3", "zip"} if in_s3 else {"zip"},
        owners=list(catalog.owners),
        partitions_def=daily_partitions(catalog),
        tags={"catalog": catalog.catalog},
        freshness_policy=freshness_policy(catalog),
    )


def _source_description(catalog: Catalog, table: str) -> str:
    schema, name = catalog.relation_of(table)
    text = catalog.tables[table].description
    where = f"`{schema}.{name}` in the database."
    return f"{text}\n\n{where}" if text else where


def _description(catalog: Catalog, table: str) -> str:
    spec = catalog.tables[table]
    schema, name = catalog.relation_of(table)
    text = spec.description or f"The table {table}."
    return f"{text}\n\nRead from `{schema}.{name}` into Parquet and the sheet *{catalog.sheet_of(table)}*."


_DAY_MINUTES = 24 * 60
_A_WHILE = timedelta(days=400)
"""So long that a schedule shows its longest pause."""


def freshness_policy(catalog: Catalog) -> dg.FreshnessPolicy | None:
    """A bundle is fresh when there is one since the last due time whose grace is over; None without a schedule.

    A schedule of one time a day is told as a deadline; any other as the age that its longest pause allows.
    """
    if catalog.schedule is None:
        return None
    grace = timedelta(minutes=max(catalog.grace_minutes, 1))
    minute, hour, *days = catalog.schedule.split()
    if minute.isdecimal() and hour.isdecimal():
        late, deadline = divmod(int(hour) * 60 + int(minute) + int(grace.total_seconds()) // 60, _DAY_MINUTES)
        if not late or days == ["*", "*", "*"]:
            line = " ".join([str(deadline % 60), str(deadline // 60), *days])
            return dg.FreshnessPolicy.cron(line, grace, catalog.timezone)
    return _as_age(catalog.schedule, catalog.timezone, grace)


def _as_age(schedule: str, timezone: str, grace: timedelta) -> dg.FreshnessPolicy | None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    dues = due_times(schedule, timezone, after=start, until=start + _A_WHILE)
    longest = max((later - earlier for earlier, later in pairwise(dues)), default=None)
    return dg.FreshnessPolicy.time_window(fail_window=longest + grace) if longest else None
