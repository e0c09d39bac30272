"""A Dagster project of somebody else, whose assets read tables of the shop: by name, in the form of the annotation."""

# mypy: disable-error-code="untyped-decorator"
# The annotations are read by Dagster as they are: no `from __future__ import annotations`.
from decimal import Decimal
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.orchestration.definitions import backup_definitions
from backup_pipeline.orchestration.resources import installed
from backup_pipeline.settings import Settings
from backup_pipeline_tests.orchestration.installation import TIMEZONE

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone=TIMEZONE, end_offset=1)
CUSTOMERS = {"customers": dg.AssetIn(key=["shop", "customers"])}
ORDERS = {"orders": dg.AssetIn(key=["shop", "orders"])}
SHOP: dict[str, Any] = {"group_name": "reports", "partitions_def": DAYS, "ins": CUSTOMERS}

asset: Any = dg.asset
"""Untyped: annotations are what is tried here."""
Counted = dg.MaterializeResult[None]


def counted(rows: int, balance: Any, form: Any) -> Counted:
    kind = type(form)
    metadata: dict[str, Any] = {
        "rows": rows,
        "balance": str(balance),
        "form": f"{kind.__module__.partition('.')[0]}.{kind.__name__}",
    }
    return dg.MaterializeResult(metadata=metadata)


@asset(**SHOP)
def as_arrow(customers: pa.Table) -> Counted:
    return counted(customers.num_rows, pc.sum(customers["balance"]).as_py(), customers)


@asset(**SHOP)
def as_pandas(customers: pd.DataFrame) -> Counted:
    return counted(len(customers), customers["balance"].sum(), customers)


@asset(**SHOP)
def as_it_comes(customers) -> Counted:  # type: ignore[no-untyped-def]  # that is the case
    return counted(len(customers), customers["balance"].sum(), customers)


@asset(**SHOP)
def as_polars(customers: pl.DataFrame) -> Counted:
    return counted(customers.height, customers["balance"].sum(), customers)


@asset(**SHOP)
def as_lazy(customers: pl.LazyFrame) -> Counted:
    frame = customers.select(pl.len(), pl.col("balance").sum()).collect()
    return counted(frame["len"][0], frame["balance"][0], customers)


@asset(**SHOP)
def as_relation(customers: duckdb.DuckDBPyRelation) -> Counted:
    (row,) = customers.aggregate("count(*), sum(balance), min(joined_at::text)").fetchall()
    assert row[2] == "2026-01-01 01:00:00+06"
    return counted(row[0], row[1], customers)


@asset(group_name="reports", ins=ORDERS)
def newest(orders: pl.DataFrame) -> Counted:
    """Without partitions: the newest there is. Its UUIDs are text."""
    assert orders["id"].str.len_chars().to_list() == [36] * orders.height
    return counted(orders.height, orders["amount"].sum(), orders)


@asset(group_name="reports", ins=CUSTOMERS)
def every_day(customers: dict[str, pa.Table]) -> Counted:
    rows = sum(table.num_rows for table in customers.values())
    return counted(rows, " ".join(customers), customers)


@asset(
    group_name="wrong",
    partitions_def=dg.WeeklyPartitionsDefinition(start_date="2026-01-01", timezone=TIMEZONE),
    ins=CUSTOMERS,
)
def of_a_week(customers: pa.Table) -> None:
    raise AssertionError


@asset(group_name="wrong", ins=CUSTOMERS)
def as_text(customers: str) -> None:
    raise AssertionError


@asset(group_name="wrong", io_manager_key="shop_tables")
def written() -> Decimal:
    """Who gives an asset of their own our IO manager is refused, and no file of ours is touched."""
    return Decimal(1)


ASSETS = [as_arrow, as_pandas, as_it_comes, as_polars, as_lazy, as_relation, newest, every_day]


def definitions() -> dg.Definitions:
    """The project's own assets beside the shop's, and no executor for all jobs."""
    settings = Settings()
    (catalog,) = load_catalogs(settings.catalogs).values()
    jobs = [dg.define_asset_job("reports", dg.AssetSelection.groups("reports"), executor_def=dg.multiprocess_executor)]
    own = dg.Definitions(assets=[*ASSETS, of_a_week, as_text, written], jobs=jobs)
    return dg.Definitions.merge(backup_definitions(catalog, installed(settings)), own)


def reports() -> dg.JobDefinition:
    """The job whose steps are processes."""
    return definitions().resolve_job_def("reports")
