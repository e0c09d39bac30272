"""Somebody clicks *Materialize* on one table: what the run makes is a backup, from `list` to restore and `rebuild`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.verification import Level, depth_of
from backup_pipeline_tests.cli.conftest import as_user
from backup_pipeline_tests.orchestration.installation import Installation


def _materialize(installation: Installation, *tables: str) -> str:
    """As the UI does: assets of the code location, by the job that Dagster has for all of them. The id of the row."""
    keys = [dg.AssetKey(["shop", table]) for table in tables]
    job = installation.definitions().resolve_implicit_global_asset_job_def()
    with installation.instance() as instance:
        result = job.execute_in_process(
            instance=instance, asset_selection=keys, partition_key=installation.today.isoformat()
        )
    assert result.success
    attempt = installation.attempt()
    assert attempt.run_id == result.run_id
    return attempt.backup_id


def _newest(installation: Installation, table: str) -> dg.AssetMaterialization:
    with installation.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", table]))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_it_is_listed_shown_downloaded_verified_restored_and_found_again(
    installation: Installation,
    fresh_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run = as_user(monkeypatch, capfd)
    backup_id = _materialize(installation, "notes")
    assert _newest(installation, "notes").metadata["backup_id"].value == backup_id

    # A later backup of the same date takes the partition's place, and takes nothing from the earlier one.
    installation.sql("DELETE FROM notes WHERE body NOT LIKE '%\"7\"%'")
    assert installation.run().success
    assert _newest(installation, "notes").metadata["dagster/row_count"].value == 1

    [row] = [row for row in json.loads(run("list", "--json").out) if row["backup_id"] == backup_id]
    assert (row["kind"], row["status"], row["record_count"]) == ("selective", "success_with_warnings", 70)
    assert row["file_size_bytes"] > 0
    shown = run("show", backup_id)
    assert shown.code == 0, shown.err
    assert "notes" in shown.out
    verified = run("verify", backup_id, "--level", "2")
    assert verified.code == 0, verified.err
    downloaded = run("download", backup_id, "--to", str(tmp_path))
    assert downloaded.code == 0, downloaded.err
    [file] = tmp_path.glob("selective_backup_*.zip")
    with zipfile.ZipFile(file) as bundle:
        assert "sheets/notes.csv" in bundle.namelist()

    restored = run("restore", backup_id, "-T", "notes", "--target-url", fresh_database)
    assert restored.code == 0, restored.err
    with psycopg.connect(fresh_database) as session:
        assert session.execute("SELECT count(*) FROM notes").fetchall() == [(70,)]

    with psycopg.connect(installation.ledger_url) as session:
        session.execute("DELETE FROM backup_logs WHERE backup_id = %s", (backup_id,))
    rebuilt = run("rebuild", "--confirm")
    assert rebuilt.code == 0, rebuilt.err
    [again] = [attempt for attempt in installation.attempts() if attempt.backup_id == backup_id]
    assert (again.status, again.record_count, again.kind) == (Status.SUCCESS_WITH_WARNINGS, 70, "selective")


def test_a_table_that_fails_leaves_no_backup_and_the_good_one_its_partition(installation: Installation) -> None:
    installation.sql("ALTER TABLE notes RENAME TO elsewhere")
    with installation.instance() as instance:
        result = installation.run_job("shop_tables_only", "notes", "orders", instance=instance)
    assert not result.success
    attempt = installation.attempt()
    assert (attempt.kind, attempt.status) == ("selective", Status.FAILED)
    assert installation.backups() == []
    assert installation.materialized("notes", "orders") == {"notes": set(), "orders": {installation.today.isoformat()}}


def test_a_single_table_takes_nothing_from_the_full_backups(installation: Installation) -> None:
    """The bundle of everything stays what `latest` is, and a later bundle holds the table as it was rerun."""
    assert installation.run().success
    full = installation.attempt()
    installation.sql("INSERT INTO notes VALUES ('new', now())")
    single = _materialize(installation, "notes")
    with installation.instance() as instance:
        assert installation.run_job("shop_full_backup", "bundle", instance=instance).success
    assert [table.exported_by for table in installation.manifest().tables if table.name == "notes"] == [single]
    assert not installation.manifest().consistent
    kinds = {attempt.backup_id: attempt.kind for attempt in installation.attempts()}
    assert (kinds[full.backup_id], kinds[single]) == ("full", "selective")
    assert {depth_of(attempt.verification) for attempt in installation.attempts()} == {Level.BYTES}
