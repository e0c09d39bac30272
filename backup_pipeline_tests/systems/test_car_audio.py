"""The car audio platform: its five tables, its schedule and retention, and the ZIP of JSON that its page wrote."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from backup_pipeline.core.drill import How
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.names import Trigger, backup_uuid
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.retention import RetentionBasis, plan_retention
from backup_pipeline.core.schedule import next_due
from backup_pipeline.demo import CAR_AUDIO, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.restore.bench import Bench
from backup_pipeline_tests.servers.ledgers import ScratchLedger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import BackedUp, backed_up_system, catalog_of

TABLES = ["users", "profiles", "cms_pages", "organizations", "payments"]
SAMPLE = {
    "backup_id": "uuid",
    "created_at": "2025-01-11T20:00:00Z",
    "type": "manual|automatic",
    "tables_backed_up": 5,
    "total_rows": 23,
    "backup_version": "1.0",
    "platform": "Car Audio Competition Platform",
}
"""As the source document prints it."""
DHAKA = ZoneInfo("Asia/Dhaka")


@pytest.fixture(scope="module")
def platform(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with backed_up_system(postgres_server, CAR_AUDIO, tmp_path_factory.mktemp("car_audio"), 0.05) as made:
        yield made


@pytest.fixture(scope="module")
def archive(platform: BackedUp) -> zipfile.ZipFile:
    return zipfile.ZipFile(platform.rendered(Rendering.JSON_ZIP))


def document(archive: zipfile.ZipFile, name: str) -> Any:
    return json.loads(archive.read(name))


def test_two_creations_are_the_same_rows(platform: BackedUp, fresh_database: str) -> None:
    again = create_system(fresh_database, CAR_AUDIO, scale=0.05)
    query = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY ctid)) FROM {} t"
    with psycopg.connect(fresh_database) as session:
        for table in CAR_AUDIO.counted:
            row = session.execute(query.format(table).encode()).fetchone()
            assert row is not None
            assert row[0] == platform.one(query.format(table)), table
    assert min(again.rows.values()) > 0


@pytest.mark.acceptance("2.4")
def test_the_five_tables_of_the_document_are_in_the_backup(platform: BackedUp) -> None:
    assert [table.name for table in platform.manifest.tables] == TABLES
    assert platform.manifest.unlisted == ()
    for table in platform.manifest.tables:
        assert table.row_count == platform.one(f"SELECT count(*) FROM {table.name}") > 0


@pytest.mark.acceptance("2.6")
def test_the_manifest_of_the_zip_is_the_sample(platform: BackedUp, archive: zipfile.ZipFile) -> None:
    about = document(archive, "manifest.json")
    assert list(about) == list(SAMPLE)
    assert [type(value) for value in about.values()] == [type(value) for value in SAMPLE.values()]
    assert UUID(about["backup_id"]) == backup_uuid(platform.backup.attempt.backup_id)
    started = platform.backup.attempt.started_at.astimezone(UTC)
    assert about["created_at"] == started.strftime("%Y-%m-%dT%H:%M:%SZ")
    fixed = ("backup_version", "platform", "tables_backed_up")
    assert {name: about[name] for name in fixed} == {name: SAMPLE[name] for name in fixed}
    assert (about["type"], about["total_rows"]) == ("manual", platform.manifest.totals.rows)


@pytest.mark.acceptance("2.6")
def test_the_id_is_that_of_the_row_in_the_ledger(platform: BackedUp, archive: zipfile.ZipFile) -> None:
    ledger = platform.backup.place.ledger
    assert isinstance(ledger, ScratchLedger)
    with psycopg.connect(ledger.url) as session:
        rows = session.execute("SELECT id, backup_id FROM backup_logs").fetchall()
    assert [str(row) for row, _ in rows] == [document(archive, "manifest.json")["backup_id"]]
    assert [backup_id for _, backup_id in rows] == [platform.backup.attempt.backup_id]


@pytest.mark.acceptance("2.5", "2.6")
def test_the_zip_has_one_file_a_table_with_every_row_deflated(platform: BackedUp, archive: zipfile.ZipFile) -> None:
    assert archive.namelist() == [*(f"{table}.json" for table in TABLES), "manifest.json"]
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    packed, plain = (sum(getattr(info, size) for info in archive.infolist()) for size in ("compress_size", "file_size"))
    assert packed < plain / 3
    for table in TABLES:
        rows = document(archive, f"{table}.json")
        with psycopg.connect(platform.url) as session:
            cursor = session.execute(f"SELECT * FROM {table}".encode())
            names, expected = [column.name for column in cursor.description or ()], cursor.fetchall()
        assert len(rows) == len(expected)
        assert all(list(row) == names for row in rows)
        key = names.index("id")
        assert sorted(str(row["id"]) for row in rows) == sorted(str(row[key]) for row in expected)


def test_json_columns_are_json_and_numbers_are_numbers(platform: BackedUp, archive: zipfile.ZipFile) -> None:
    pages = document(archive, "cms_pages.json")
    assert pages[0]["meta"]["keywords"] == ["spl", "car audio"]
    assert [type(page["id"]) for page in pages] == [int] * len(pages)
    profiles = document(archive, "profiles.json")
    assert any(profile["audio_system"] is None for profile in profiles)
    assert any(isinstance(profile["audio_system"], dict) for profile in profiles)


def test_no_secret_is_in_any_file(platform: BackedUp, archive: zipfile.ZipFile) -> None:
    mark = b"s3cr3t-"
    assert platform.one("SELECT count(*) FROM users WHERE password_hash LIKE 's3cr3t-%'") > 0
    assert not any(mark in archive.read(name) for name in archive.namelist())
    assert mark not in platform.stored_bytes()
    users = document(archive, "users.json")
    assert {user["password_hash"] for user in users} == {"[ENCRYPTED]"}
    assert {user["reset_token"] for user in users} == {"[ENCRYPTED]", None}


@pytest.mark.acceptance("2.8")
def test_it_is_due_every_day_at_two_in_dhaka_which_is_the_samples_instant() -> None:
    catalog = catalog_of("car_audio")
    assert catalog.schedule == "0 2 * * *"
    due = next_due(str(catalog.schedule), catalog.timezone, datetime(2025, 1, 11, 19, 59, tzinfo=UTC))
    assert due is not None
    assert due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") == SAMPLE["created_at"]
    assert due.astimezone(DHAKA).strftime("%Y-%m-%d %H:%M") == "2025-01-12 02:00"


@pytest.mark.acceptance("2.9")
def test_the_clean_up_is_on_sundays_at_three() -> None:
    catalog = catalog_of("car_audio")
    due = next_due(str(catalog.retention.schedule), catalog.timezone, datetime(2025, 1, 8, tzinfo=UTC))
    assert due is not None
    assert due.astimezone(DHAKA).strftime("%A %H:%M") == "Sunday 03:00"


@pytest.mark.acceptance("2.10")
@pytest.mark.parametrize(("age", "kept"), [(29, True), (30, True), (31, False)])
@pytest.mark.parametrize("type_", list(Trigger))
def test_automatic_backups_are_kept_for_thirty_days_and_manual_ones_for_ever(
    age: int, kept: bool, type_: Trigger
) -> None:
    catalog, now = catalog_of("car_audio"), datetime(2026, 11, 22, 3, tzinfo=DHAKA)
    younger = [backup(now - timedelta(days=days, seconds=-1)) for days in range(1, 6)]
    old = backup(now - timedelta(days=age) + timedelta(seconds=1), type=type_)
    verdicts = plan_retention([*younger, old], RetentionBasis(catalog.retention, catalog.timezone, now))
    removed = {verdict.attempt.backup_id: verdict.removed for verdict in verdicts}
    assert removed[old.backup_id] is (type_ is Trigger.AUTOMATIC and not kept)


def test_a_drill_of_it_is_equal_to_the_last_row(platform: BackedUp) -> None:
    report = platform.backup.drill()
    assert (report.findings, report.passed) == ((), True)
    assert {table.name for table in report.tables} == set(TABLES)
    equal = {How.BYTES, How.FINGERPRINT}
    assert all({table.parquet, table.sheet} <= equal and table.rows == table.rows_again for table in report.tables)
    assert platform.backup.level() == (4, True)


def test_its_bundle_restores_into_an_empty_database(platform: BackedUp, postgres_server: EmbeddedPostgres) -> None:
    bench = Bench(platform.backup.place, platform.backup.attempt, platform.folder / "restore")
    with temporary_database(postgres_server) as target:
        bench.restore(target, Mode.NEW, fill={"users.password_hash": "to be set anew"})
        with psycopg.connect(target) as session:
            for table in TABLES:
                row = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
                assert row == (platform.one(f"SELECT count(*) FROM {table}"),)
            hashes = session.execute("SELECT DISTINCT password_hash, reset_token FROM users").fetchall()
    assert hashes == [("to be set anew", None)]
