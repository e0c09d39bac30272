"""One writer a catalog, tried with real processes that are killed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Set
from dataclasses import replace

import psycopg

from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.ledger import Attempt, Claim, Lease, Owner, Status, held_error
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.attempts import Request, begin
from backup_pipeline.operations.browse import load_partition
from backup_pipeline.orchestration.resources import failure
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.orchestration.hanging import freeze, hanging_backup, sleeping
from backup_pipeline_tests.orchestration.installation import TABLES, Installation, until


def _writers(installation: Installation) -> Set[str]:
    """Whose partitions the store holds."""
    day, store = installation.today, installation.store
    return {load_partition(PartitionPlace(Scope("shop"), table, day), store).table.exported_by for table in TABLES}


def _row(installation: Installation, backup_id: str) -> Attempt:
    return next(row for row in installation.attempts() if row.backup_id == backup_id)


def test_the_second_run_is_refused_naming_the_first_and_after_its_death_the_next_proceeds(
    installation: Installation,
) -> None:
    with hanging_backup(installation) as process:
        first = installation.attempt()
        refused = installation.run()
        assert refused.exit_code == 11
        for told in (first.backup_id, "rahim", socket.gethostname(), str(process.pid)):
            assert told in refused.error
        row = installation.attempt()
        assert row.status is Status.FAILED
        assert first.backup_id in (row.error_message or "")
        [alert] = installation.alerts()
        assert "WARNING: Backup refused" in alert
        assert _row(installation, first.backup_id).status is Status.RUNNING
        assert len(sleeping(installation)) == 1  # the first one is not disturbed

        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        began = time.monotonic()
        assert installation.run().success
        assert time.monotonic() - began < 60
    assert _writers(installation) == {installation.attempt().backup_id}


def test_a_holder_on_a_host_that_went_down_is_waited_for_and_then_succeeded(installation: Installation) -> None:
    with open_ports(installation.settings, "shop") as ports:
        request = Request(installation.catalog, Kind.FULL, ("notes",), installation.today, Trigger.MANUAL, RAHIM)
        lost = begin(request, replace(ports, owner=Owner("elsewhere", 4711, 1.0))).backup_id
    with psycopg.connect(installation.ledger_url) as session:
        session.execute("UPDATE leases SET expires_at = clock_timestamp() + interval '4 s'")
    began = time.monotonic()
    assert installation.run().success
    assert time.monotonic() - began > 3
    assert _writers(installation) == {installation.attempt().backup_id}
    assert _row(installation, lost).status is Status.RUNNING  # its death is for the sensor to tell


def test_a_refusal_is_nothing_that_dagster_tries_again() -> None:
    claim = Claim(Scope("shop"), "b1", RAHIM, Owner("elsewhere", 4711, 1.0))
    error = held_error(Lease(claim, 1, NOON, NOON, NOON))
    assert failure(error).allow_retries is False
    assert failure(error).metadata["exit code"].value == 11


def test_a_run_that_was_stopped_for_longer_than_its_lease_lives_publishes_nothing_more(
    installation: Installation,
) -> None:
    life_s = 3.0
    with hanging_backup(installation, life_s=life_s) as process:
        first = installation.attempt().backup_id
        freeze(process, installation)
        time.sleep(life_s + 0.5)
        assert installation.run().success
        second = installation.attempt().backup_id
        before = {stored.key: stored.modified for stored in installation.store.list("")}

        os.kill(process.pid, signal.SIGCONT)
        until(lambda: _row(installation, first).status is not Status.RUNNING, 30)
        process.wait(30)
    row = _row(installation, first)
    assert row.status is Status.FAILED
    assert "was not renewed in time" in (row.error_message or "")  # whoever took it has given it back
    assert {stored.key: stored.modified for stored in installation.store.list("")} == before
    assert _writers(installation) == {second}
    assert {key.split("/")[3] for key in installation.backups()} == {second}
    assert any(first in alert and "FAILED" in alert for alert in installation.alerts())
