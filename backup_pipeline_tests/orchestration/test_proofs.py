"""What verify and drill come to stands as checks of the bundle, wherever they ran; and every check button works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from backup_pipeline.cli import main
from backup_pipeline.core.verification import Level, depth_of
from backup_pipeline.orchestration.internals import InMemoryJob, execute_run
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_success

BUNDLE = dg.AssetKey(["shop", "bundle"])


@pytest.fixture(scope="module")
def shop(install: Install) -> Iterator[Installation]:
    """One backup for the whole file."""
    with install() as installation:
        assert installation.run().success
        yield installation


def executed(shop: Installation, asset: str, *checks: str) -> Mapping[str, dg.AssetCheckEvaluation]:
    """As the UI executes checks: without their asset, without a partition, in the job of all assets."""
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    keys = {dg.AssetCheckKey(dg.AssetKey(["shop", asset]), check) for check in checks}
    only = job.get_subset(asset_check_selection=keys)
    with shop.instance() as instance:
        run = create_run_for_test(instance, job_name=only.name, asset_check_selection=frozenset(keys))
        assert execute_run(InMemoryJob(only), run, instance).success
        entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    assert len(shop.attempts()) == 1  # nothing was backed up
    events = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    return {evaluation.check_name: evaluation for evaluation in events}


def latest(shop: Installation, check: str) -> dg.AssetCheckEvaluation:
    """What the newest evaluation of a check of the bundle says, whoever made it."""
    with shop.instance() as instance:
        [entry] = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(BUNDLE, check), limit=1)
    assert entry.evaluation is not None
    return entry.evaluation


def test_executing_verified_and_restores_verifies_and_drills_the_newest_backup(shop: Installation) -> None:
    proofs = executed(shop, "bundle", "verified", "restores")
    assert {name: proof.passed for name, proof in proofs.items()} == {"verified": True, "restores": True}
    assert {name: proof.metadata["level"].value for name, proof in proofs.items()} == {"verified": 2, "restores": 4}
    for proof in proofs.values():
        assert f"Backup {shop.attempt().backup_id} of {shop.today}" in str(proof.description)
    assert depth_of(shop.attempt().verification) == Level.RESTORED
    assert {"verify", "drill"} <= {event.action for event in shop.audits()}


@pytest.mark.parametrize(
    ("asset", "checks"),
    [("bundle", {"readable_from_store", "anomaly"}), ("orders", {"row_count", "key_unique", "shrinkage", "anomaly"})],
)
def test_every_other_check_looks_again_at_what_lies_in_the_store(
    shop: Installation, asset: str, checks: set[str]
) -> None:
    evaluations = executed(shop, asset, *checks)
    assert set(evaluations) == checks
    assert all(evaluation.passed for evaluation in evaluations.values())
    assert any("read back" in str(evaluation.description) for evaluation in evaluations.values())


def test_what_the_command_line_verifies_stands_in_dagster(
    shop: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "latest", "--catalog", "shop", "--level", "references"]) == 0
    proof = latest(shop, "verified")
    assert (proof.passed, proof.metadata["level"].value) == (True, 3)
    with shop.instance() as instance:
        record = instance.fetch_materializations(BUNDLE, limit=1).records[0]
    assert proof.target_materialization_data is not None
    assert proof.target_materialization_data.storage_id == record.storage_id
    assert "Dagster does not show it" not in capfd.readouterr().err


def test_what_becomes_known_of_some_tables_says_nothing_of_the_bundle(install: Install) -> None:
    with install() as installation:
        assert installation.run("notes").success
        assert main(["verify", installation.attempt().backup_id]) == 0
        with installation.instance() as instance:
            check = dg.AssetCheckKey(BUNDLE, "verified")
            assert not instance.event_log_storage.get_asset_check_execution_history(check, limit=1)


@pytest.mark.parametrize("unreachable", [False, True])
def test_without_dagster_a_verification_is_none_the_worse(
    shop: Installation, unreachable: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if unreachable:
        monkeypatch.setenv("DAGSTER_PG_URL", "postgresql://nobody:s3cr3t-pw@127.0.0.1:1/none?connect_timeout=1")
    else:
        monkeypatch.setenv("DAGSTER_HOME", str(shop.home / "nowhere"))
    assert main(["verify", "latest", "--catalog", "shop", "--level", "bytes"]) == 0
    error = capfd.readouterr().err
    assert ("Dagster does not show it" in error) is unreachable
    assert "s3cr3t-pw" not in error


def test_damage_fails_the_checks_that_look_at_it(shop: Installation) -> None:
    store = shop.home / "store"
    bundle, [partition] = store / str(shop.attempt().file_path), store.rglob("orders/*/*.parquet")
    with damaged(bundle), damaged(partition):
        assert not executed(shop, "bundle", "readable_from_store")["readable_from_store"].passed
        assert not executed(shop, "bundle", "verified")["verified"].passed
        with shop.instance() as instance:
            [run] = instance.get_runs(limit=1)
        tell_of_success(shop, run.run_id)
        assert "Backup checks failed: shop" in shop.alerts()[-1]
        counted = executed(shop, "orders", "row_count")["row_count"]
    assert (counted.passed, counted.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "SHA-256" in str(counted.description)


class damaged:  # noqa: N801  # reads as a context
    """One bit of a file turned over, for as long as a `with` lasts."""

    def __init__(self, file: Path) -> None:
        self.file, self.kept = file, file.with_suffix(".kept")

    def __enter__(self) -> None:
        shutil.copy2(self.file, self.kept)
        data = bytearray(self.file.read_bytes())
        data[len(data) // 2] ^= 1
        self.file.chmod(0o600)
        self.file.write_bytes(data)

    def __exit__(self, *_: object) -> None:
        self.kept.replace(self.file)


def test_who_materializes_the_bundle_asks_for_no_drill(install: Install) -> None:
    """The UI names every check of an asset that it materializes."""
    with install() as installation, installation.instance() as instance:
        job = installation.definitions().resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, partition_key=installation.today.isoformat())
        assert result.success
        names = {evaluation.check_name for evaluation in result.get_asset_check_evaluations()}
        assert names == {"row_count", "key_unique", "shrinkage", "anomaly", "readable_from_store"}
        assert "drill" not in {event.action for event in installation.audits()}
