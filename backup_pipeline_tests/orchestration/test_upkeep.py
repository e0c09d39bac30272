"""Jobs on one backup: verified, deleted, rendered; for whom they act, and who is told when they fail."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import dagster as dg
import pytest

from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.runs import REQUEST_TAG, RequestStatus, RunRequest, RunVerb
from backup_pipeline.core.scope import DAGSTER, Actor, ActorKind
from backup_pipeline.core.verification import Level
from backup_pipeline.operations.download import rendered_file, sweep_renderings
from backup_pipeline.operations.run_requests import RunWish, request_run
from backup_pipeline.orchestration.keys import REFUSED_TAG
from backup_pipeline.wiring.addresses import utc_now, work_dir
from backup_pipeline.wiring.ports import open_ports
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tick

KARIM = Actor(ActorKind.PERSON, "karim")


@pytest.fixture(scope="module")
def shop(install: Install) -> Iterator[Installation]:
    """An installation with a backup, for the tests of this file, which follow each other."""
    with install() as installation:
        assert installation.run().success
        yield installation


@contextmanager
def _wanted(shop: Installation, verb: RunVerb, **detail: object) -> Iterator[tuple[RunRequest, dict[str, object]]]:
    """A request of Karim's, and what Dagster would launch for it."""
    launcher = FakeLauncher()
    wish = RunWish(uuid4(), verb, shop.catalog, KARIM, "a reason", detail)
    with open_ports(shop.settings, "shop") as ports:
        row = request_run(wish, ports, launcher)
        [(order, _)] = launcher.launched
        tags = {REQUEST_TAG: str(row.id), **order.tags}
        yield row, {"run_config": order.config, "tags": tags, "partition_key": order.partition, "job": order.job}


