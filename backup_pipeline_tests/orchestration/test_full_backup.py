"""A full backup through Dagster: every number it tells is counted a second time, another way."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest import StoredManifest, read_inner_manifest
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.attempts import Request, begin
from backup_pipeline.orchestration.launch import RunResult
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import CANARY, TABLES, Installation
from backup_pipeline_tests.reachable import open_to_others

ROWS = {"customers": 500, "orders": 1200, "notes": 70, "totals": 400}


@dataclass(frozen=True)
class Backup:
    """One run, and its bundle unpacked."""

    installation: Installation
    result: RunResult
    manifest: StoredManifest
    bundle: zipfile.ZipFile
    folder: Path

    def parquet(self, table: str) -> str:
        return str(self.folder / "parquet" / table / "part-00000.parquet")

    def sheet(self, name: str) -> list[list[str]]:
        text = (self.folder / "sheets" / f"{name}.csv").read_text("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline="")))


@pytest.fixture(scope="module")
def backup(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backup]:
    """One run for the whole file; its tests only look."""
    folder = tmp_path_factory.mktemp("bundle")
    with install() as installation:
        result = installation.run(reason="to be counted")
        assert result.success, result
        with installation.bundle(folder / "bundle.zip") as bundle:
            bundle.extractall(folder)
            yield Backup(installation, result, installation.manifest(), bundle, folder)


@pytest.mark.acceptance("1.12", "2.7")
def test_the_ledger_says_success_with_the_numbers_of_the_manifest(backup: Backup) -> None:
    attempt, manifest = backup.installation.attempt(), backup.manifest
    assert attempt.status is Status.SUCCESS_WITH_WARNINGS  # a table that nobody has decided about
    assert manifest.warnings == attempt.warnings
    assert manifest.unlisted == ("public.forgotten",)
    assert (attempt.kind, attempt.type, str(attempt.actor), attempt.reason) == (
        "full",
        "manual",
        "tester",
        "to be counted",
    )
    assert attempt.record_count == manifest.totals.rows == sum(ROWS.values())
    assert dict(attempt.table_counts) == ROWS
    assert attempt.run_id == backup.result.run_id == manifest.run_id
    assert attempt.consistent is True
    assert attempt.late is False
    assert attempt.snapshot_at == manifest.snapshot.taken_at


@pytest.mark.acceptance("1.12")
def test_row_counts_are_those_of_the_source(backup: Backup) -> None:
    counted = {table: backup.installation.sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    assert counted == ROWS == {table.name: table.row_count for table in backup.manifest.tables}


def test_row_counts_are_those_that_pyarrow_and_duckdb_read_from_the_bundle(backup: Backup) -> None:
    for table in backup.manifest.tables:
        path = backup.parquet(table.name)
        [[counted]] = duckdb.execute(f"SELECT count(*) FROM '{path}'").fetchall()
        assert pq.read_table(path).num_rows == counted == ROWS[table.name]
        assert sum(file.rows for file in table.files if file.format == "parquet") == counted


def test_sums_are_those_of_the_source(backup: Backup) -> None:
    [[source]] = backup.installation.sql("SELECT sum(amount) FROM orders")
    [[copied]] = duckdb.execute(f"SELECT sum(amount) FROM '{backup.parquet('orders')}'").fetchall()
    assert copied == source


def test_the_sheets_have_as_many_records_as_the_manifest_says(backup: Backup) -> None:
    for table in backup.manifest.tables:
        header, *records = backup.sheet(table.sheet)
        assert tuple(header) == table.sheet_columns
        assert len(records) == sum(file.rows for file in table.files if file.format == "csv") == ROWS[table.name]


def test_checksums_and_sizes_are_those_of_the_files(backup: Backup) -> None:
    files = {path: (backup.folder / path).read_bytes() for path in backup.manifest.entries}
    assert {path: hashlib.sha256(data).hexdigest() for path, data in files.items()} == backup.manifest.entries
    partitions = {path: data for path, data in files.items() if path.startswith(("parquet/", "sheets/"))}
    assert backup.manifest.totals.files == len(partitions) == 8
    assert backup.manifest.totals.bytes == sum(map(len, partitions.values()))
    assert backup.manifest.totals.tables == 4


def test_the_bundle_in_the_store_is_the_one_that_the_manifest_and_the_ledger_name(backup: Backup) -> None:
    attempt = backup.installation.attempt()
    data = (backup.folder / "bundle.zip").read_bytes()
    assert hashlib.sha256(data).hexdigest() == backup.manifest.bundle.sha256 == attempt.sha256
    assert len(data) == backup.manifest.bundle.bytes == attempt.file_size_bytes
    assert backup.bundle.testzip() is None
    inner = read_inner_manifest(backup.bundle.read("manifest.json"), "the bundle")
    assert inner.model_dump() == {k: v for k, v in backup.manifest.model_dump().items() if k != "bundle"}


@pytest.mark.acceptance("1.13")
def test_the_bundle_is_named_by_the_local_time_of_its_snapshot(backup: Backup) -> None:
    local = backup.manifest.snapshot.taken_at.astimezone(UTC) + timedelta(hours=6)
    assert backup.manifest.bundle_name == f"full_backup_{local:%Y-%m-%d_%H-%M}.zip"
    assert backup.manifest.partition_date == local.date()


def test_one_snapshot_spans_all_tables(backup: Backup) -> None:
    assert len({(table.snapshot.id, table.snapshot.taken_at) for table in backup.manifest.tables}) == 1
    assert backup.manifest.consistent


def assert_told_once(metadata: Mapping[str, dg.MetadataValue[Any]]) -> None:
    """No number stands under two names, as each would be a plot of its own."""
    numbers = [value.value for value in metadata.values() if type(value.value) in (int, float)]
    large = [number for number in numbers if number > 50]
    assert large
    assert len(large) == len(set(large)), metadata


def test_every_materialization_carries_its_numbers(backup: Backup) -> None:
    with backup.installation.instance() as instance:
        for table in backup.manifest.tables:
            event = instance.get_latest_materialization_event(dg.AssetKey(["shop", table.name]))
            assert event is not None
            assert event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert event.asset_materialization.partition == backup.installation.today.isoformat()
            assert metadata["dagster/row_count"].value == ROWS[table.name]
            assert_told_once(metadata)
            assert metadata["snapshot_id"].value == table.snapshot.id
            sizes = {file.format: file.bytes for file in table.files}
            assert (metadata["parquet_bytes"].value, metadata["csv_bytes"].value) == (sizes["parquet"], sizes["csv"])
            assert "sample" not in metadata
            schema = metadata["dagster/column_schema"].value
            assert isinstance(schema, dg.TableSchema)
            assert [column.name for column in schema.columns] == [column.name for column in table.columns]


def test_nobody_can_make_a_backup_in_the_name_of_another(installation: Installation) -> None:
    """Tags and run config are written by whoever launches a run, and Dagster asks nobody who he is."""
    for name in ("USER", "LOGNAME", "BACKUP_CREATED_BY"):
        installation.monkeypatch.setenv(name, "the boss")
    with installation.instance() as instance:
        forged = installation.run_job("shop_tables_only", "notes", instance=instance, tags={"user": "the boss"})
        assert forged.success
        config = {"ops": {"shop_tables": {"config": {"created_by": "the boss"}}}}
        with pytest.raises(dg.DagsterInvalidConfigError):
            installation.run_job("shop_tables_only", "notes", instance=instance, run_config=config)
    assert str(installation.attempt().actor) == "dagster"
    assert "the boss" not in str(installation.audits())


def test_no_value_of_a_customer_is_in_dagsters_event_log(backup: Backup) -> None:
    """Whoever may open the UI may not therefore read the customers; and no retention removes what is there."""
    log = backup.installation.event_log(backup.result.run_id)
    names = ("Customer 1", "Customer 500", "said:", "গ্রাহক", CANARY)
    ids = [str(row[0]) for row in backup.installation.sql("SELECT id FROM orders")]
    assert [value for value in (*names, *ids) if value in log] == []
    assert "customers" in log


def test_no_other_user_can_read_what_a_run_of_dagster_leaves(backup: Backup) -> None:
    """Also when the home of Dagster was made by somebody else, with the usual umask."""
    home = backup.installation.home
    folders = [home / "store", *(home / "dagster" / name for name in ("history", "compute_logs", "storage"))]
    assert [path for folder in folders for path in open_to_others(folder)] == []


def test_the_materialization_of_the_bundle_tells_the_backup(backup: Backup) -> None:
    with backup.installation.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "bundle"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["backup_id"].value == backup.manifest.backup_id
    assert metadata["sha256"].value == backup.manifest.bundle.sha256
    assert metadata["dagster/row_count"].value == sum(ROWS.values())
    assert str(metadata["log"].value).endswith(f"/runs/{backup.result.run_id}")
    assert Path(str(metadata["bundle"].value)).read_bytes() == (backup.folder / "bundle.zip").read_bytes()
    assert_told_once(metadata)
    assert metadata["consistent"].value is True
    assert "public.forgotten" in str(metadata["warnings"].value)
    contents = metadata["contents"]
    assert isinstance(contents, dg.TableMetadataValue)
    assert {record.data["table"]: record.data["rows"] for record in contents.records} == ROWS


def test_every_check_is_recorded_and_passed(backup: Backup) -> None:
    entries = backup.installation.events(backup.result.run_id)
    seen = {
        (check.asset_key.path[-1], check.check_name): check
        for entry in entries
        if entry.dagster_event and entry.dagster_event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        for check in [entry.dagster_event.asset_check_evaluation_data]
    }
    wanted = {(table, check) for table in TABLES for check in ("row_count", "key_unique", "shrinkage", "anomaly")}
    assert set(seen) == wanted | {("bundle", "readable_from_store"), ("bundle", "anomaly")}
    assert all(check.passed for check in seen.values())
    numbers = {name: value.value for name, value in seen["orders", "row_count"].metadata.items()}
    assert numbers == {"written": 1200, "counted": 1200}


def test_what_the_catalog_excludes_is_nowhere(backup: Backup) -> None:
    assert "password" not in pq.read_schema(backup.parquet("customers")).names
    assert backup.manifest.tables[0].excluded_columns == {"password": "hashes stay in the database"}
    for path in backup.folder.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_sheets_show_names_local_times_and_text_as_it_is(backup: Backup) -> None:
    orders = backup.sheet("Orders")
    assert orders[0] == ["Customer", "Amount"]
    assert {row[0] for row in orders[1:]} <= {f"Customer {n}" for n in range(1, 501)}
    customers = backup.sheet("Customers")
    at = customers[0].index("joined_at")
    assert customers[1][at] == "2026-01-01 01:00:00"
    assert backup.sheet("notes")[1][0].startswith('গ্রাহক "')


def test_nothing_is_left_in_the_working_folder_and_nobody_was_alerted(backup: Backup) -> None:
    assert list((backup.installation.home / "work").iterdir()) == []
    assert backup.installation.alerts() == []
    assert datetime.now(UTC) - backup.manifest.finished_at < timedelta(minutes=10)


def test_tables_alone_have_a_bundle_of_their_own(installation: Installation) -> None:
    with installation.instance() as instance:
        result = installation.run_job("shop_tables_only", "notes", "orders", instance=instance)
    assert result.success
    attempt = installation.attempt()
    assert attempt.kind == "selective"
    assert attempt.status.good
    assert attempt.tables_wanted == ("orders", "notes")
    assert dict(attempt.table_counts) == {"orders": 1200, "notes": 70}
    assert [table.name for table in installation.manifest().tables] == ["orders", "notes"]
    assert attempt.file_path in installation.backups()
    today = {installation.today.isoformat()}
    assert installation.materialized() == {
        "customers": set(),
        "orders": today,
        "notes": today,
        "totals": set(),
        "bundle": set(),
    }
    assert list((installation.home / "work").iterdir()) == []


def test_a_selective_backup_bundles_the_chosen_tables_alone(installation: Installation, tmp_path: Path) -> None:
    result = installation.run("notes", "customers")
    assert result.success
    assert installation.attempt().kind == "selective"
    assert (installation.attempt().file_name or "").startswith("selective_backup_")
    assert installation.materialized("bundle") == {"bundle": set()}  # its asset stands for everything, fresh or not
    assert [table.name for table in installation.manifest().tables] == ["customers", "notes"]
    with installation.bundle(tmp_path / "bundle.zip") as bundle:
        assert {name.split("/")[1] for name in bundle.namelist() if name.startswith("parquet/")} == {
            "customers",
            "notes",
        }


def test_two_catalogs_in_one_run_have_a_row_and_a_bundle_each(installation: Installation) -> None:
    text = installation.catalog_file.read_text()
    second = text.replace("catalog: shop", "catalog: branch").split("  orders:")[0]
    installation.catalog_file.with_name("branch.yaml").write_text(second)
    keys = [dg.AssetKey([catalog, asset]) for catalog in ("shop", "branch") for asset in ("customers", "bundle")]
    keys += [dg.AssetKey(["shop", table]) for table in TABLES[1:]]
    with installation.instance() as instance:
        result = (
            installation.all_definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(instance=instance, asset_selection=keys, partition_key=installation.today.isoformat())
        )
    assert result.success
    rows = {attempt.scope: attempt for attempt in installation.attempts()}
    assert set(rows) == {Scope("shop"), Scope("branch")}
    assert all(attempt.status.good and attempt.run_id == result.run_id for attempt in rows.values())
    assert dict(rows[Scope("branch")].table_counts) == {"customers": 500}
    assert dict(rows[Scope("shop")].table_counts) == ROWS


def test_the_steps_of_a_catalog_share_their_row_and_another_catalog_in_the_run_has_its_own(
    installation: Installation,
) -> None:
    shop = Request(
        installation.catalog, Kind.FULL, TABLES, installation.today, Trigger.MANUAL, TESTER, run_id="one-run"
    )
    branch = replace(shop, catalog=shop.catalog.model_copy(update={"catalog": "branch"}))
    with open_ports(installation.settings, "shop") as ports:
        first, other, again = (begin(request, ports) for request in (shop, branch, shop))
    assert again.backup_id == first.backup_id != other.backup_id
    assert (first.scope, other.scope) == (Scope("shop"), Scope("branch"))
