"""The console's two routes, asked over HTTP: in this process, and of `backup-pipeline serve` as it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
import uvicorn

from backup_pipeline import __version__
from backup_pipeline.core.ledger import Status
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.settings import Settings
from backup_pipeline.web import create_app
from backup_pipeline.web.health import Watchman
from backup_pipeline.wiring.ports import ports_over
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.parents import python
from backup_pipeline_tests.watching import DAY, Watched, an_hour_ago, watched_installation

SERVE = "from backup_pipeline.cli.app import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def here(fresh_database: str, tmp_path: Path) -> Iterator[Watched]:
    with watched_installation(fresh_database, tmp_path) as made:
        yield made


@contextmanager
def _served(ledger: SqlLedger) -> Iterator[int]:
    """The console over `ledger`, in this process; its port."""
    settings = Settings()
    port = free_port()
    app = create_app(settings, ports_over(ledger, settings))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, 20, every=0.02)
        yield port
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def port(here: Watched) -> Iterator[int]:
    with _served(here.ledger) as at:
        yield at


def _overdue(here: Watched) -> None:
    here.declare(grace_minutes=0, schedule=an_hour_ago())
    here.backed_up(here.due - 3 * DAY)


def test_alive_it_says_its_version(port: int) -> None:
    assert _ask(port, "/healthz") == (200, {"status": "alive", "version": __version__})


def test_fresh_is_200_with_each_catalog(here: Watched, port: int) -> None:
    good = here.backed_up(datetime.now(UTC))
    code, answer = _ask(port, "/healthz/freshness")
    [shop] = answer["catalogs"]
    assert (code, answer["status"], shop["state"], shop["newest"]) == (200, "fresh", "fresh", good.backup_id)
    assert shop["age_s"] < 60
    assert datetime.fromisoformat(shop["next_due"]) > datetime.now(UTC)


def test_overdue_is_503_and_asking_writes_nothing_and_alerts_nobody(here: Watched, port: int) -> None:
    _overdue(here)
    for _ in range(3):
        code, answer = _ask(port, "/healthz/freshness")
        assert (code, answer["status"]) == (503, "overdue")
    assert here.statuses() == [Status.SUCCESS]
    assert here.webhook.bodies == []


def test_what_is_not_known_is_503_too(here: Watched, port: int) -> None:
    here.file.write_text("catalog: shop")
    code, answer = _ask(port, "/healthz/freshness")
    assert (code, answer["status"]) == (503, "unknown")
    assert _ask(port, "/healthz")[0] == 200


def test_a_ledger_that_is_down_is_503_without_its_password(here: Watched) -> None:
    gone = SqlLedger(f"postgresql://a:hunter2@127.0.0.1:{free_port()}/gone")
    with _served(gone) as port:
        code, answer = _ask(port, "/healthz/freshness")
    gone.close()
    assert (code, answer["status"]) == (503, "unknown")
    assert "can not be reached" in answer["error"]
    assert "hunter2" not in str(answer)


def test_the_watchman_tells_what_is_overdue_once_and_survives_what_goes_wrong(here: Watched) -> None:
    _overdue(here)
    settings = Settings()
    good = here.file.read_text()
    here.file.write_text("catalog: shop")
    with Watchman(settings, ports_over(here.ledger, settings), every_s=0.05):
        here.file.write_text(good)
        until(lambda: bool(here.webhook.bodies), 20)
        until(lambda: here.ledger.dues.since("shop", here.due + DAY) != [], 20)
    assert here.alerts() == ["[backup shop] FAILED: Backup overdue: shop"]


def test_serve_answers_watches_and_ends_with_ctrl_c(here: Watched, tmp_path: Path) -> None:
    _overdue(here)
    here.watched_since(here.due - 2 * DAY - timedelta(hours=1))
    port = free_port()
    with (tmp_path / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            python(SERVE, "serve", "--port", str(port)), env=dict(os.environ), stdout=said, stderr=said
        )
    try:
        until(lambda: _ask(port, "/healthz")[0] == 200 or process.poll() is not None, 60)
        assert process.poll() is None, (tmp_path / "said.txt").read_text()
        code, answer = _ask(port, "/healthz/freshness")
        assert (code, answer["status"]) == (503, "overdue")
        until(lambda: len(here.webhook.bodies) == 1, 30)
        assert here.statuses().count(Status.MISSED) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def _ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())
    except (URLError, OSError):
        return 0, {}


def test_a_port_that_is_taken_is_said_at_once(
    here: Watched, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from backup_pipeline.cli import main

    assert main(["serve", "--port", str(here.webhook.port)]) == 2
    assert "choose another with --port" in capfd.readouterr().err
