"""`/metrics`: read by Prometheus' own parser, and only by those who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.settings import Settings
from backup_pipeline.web.health import metrics_router
from backup_pipeline_tests.core.entries import good
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.servers.ledgers import new_ledger

TOKEN = {"Authorization": "Bearer open sesame"}


def ask(
    home: Path,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    ledger: Ledger | None = None,
) -> tuple[int, str]:
    """Status and text of /metrics over a ledger with two backups, asked from `host`."""
    own = new_ledger()
    own.put(good(0, {"orders": 5}), good(1, {"orders": 7}))
    app = FastAPI()
    app.include_router(metrics_router(Settings(home=home, metrics_token=token), ledger or own))
    found = asyncio.run(_get(app, host, headers))
    assert found.headers["content-type"].startswith("text/plain")
    return found.status_code, found.text


async def _get(app: FastAPI, host: str, headers: Mapping[str, str] | None) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(host, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        return await client.get("/metrics", headers=headers)


def test_the_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    status, text = ask(tmp_path)
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["backup_rows"].samples[0].value == 7
    runs = [sample for sample in families["backup_runs"].samples if sample.labels["catalog"] == "isp"]
    assert {sample.labels["status"]: sample.value for sample in runs}["success"] == 2
    assert all(f"# HELP {name}" in text or f"# HELP {name}_total" in text for name in families)


@pytest.mark.parametrize(
    ("token", "host", "headers", "status"),
    [
        (None, "127.0.0.1", {}, 200),
        (None, "::1", {}, 200),
        (None, "10.0.0.7", {}, 403),
        (None, "10.0.0.7", TOKEN, 403),
        ("open sesame", "10.0.0.7", TOKEN, 200),
        ("open sesame", "10.0.0.7", {"Authorization": "Bearer wrong"}, 403),
        ("open sesame", "127.0.0.1", {}, 403),
    ],
)
def test_only_those_who_may_are_told(
    tmp_path: Path, token: str | None, host: str, headers: Mapping[str, str], status: int
) -> None:
    found, text = ask(tmp_path, token=token, host=host, headers=headers)
    assert found == status
    assert ("orders" in text) == (status == 200)


def test_a_ledger_that_is_away_is_said_and_not_taken_for_zero(tmp_path: Path) -> None:
    away = raising(LedgerUnavailableError("the ledger postgresql://me:hush@db/x is away"))
    status, text = ask(tmp_path, ledger=faulty(new_ledger(), list=away))
    assert status == 503
    assert "is away" in text
    assert "hush" not in text