def _run(shop: Installation, launch: dict[str, object], instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    given = {name: value for name, value in launch.items() if name != "job"}
    return shop.run_job(str(launch["job"]), instance=instance, **given)


def _row(shop: Installation, row: RunRequest) -> RunRequest:
    ledger = shop.ledger
    try:
        after = ledger.run_requests.get(row.id)
    finally:
        ledger.close()
    assert after is not None
    return after


def test_a_backup_is_verified_in_the_name_of_who_asked(shop: Installation) -> None:
    with _wanted(shop, RunVerb.VERIFY, level="references") as (row, launch), shop.instance() as instance:
        # A fake launcher named the run; the real one is what comes.
        _forget_run(shop, row)
        result = _run(shop, launch, instance)
        assert result.success
        [evaluation] = result.get_asset_check_evaluations()
        assert (evaluation.check_name, evaluation.passed) == ("verified", True)
        after = _row(shop, row)
        assert (after.status, after.run_id) == (RequestStatus.RUNNING, result.run_id)
        assert after.result is not None
        assert after.result["passed"] is True
        verification = shop.attempt().verification
        assert verification is not None
        assert verification.level is Level.REFERENCES
        assert next(event.actor for event in shop.audits() if event.action == "verify") == KARIM


def _forget_run(shop: Installation, row: RunRequest) -> None:
    ledger = shop.ledger
    with ledger._transaction() as connection:
        connection.exec_driver_sql("UPDATE run_requests SET run_id = NULL")
    ledger.close()


def test_the_tag_of_a_request_that_is_another_run_s_gets_nothing_done(shop: Installation) -> None:
    """A launch that arrives late, or a tag that somebody has copied: refused before anything is touched."""
    with _wanted(shop, RunVerb.VERIFY) as (row, launch), shop.instance() as instance:
        before = len(shop.audits())
        result = _run(shop, launch, instance)  # the fake launcher's run has the row
        assert not result.success
        [(why, _)] = shop.step_failures(result.run_id)
        assert "is not for this run" in why
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.tags[REFUSED_TAG] == "true"
        assert len(shop.audits()) == before
        assert _row(shop, row).run_id == "run-1"


def test_a_run_without_a_request_is_nobody_s_in_particular(shop: Installation) -> None:
    with shop.instance() as instance:
        assert shop.run_job("shop_verify", instance=instance, partition_key=None, tags={"user": "karim"}).success
    assert next(event.actor for event in shop.audits() if event.action == "verify") == DAGSTER


@pytest.mark.acceptance("2.11")
def test_a_backup_that_somebody_asked_for_is_theirs_and_of_the_schedule_s_kind_where_it_tests_that(
    shop: Installation,
) -> None:
    with _wanted(shop, RunVerb.TABLES, tables=["notes"], automatic=True) as (row, launch), shop.instance() as instance:
        _forget_run(shop, row)
        given = {name: value for name, value in launch.items() if name != "job"}
        result = shop.run_job(str(launch["job"]), "notes", instance=instance, **given)
        assert result.success
        attempt = shop.attempt()
        assert (attempt.actor, attempt.type.value, attempt.reason) == (KARIM, "automatic", "a reason")
        assert attempt.tables_wanted == ("notes",)
        assert _row(shop, row).run_id == attempt.run_id


@pytest.mark.acceptance("2.20")
def test_a_rendering_waits_for_its_download_and_goes_after_an_hour(shop: Installation) -> None:
    spool, now = work_dir(shop.settings), utc_now()
    with _wanted(shop, RunVerb.RENDER, rendering="csv") as (row, launch), shop.instance() as instance:
        _forget_run(shop, row)
        assert _run(shop, launch, instance).success
    result = _row(shop, row).result
    assert result is not None
    path = rendered_file(spool, row.id, now)
    assert (path.name, path.stat().st_size) == (result["file"], result["bytes"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == result["sha256"]
    assert next(event.actor for event in shop.audits() if event.action == "download") == KARIM
    assert sweep_renderings(spool, now + timedelta(minutes=59)) == 0
    with pytest.raises(NotFoundError):
        rendered_file(spool, row.id, now + timedelta(minutes=62))
    os.utime(path.parent, ((now - timedelta(minutes=62)).timestamp(),) * 2)  # a machine of runs alone has no console
    tick(shop, "backup_orphans")
    assert not path.parent.exists()
    with pytest.raises(NotFoundError):
        rendered_file(spool, row.id, now)


@pytest.mark.acceptance("0.23")
def test_a_backup_is_deleted_for_a_request_alone_and_protected_all_the_same(shop: Installation) -> None:
    selective, full = shop.attempts()[0], shop.attempts()[1]
    config = {"backup_id": selective.backup_id, "confirm": selective.backup_id}
    by_hand = {"ops": {"shop_deleted": {"config": config}}}
    with shop.instance() as instance:
        result = shop.run_job("shop_delete", instance=instance, partition_key=None, run_config=by_hand)
        assert not result.success
        assert "Nobody with the right" in shop.step_failures(result.run_id)[0][0]
    assert shop.attempts()[0].status.good
    newest = {"backup_id": full.backup_id, "confirm": full.backup_id}
    with _wanted(shop, RunVerb.DELETE, **newest) as (row, launch), shop.instance() as instance:
        _forget_run(shop, row)
        result = _run(shop, launch, instance)
        assert not result.success
        assert "stays" in shop.step_failures(result.run_id)[0][0]  # young, and the newest good one
    assert shop.attempts()[1].status.good
    unconfirmed = {"backup_id": selective.backup_id, "confirm": "yes"}
    with _wanted(shop, RunVerb.DELETE, **unconfirmed) as (row, launch), shop.instance() as instance:
        _forget_run(shop, row)
        assert not _run(shop, launch, instance).success
    assert shop.attempts()[0].status.good
    assert shop.run("notes").success  # what is to stay in its place
    rule = "{keep_within: forever, min_keep: 0, grace_minutes: 0}"
    shop.edit_catalog("grace_minutes: 0\n", f"grace_minutes: 0\nretention: {{manual: {rule}, automatic: {rule}}}\n")
    with _wanted(shop, RunVerb.DELETE, **config) as (row, launch), shop.instance() as instance:
        _forget_run(shop, row)
        assert _run(shop, launch, instance).success
    assert shop.attempts()[1].status is Status.DELETED
    assert next(event.actor for event in shop.audits() if event.action == "deleted") == KARIM


def test_a_plan_of_what_goes_is_kept_in_the_request(shop: Installation) -> None:
    with _wanted(shop, RunVerb.PRUNE, dry_run=True) as (row, launch), shop.instance() as instance:
        _forget_run(shop, row)
        assert _run(shop, launch, instance).success
    result = _row(shop, row).result
    assert result is not None
    assert result["reports"] == []
    assert result["plans"]


def test_a_run_says_how_far_it_is_in_the_ledger(shop: Installation) -> None:
    ledger = shop.ledger
    try:
        rows = ledger.progress.list(running=False)
        run_ids = {row.run_id for row in ledger.list()}
        [export] = [row for row in rows if row.run_id == shop.attempts()[-1].run_id]
    finally:
        ledger.close()
    assert {attempt for attempt in run_ids if attempt} <= {row.run_id for row in rows}
    assert export.finished_at is not None
