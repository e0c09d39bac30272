"""What a run from Dagster's UI says while it works: its stages, and the lock that it waits for, with who holds it."""

from __future__ import annotations

import logging
import threading

import dagster as dg
import psycopg
import pytest

from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.postgres import errors
from backup_pipeline_tests.orchestration.installation import Installation


def _log_of_a_run(installation: Installation) -> list[tuple[str | int, str]]:
    """Level and message of each line of ours, of a run as the UI makes them: nobody watches at a terminal."""
    catalog = installation.catalog
    job = assemble({"shop": catalog}, installation.settings).resolve_job_def("shop_full_backup")
    with dg.DagsterInstance.ephemeral() as instance:
        run = job.execute_in_process(instance=instance, partition_key=installation.today.isoformat())
        assert run.success
        entries = instance.all_logs(run.run_id)
    return [(record.level, record.user_message) for record in entries if record.dagster_event is None]


def test_each_stage_stands_in_the_log_of_the_run(installation: Installation) -> None:
    messages = [message for _, message in _log_of_a_run(installation)]
    stages = ["Opening the snapshot.", "Reading the definitions (pg_dump).", "Bundling into the store."]
    assert [message for message in messages if message in stages] == stages
    assert not [message for message in messages if "customers" in message]  # their materializations say that


def test_the_blocked_table_and_its_blocker_stand_in_the_log_while_the_run_waits(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "AFTER_S", 0.5)  # five seconds: too long for a test
    with psycopg.connect(installation.source_url, application_name="night repair") as blocker:
        blocker.execute("LOCK TABLE customers IN ACCESS EXCLUSIVE MODE")
        timer = threading.Timer(8, blocker.rollback)
        timer.start()
        try:
            lines = _log_of_a_run(installation)
        finally:
            timer.cancel()
            timer.join()
    [(level, message)] = {(level, message) for level, message in lines if "customers" in message}
    assert level in {"WARNING", logging.WARNING}
    assert message.startswith("Waiting for a lock: public.customers is locked")
    assert "night repair" in message
