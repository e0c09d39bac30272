"""Several runs of Dagster over one snapshot: launched by the first, with its tags, or not at all where nobody would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._daemon.types import DaemonHeartbeat

from backup_pipeline.core import planning
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure

CODE = """
from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import Settings

defs = assemble(load_catalogs(Settings().catalogs), Settings())
"""


@pytest.fixture
def site(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setattr(planning, "_LEAST_BYTES", 40 << 10)
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 0\nruns: 3")
    (tmp_path / "code.py").write_text(CODE)
    return installation


@contextmanager
def daemon(instance: dg.DagsterInstance, repository: ReconstructableRepository) -> Iterator[None]:
    """The daemon of Dagster's queue, as far as it matters: a run is executed at once, before whoever asks goes on."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "QUEUED_RUN_COORDINATOR", None, []))

    def submit(run_id: str, workspace: Any) -> None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.remote_job_origin is not None
        execute_run(repository.get_reconstructable_job(run.job_name), run, instance)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(instance, "submit_run", submit)
        yield


def backed_up(site: Installation, instance: dg.DagsterInstance, repository: ReconstructableRepository) -> dg.DagsterRun:
    """A full backup that a launcher has begun."""
    job = repository.get_reconstructable_job("shop_full_backup")
    location = RegisteredCodeLocationOrigin("backup_pipeline")
    definition = job.get_definition()
    partition = definition.get_tags_for_partition_key(site.today.isoformat(), selected_asset_keys=None)
    run = instance.create_run_for_job(
        definition,
        tags={
            **definition.run_tags,
            **partition,
            "dagster-celery/queue": "large",
            "dagster/priority": "5",
            "team": "a",
        },
        remote_job_origin=RemoteRepositoryOrigin(location, "__repository__").get_job_origin("shop_full_backup"),
        job_code_origin=job.get_python_origin(),
    )
    execute_run(job, run, instance)
    again = instance.get_run_by_id(run.run_id)
    assert again is not None
    return again


def _said(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(run.run_id))


def _parts(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Any:
    [entry] = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
    assert entry.dagster_event is not None
    return entry.dagster_event.step_output_data.metadata["parts"].value


def test_the_first_run_launches_others_which_read_for_it(site: Installation, tmp_path: Path) -> None:
    repository = ReconstructableRepository.for_file(str(tmp_path / "code.py"), "defs")
    with site.instance() as instance, daemon(instance, repository):
        run = backed_up(site, instance, repository)
        assert run.is_success
        others = [other for other in instance.get_runs() if other.run_id != run.run_id]
        [attempt] = [row for row in site.attempts() if row.run_id == run.run_id]
        assert [other.job_name for other in others] == ["shop_share", "shop_share"]
        for other in others:
            assert other.is_success
            assert other.tags["backup_pipeline/shard_of"] == attempt.backup_id
            assert (other.tags["dagster-celery/queue"], other.tags["team"]) == ("large", "a")
            assert "dagster/partition" not in other.tags
        assert sorted(_parts(instance, other) for other in others)[1] > 2  # the first that came has taken all
        made = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        assert len(made) == 5  # the assets are the first run's, whoever has read them
    assert attempt.status.good
    assert dict(attempt.table_counts) == {"customers": 500, "orders": 1200, "notes": 70, "totals": 400}


def test_without_a_daemon_or_a_launcher_a_run_reads_everything_itself(site: Installation, tmp_path: Path) -> None:
    repository = ReconstructableRepository.for_file(str(tmp_path / "code.py"), "defs")
    with site.instance() as instance:
        run = backed_up(site, instance, repository)
        assert run.is_success
        assert "No daemon of Dagster takes runs from the queue. This run does all of backup " in _said(instance, run)
        assert site.run(reason="by hand").success
        newest = instance.get_runs(limit=1)[0]
        assert "No launcher of Dagster has begun this run" in _said(instance, newest)
        assert len(instance.get_runs()) == 2
    assert all(row.status.good for row in site.attempts() if row.run_id is not None)


def test_a_part_that_fails_is_told_by_the_backup_alone_and_nobody_runs_one_by_hand(site: Installation) -> None:
    with site.instance() as instance:
        lost = site.run_job("shop_share", instance=instance, partition_key=None)
        assert not lost.success
        assert "This run is for no backup" in str(lost.failure_data_for_node("shop_shared"))
        instance.add_run_tags(lost.run_id, {"backup_pipeline/shard_of": "20261120T180000Z-full-1f3a9c2e"})
    tell_of_failure(site, lost.run_id)
    assert site.alerts() == []
