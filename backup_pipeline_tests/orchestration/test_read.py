"""Assets of somebody else's project that name a table as an argument: its rows, compared, or an error that helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest

from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.scope import Scope
from backup_pipeline.formats.keys import new_identity
from backup_pipeline_tests.orchestration import neighbour
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.servers.swift import SwiftServer

SECRET, PUBLIC = new_identity()
FORMS = {
    "as_arrow": "pyarrow.Table",
    "as_pandas": "pandas.DataFrame",
    "as_it_comes": "pandas.DataFrame",
    "as_polars": "polars.DataFrame",
    "as_lazy": "polars.LazyFrame",
    "as_relation": "duckdb.DuckDBPyRelation",
}
BALANCE = "187875.00"


@pytest.fixture(scope="module")
def shop(install: Install) -> Iterator[Installation]:
    """A shop that was backed up once, for the tests that change nothing."""
    with install() as made:
        assert made.run().success
        yield made


def materialize(shop: Installation, *names: str, day: str | None = "today") -> dg.ExecuteInProcessResult:
    job = neighbour.definitions().resolve_implicit_global_asset_job_def()
    key = shop.today.isoformat() if day == "today" else day
    chosen = {dg.AssetKey(name) for name in names}
    with shop.instance() as instance:
        return job.get_subset(asset_selection=chosen).execute_in_process(
            instance=instance, raise_on_error=False, partition_key=key
        )


def counted(result: dg.ExecuteInProcessResult | dg.ExecuteJobResult) -> Mapping[str, Mapping[str, Any]]:
    made = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {one.asset_key.path[-1]: {name: value.value for name, value in one.metadata.items()} for one in made}


def why(shop: Installation, result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """What the one failed step says, and what to do."""
    assert not result.success
    ((what, metadata),) = shop.step_failures(result.run_id)
    return what, str(metadata["what to do"])


def test_each_form_has_the_rows_of_the_runs_partition(shop: Installation) -> None:
    result = materialize(shop, *FORMS)
    assert result.success
    for name, form in FORMS.items():
        assert counted(result)[name] == {"rows": 500, "balance": BALANCE, "form": form}, name
    assert "500 rows of" in shop.event_log(result.run_id)
    assert shop.attempt().backup_id in shop.event_log(result.run_id)


def test_assets_without_partitions_get_the_newest_or_every_day(shop: Installation) -> None:
    result = materialize(shop, "newest", "every_day", day=None)
    assert result.success
    assert counted(result)["newest"] == {"rows": 1200, "balance": "720600.00", "form": "polars.DataFrame"}
    assert counted(result)["every_day"] == {"rows": 500, "balance": shop.today.isoformat(), "form": "builtins.dict"}


def test_a_partition_that_is_not_there_names_those_that_are(shop: Installation) -> None:
    what, do = why(shop, materialize(shop, "as_arrow", day=shop.past().isoformat()))
    assert what.startswith(f"Table customers of catalog shop has no partition of {shop.past()} in file://")
    assert do == f"It has those of {shop.today}."


def test_what_can_not_be_given_says_what_can(shop: Installation) -> None:
    what, do = why(shop, materialize(shop, "as_text", day=None))
    assert what == "A table can not be given as builtins.str."
    assert "pyarrow.Table" in do
    week = neighbour.of_a_week.partitions_def
    assert week is not None
    what, do = why(shop, materialize(shop, "of_a_week", day=week.get_last_partition_key()))
    assert "partitions of shop/customers belong to this run" in what
    assert "dict[str, …]" in do


def test_nothing_is_written_by_the_io_manager(shop: Installation) -> None:
    before = shop.store_keys()
    what, do = why(shop, materialize(shop, "written", day=None))
    assert what.startswith("The tables of a backup are written by their backup alone")
    assert "io_manager_key" in do
    assert shop.store_keys() == before


def test_in_processes_of_their_own(shop: Installation) -> None:
    with shop.instance() as instance:
        job = dg.reconstructable(neighbour.reports)
        result = dg.execute_job(
            job,
            instance=instance,
            tags={"dagster/partition": shop.today.isoformat()},
            asset_selection=[dg.AssetKey("as_arrow")],
        )
        assert result.success
        assert {name: row["rows"] for name, row in counted(result).items()} == {"as_arrow": 500}


def test_a_file_that_was_tampered_with_is_refused(installation: Installation) -> None:
    assert installation.run("customers").success
    place = PartitionPlace(Scope("shop"), "customers", installation.today)
    file = installation.home / "store" / place.file("part-00000.parquet")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    what, do = why(installation, materialize(installation, "as_pandas"))
    assert "part-00000.parquet is damaged: its SHA-256 is" in what
    assert "Read another date" in do


def test_encrypted_in_s3_it_takes_the_key(installation: Installation, s3_server: SwiftServer, s3_bucket: str) -> None:
    installation.configure(
        BACKUP_STORE=f"s3://{s3_bucket}/backups",
        BACKUP_S3_ENDPOINT_URL=s3_server.endpoint_url,
        BACKUP_S3_REGION=s3_server.region,
        AWS_ACCESS_KEY_ID=s3_server.access_key,
        AWS_SECRET_ACCESS_KEY=s3_server.secret_key,
        BACKUP_AGE_RECIPIENTS=PUBLIC,
    )
    assert installation.run("customers").success
    what, do = why(installation, materialize(installation, "as_polars"))
    assert PUBLIC in what + do
    installation.configure(BACKUP_AGE_IDENTITY=SECRET)
    result = materialize(installation, "as_polars", "as_relation")
    assert result.success
    assert counted(result)["as_polars"] == {"rows": 500, "balance": BALANCE, "form": "polars.DataFrame"}
