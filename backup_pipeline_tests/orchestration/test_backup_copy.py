"""The second store in Dagster: copied with the backup, a gap is seen by the sensor and filled by the job."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.runs import COPY_JOB
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tick


def _copies(installation: Installation) -> list[Copy]:
    ledger = installation.ledger
    try:
        return list(ledger.copies.list())
    finally:
        ledger.close()


def _tick(installation: Installation) -> tuple[list[str], str | None]:
    """The run keys that a tick of the sensor asks for, or why it skips."""
    told = tick(installation, "backup_copies")
    why = told.skip_reason.skip_message if told.skip_reason else None
    return [str(request.run_key) for request in told.run_requests or ()], why


@pytest.fixture
def second(installation: Installation) -> Path:
    folder = installation.home / "elsewhere" / "second"
    installation.configure(BACKUP_SECOND_STORE=folder.as_uri())
    return folder


def test_without_a_second_store_there_is_neither_job_nor_sensor(installation: Installation) -> None:
    repository = installation.definitions().get_repository_def()
    assert COPY_JOB not in repository.job_names
    assert not repository.has_sensor_def("backup_copies")


def test_a_gap_costs_a_warning_is_seen_once_an_hour_and_filled(installation: Installation, second: Path) -> None:
    assert installation.run().success  # the folder above the second store is not there
    attempt = installation.attempt()
    assert attempt.status is Status.SUCCESS_WITH_WARNINGS
    assert any("was not copied" in warning for warning in attempt.warnings)
    assert [copy.status for copy in _copies(installation)] == [CopyStatus.FAILED]
    assert any("Copy to the second store failed" in alert for alert in installation.alerts())

    keys, _ = _tick(installation)
    assert keys == _tick(installation)[0]
    assert len(keys) == 1

    with installation.instance() as instance:
        job = installation.definitions().resolve_job_def(COPY_JOB)
        failed = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not failed.success
        second.parent.mkdir()
        assert job.execute_in_process(instance=instance, raise_on_error=False).success
    (copy,) = _copies(installation)
    assert copy.good
    assert (second / str(attempt.file_path)).is_file()
    assert any("work again" in alert for alert in installation.alerts())
    assert _tick(installation) == ([], "Every good backup has its copy.")


def test_a_backup_is_copied_as_part_of_its_run(installation: Installation, second: Path) -> None:
    second.parent.mkdir()
    assert installation.run().success
    (copy,) = _copies(installation)
    assert copy.good
    assert copy.backup_id == installation.attempt().backup_id
    assert (second / str(installation.attempt().file_path)).read_bytes() == installation.store.get(
        str(installation.attempt().file_path)
    )
    assert not any("copied" in warning for warning in installation.attempt().warnings)
