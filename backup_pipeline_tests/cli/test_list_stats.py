"""`stats`: numbers for people, as JSON, and for Prometheus."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation


@pytest.mark.acceptance("2.22")
def test_stats_tell_totals_and_tables(run: Run, installation: Installation) -> None:
    ended = run("stats")
    assert ended.code == 0
    assert ended.out.startswith("shop\n")
    assert "1 (1 manual; 1 full)" in ended.out
    assert "50.0%" in ended.out  # one good, one failed
    lines = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines() if line.startswith(("goods", "sold"))}
    assert lines["sold"][0] == "2,000"


def test_stats_as_json_say_the_same(run: Run, installation: Installation) -> None:
    [found] = json.loads(run("stats", "--json", "--days", "7").out)
    assert (found["catalog"], found["days"], found["backups"]) == ("shop", 7, 1)
    assert found["sizes"]["total"] == installation.good.file_size_bytes
    assert found["tables"]["goods"] == {
        "rows": 500,
        "bytes": installation.good.table_bytes["goods"],
        "rows_per_day": None,
        "bytes_per_day": None,
    }
    assert found["forecast"] == []


def test_what_lies_in_the_store_is_added_up_when_asked_for(run: Run, installation: Installation) -> None:
    [found] = json.loads(run("stats", "--json", "--measure").out)
    on_disk = {path: path.stat().st_size for path in (installation.store / "shop").rglob("*") if path.is_file()}
    assert sum(found["stored"].values()) == sum(on_disk.values())
    assert set(found["stored"]) == {"backups", "tables", "schema"}


def test_metrics_are_what_prometheus_reads(run: Run, installation: Installation) -> None:
    ended = run("stats", "--prometheus")
    assert ended.code == 0
    families = {family.name: family for family in text_string_to_metric_families(ended.out)}
    rows = {sample.labels["table"]: sample.value for sample in families["backup_rows"].samples}
    assert rows == {"goods": 500, "sold": 2000}
    assert families["backup_runs"].type == "counter"
    assert families["backup_size_bytes"].samples[0].value == installation.good.file_size_bytes
    [newest] = families["backup_last_success_timestamp_seconds"].samples
    assert newest.labels["destination"] == installation.environment["BACKUP_STORE"]


def test_a_catalog_without_backups_is_not_found(run: Run) -> None:
    ended = run("stats", "--catalog", "nothing")
    assert ended.code == 10
    assert "nothing" in ended.err
