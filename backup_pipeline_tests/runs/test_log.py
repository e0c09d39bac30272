"""The log of a run as Dagster's web server gives it: without secrets, and no longer than people read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from backup_pipeline.core.errors import DagsterAwayError, RefusedError
from backup_pipeline.core.runs import RunLine
from backup_pipeline.runs import DagsterAddress, GraphQLLauncher
from backup_pipeline.settings import given_settings
from backup_pipeline.wiring.ports import dagster_launcher

EVENTS: list[dict[str, Any]] = [
    {"message": "Started.", "timestamp": "1790000000500", "level": "DEBUG", "stepKey": None},
    {
        "message": "x",
        "timestamp": "1790000001000",
        "level": "ERROR",
        "stepKey": "t",
        "error": {"message": "No disk.\n"},
    },
    {},
]


def _answering(launcher: Any, answer: dict[str, Any], asked: list[dict[str, Any]] | None = None) -> GraphQLLauncher:
    def respond(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(json.loads(request.content)["variables"])
        return httpx.Response(200, json={"data": {"logsForRun": answer}})

    launcher._client = httpx.Client(transport=httpx.MockTransport(respond))  # no server listens
    assert isinstance(launcher, GraphQLLauncher)
    return launcher


def _connection(events: list[dict[str, Any]], *, more: bool = False) -> dict[str, Any]:
    return {"__typename": "EventConnection", "cursor": "c2", "hasMore": more, "events": events}


def test_lines_come_with_their_time_level_step_and_error_and_go_on_after_a_cursor() -> None:
    asked: list[dict[str, Any]] = []
    launcher = _answering(GraphQLLauncher(DagsterAddress("http://d", "x")), _connection(EVENTS, more=True), asked)
    answer = launcher.log("r1", "c1")
    assert answer is not None
    assert (answer.cursor, answer.more) == ("c2", True)
    assert answer.lines == (
        RunLine(datetime.fromtimestamp(1790000000.5, UTC), "debug", "", "Started."),
        RunLine(datetime.fromtimestamp(1790000001, UTC), "error", "t", "x\nNo disk."),
    )
    assert (asked[0]["run"], asked[0]["after"]) == ("r1", "c1")


def test_what_is_secret_or_endless_is_not_in_it() -> None:
    settings = given_settings(
        source_url=SecretStr("postgresql://app:hunter2secret@db/isp"),
        metrics_token=SecretStr("abcdef-token"),
        alert_urls=(SecretStr("tgram://123456:AAbot/-100"),),
    )
    texts = [
        "login of app with hunter2secret",
        "tgram://123456:AAbot/-100",
        "it is abcdef-token",
        "password=x1",
        "y" * 9_000,
    ]
    events = [{"message": text, "timestamp": "0", "level": "INFO", "stepKey": None} for text in texts]
    answer = _answering(dagster_launcher(settings), _connection(events)).log("r1")
    assert answer is not None
    shown = [line.text for line in answer.lines]
    assert shown[0] == "login of app with ***"
    assert not any(secret in text for text in shown for secret in ("AAbot", "abcdef", "x1"))
    assert len(shown[-1]) < 2_100


def test_a_run_that_is_not_known_has_none_and_a_refusal_is_one() -> None:
    launcher = GraphQLLauncher(DagsterAddress("http://d", "x"))
    assert _answering(launcher, {"__typename": "RunNotFoundError", "message": "no"}).log("r1") is None
    with pytest.raises(RefusedError, match="broken"):
        _answering(launcher, {"__typename": "PythonError", "message": "broken"}).log("r1")
    with pytest.raises(DagsterAwayError):
        _answering(launcher, {}).log("r1")
