"""`alerts`: what did not reach people is listed and tried again, and channels can be tested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.alerts.servers import Webhook, free_port, http_server
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.doubles.ports import now

ALERT = Alert(Severity.FAILURE, "Backup failed: books", "It broke.", "Mend it.", Scope("books"))


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A channel of the installation."""
    with http_server(answer=500) as server:
        monkeypatch.setenv("BACKUP_ALERT_URLS", f"json://127.0.0.1:{server.port}/hook/t0ken")
        yield server


@pytest.fixture
def undelivered(installation: Installation, webhook: Webhook) -> int:
    """The number of an alert that the webhook did not take an hour ago."""
    then = now() - timedelta(hours=1)
    with closing(SqlLedger(installation.environment["BACKUP_LEDGER_URL"])) as ledger:
        [entry] = ledger.outbox.add(ALERT, [f"json://127.0.0.1:{webhook.port}"], then)
        ledger.outbox.settle(entry.id, "HTTP 500", then)
    return entry.id


def test_what_did_not_reach_people_is_listed_with_its_error(run: Run, undelivered: int, webhook: Webhook) -> None:
    ended = run("alerts")
    assert ended.code == 0
    [line] = [line for line in ended.out.splitlines() if "Backup failed: books" in line]
    assert line.split()[0] == str(undelivered)
    assert f"json://127.0.0.1:{webhook.port}" in line
    assert "HTTP 500" in line
    assert "t0ken" not in ended.out
    [told] = [entry for entry in json.loads(run("alerts", "list", "--json").out) if entry["id"] == undelivered]
    assert told["alert"]["title"] == "Backup failed: books"


def test_the_list_of_backups_says_in_one_line_that_people_were_not_reached(run: Run, undelivered: int) -> None:
    [line] = [line for line in run("list").err.splitlines() if "did not reach people" in line]
    assert "`backup-pipeline alerts`" in line


def test_retry_delivers_what_it_can_and_says_what_is_left(run: Run, undelivered: int, webhook: Webhook) -> None:
    assert run("alerts", "retry").code == 1
    webhook.answer = 200
    ended = run("alerts", "retry")
    assert ended.code == 3  # the failed attempt of the installation had a channel that is not set now
    assert "not configured any more" in ended.out
    [body] = [body for body in webhook.bodies if "attempt 3" in str(body)]
    assert "It broke." in str(body)
    assert undelivered not in [entry["id"] for entry in json.loads(run("alerts", "list", "--json").out)]
    assert undelivered in [entry["id"] for entry in json.loads(run("alerts", "list", "--all", "--json").out)]


def test_a_test_message_tells_how_each_channel_took_it(
    run: Run, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.answer = 200
    ended = run("alerts", "test")
    assert (ended.code, ended.out) == (0, f"json://127.0.0.1:{webhook.port}: delivered\n")
    assert "This is a test." in str(webhook.bodies)
    dead = f"json://127.0.0.1:{free_port()}/t0ken"
    monkeypatch.setenv("BACKUP_ALERT_URLS", f"json://127.0.0.1:{webhook.port} {dead}")
    ended = run("alerts", "test")
    assert ended.code == 3
    assert "NOT delivered" in ended.out
    assert "t0ken" not in ended.out + ended.err
    monkeypatch.setenv("BACKUP_ALERT_URLS", dead)
    assert run("alerts", "test").code == 1


def test_without_a_channel_there_is_nothing_to_test(run: Run) -> None:
    ended = run("alerts", "test")
    assert ended.code == 2
    assert "BACKUP_ALERT_URLS is not set" in ended.err
