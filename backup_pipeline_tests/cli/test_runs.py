"""`runs`: what people asked Dagster for, and the log of a run, also while it goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from backup_pipeline.core.runs import RequestChange, RequestStatus, RunLine, RunPhase, RunRequest, RunState, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.wiring import ports
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.doubles.runs import FakeLauncher

RUN = str(uuid4())


@pytest.fixture
def dagster(monkeypatch: pytest.MonkeyPatch) -> FakeLauncher:
    launcher = FakeLauncher(runs={RUN: RunState(RUN, "shop_full_backup", RunPhase.DONE)}, lines_at_once=2)
    texts = ["first\x1b[31m", "second", "third"]
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    launcher.lines[RUN] = [RunLine(at, "info", "shop_tables", text) for text in texts]
    monkeypatch.setattr(ports, "dagster_launcher", lambda _: launcher)
    return launcher


@pytest.fixture
def asked(installation: Installation) -> UUID:
    """The id of a request whose run is known."""
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    request = RunRequest(uuid4(), Scope("shop"), RunVerb.BACKUP, RAHIM, datetime.now(UTC), reason="a move")
    ledger.run_requests.add(request)
    ledger.run_requests.change(request.id, RequestChange(RequestStatus.LAUNCHED, run_id=RUN))
    ledger.close()
    return request.id


def test_what_was_asked_for_is_listed(run: Run, asked: UUID) -> None:
    listed = run("runs", "list", "--catalog", "shop")
    assert (listed.code, str(asked) in listed.out, "a move" in listed.out) == (0, True, True), listed.err
    rows = json.loads(run("runs", "list", "--json", "--limit", "1").out)
    assert [(row["id"], row["status"]) for row in rows] == [(str(asked), "launched")]


def test_a_log_is_printed_whole_and_acts_on_no_terminal(run: Run, dagster: FakeLauncher, asked: UUID) -> None:
    printed = run("runs", "log", str(asked))
    assert printed.code == 0
    assert printed.out.splitlines() == [
        r"2026-11-30 12:00:00 INFO shop_tables: first\x1b[31m",
        "2026-11-30 12:00:00 INFO shop_tables: second",
        "2026-11-30 12:00:00 INFO shop_tables: third",
    ]
    assert run("runs", "log", RUN).out == printed.out
    lines = [json.loads(line) for line in run("runs", "log", RUN, "--json").out.splitlines()]
    assert [line["text"] for line in lines] == ["first\x1b[31m", "second", "third"]
    assert run("runs", "log", str(uuid4())).code == 10
    assert run("runs", "log", "nothing").code == 2
    dagster.away = True
    assert run("runs", "log", RUN).code == 1


def test_a_run_that_goes_on_is_followed_to_its_end(
    run: Run, dagster: FakeLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    dagster.runs[RUN] = replace(dagster.runs[RUN], phase=RunPhase.RUNNING)

    def rest(_: float) -> None:
        dagster.lines[RUN].append(RunLine(datetime.now(UTC), "info", "", "the end"))
        dagster.runs[RUN] = replace(dagster.runs[RUN], phase=RunPhase.DONE)

    monkeypatch.setattr("backup_pipeline.cli.runs.time.sleep", rest)
    assert "the end" not in run("runs", "log", RUN).out
    followed = run("runs", "log", RUN, "--follow")
    assert [followed.code, followed.out.count("the end"), followed.out.count("second")] == [0, 1, 1]
