"""What Dagster shows of a backup: comments of the database, no rows unless they are wanted, our words alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from backup_pipeline.formats.keys import new_identity
from backup_pipeline.orchestration.assets import freshness_policy
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import SHOP_YAML, Installation

COMMENTS = """
COMMENT ON TABLE customers IS 'Who pays us.';
COMMENT ON COLUMN customers.balance IS 'In taka; below zero is a debt.';
"""


@pytest.fixture(scope="module")
def shop(install: Install) -> Iterator[Installation]:
    """A shop whose tables are commented on, and whose catalog wants samples, with a backup."""
    with install() as installation:
        installation.sql(COMMENTS)
        installation.edit_catalog("grace_minutes: 0", "grace_minutes: 0\nsample_rows: 2")
        installation.edit_catalog("    sheet: Customers\n", "    sheet: Customers\n    mask: [name]\n")
        installation.edit_catalog("customer_id.name", "customer_id.joined_at")
        installation.edit_catalog("  notes:\n", "  notes: {sample_rows: 0}\n")
        assert installation.run().success
        yield installation


def metadata(shop: Installation, table: str) -> Mapping[str, dg.MetadataValue[Any]]:
    with shop.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", table]))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization.metadata


def described(value: dg.MetadataValue[Any]) -> dict[str, str | None]:
    schema = value.value
    assert isinstance(schema, dg.TableSchema)
    return {column.name: column.description for column in schema.columns}


def test_the_source_has_the_comments_of_the_database_and_the_table_has_them_too(shop: Installation) -> None:
    with shop.instance() as instance:
        [record] = instance.fetch_observations(dg.AssetKey(["shop", "public", "customers"]), limit=1).records
        [other] = instance.fetch_observations(dg.AssetKey(["shop", "public", "notes"]), limit=1).records
    of_notes = other.asset_observation
    assert of_notes is not None
    observation = record.asset_observation
    assert observation is not None
    assert observation.description == observation.metadata["comment"].value == "Who pays us."
    columns = described(observation.metadata["dagster/column_schema"])
    assert columns["balance"] == "In taka; below zero is a debt."
    assert set(columns) == {"id", "name", "balance", "joined_at", "password"}
    assert "comment" not in of_notes.metadata  # nobody has commented on it
    own = described(metadata(shop, "customers")["dagster/column_schema"])
    assert own["balance"] == "In taka; below zero is a debt. (Arrow: decimal128(12, 2))"


def test_a_sample_stands_where_it_is_wanted_without_masked_columns(shop: Installation) -> None:
    sample = metadata(shop, "customers")["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    assert [dict(record.data) for record in sample.records] == [
        {"id": "1", "balance": "1.50", "joined_at": "2025-12-31 19:00:00+00:00"},
        {"id": "2", "balance": "3.00", "joined_at": "2025-12-31 20:00:00+00:00"},
    ]
    assert "sample" in metadata(shop, "orders")
    assert "sample" not in metadata(shop, "notes")


def test_an_encrypted_backup_shows_no_sample_whatever_the_catalog_wants(installation: Installation) -> None:
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 0\nsample_rows: 2")
    installation.configure(BACKUP_AGE_RECIPIENTS=new_identity()[1])
    assert installation.run("orders", "notes").success
    assert "sample" not in metadata(installation, "orders")
    assert "sample" not in metadata(installation, "notes")


@pytest.mark.acceptance("2.23")
def test_a_failure_shows_what_failed_and_what_to_do_and_no_stack(shop: Installation) -> None:
    shop.sql("ALTER TABLE orders RENAME TO sales; ALTER VIEW totals RENAME TO sums")
    with shop.instance() as instance:
        run = shop.run_job("shop_tables_only", "orders", instance=instance)
        entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert not run.success
    errors = [entry.dagster_event.step_failure_data.error for entry in entries if entry.dagster_event]
    assert errors
    for error in errors:
        assert error is not None
        assert "reads public.orders" in error.message
        assert "\nWhat to do: Correct the catalog" in error.message
        assert (error.stack, error.cause, error.context) == ([], None, None)
        assert "dagster" not in error.message


@pytest.mark.parametrize(
    ("schedule", "grace", "policy"),
    [
        ("0 0 * * *", 120, dg.FreshnessPolicy.cron("0 2 * * *", timedelta(hours=2), "Asia/Dhaka")),
        ("30 23 * * *", 60, dg.FreshnessPolicy.cron("30 0 * * *", timedelta(hours=1), "Asia/Dhaka")),
        ("0 4 * * 0", 120, dg.FreshnessPolicy.cron("0 6 * * 0", timedelta(hours=2), "Asia/Dhaka")),
        ("30 23 * * 0", 60, dg.FreshnessPolicy.time_window(timedelta(days=7, hours=1))),
        ("0 */6 * * *", 30, dg.FreshnessPolicy.time_window(timedelta(hours=6, minutes=30))),
        ("null", 0, None),
    ],
)
def test_a_bundle_is_fresh_until_the_next_one_should_have_come(
    installation: Installation, schedule: str, grace: int, policy: dg.FreshnessPolicy | None
) -> None:
    line = schedule if schedule == "null" else f'"{schedule}"'
    text = SHOP_YAML.replace("grace_minutes: 0", f"grace_minutes: {grace}\nschedule: {line}")
    installation.catalog_file.write_text(text)
    assert freshness_policy(installation.catalog) == policy
    spec = installation.definitions().resolve_asset_graph().get(dg.AssetKey(["shop", "bundle"]))
    assert spec.freshness_policy == policy
