"""`key api` and `webhooks`: what programs have is made, listed, changed and ended without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.alerts.servers import http_server
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this file's own: its keys and its audit are counted."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.mark.acceptance("3.22", "3.30")
def test_a_key_is_made_listed_limited_and_revoked(run: Run, installation: Installation) -> None:
    permissions = ("--permission", "analytics", "--permission", "backup_status")
    made = run("key", "api", "create", "System Integration", *permissions)
    assert (made.code, made.out[:3], len(made.out.strip())) == (0, "sk_", 35)
    assert run("key", "api", "create", "system integration", *permissions).code == 2
    assert run("key", "api", "create", "other", "--permission", "everything").code == 2
    [key] = json.loads(run("key", "api", "list", "--json").out)
    assert (key["business"], key["permissions"], key["limit"]) == (None, ["analytics", "backup_status"], 1_000)
    assert key["shown"] == made.out[:8]
    assert run("key", "api", "limit", "System Integration", "5000").code == 0
    assert "0 of 5,000" in run("key", "api", "list").out
    assert run("key", "api", "revoke", key["shown"]).code == 0
    assert run("key", "api", "revoke", key["shown"]).code == 10
    assert "revoked" in run("key", "api", "list").out
    with psycopg.connect(installation.environment["BACKUP_LEDGER_URL"]) as session:
        tables = session.execute("SELECT to_regclass('api_keys'), to_regclass('api_usage_logs')").fetchall()
        kept = session.execute("SELECT count(*) FROM api_keys WHERE api_keys::text LIKE %s", [f"%{made.out[8:20]}%"])
        assert (None not in tables[0], kept.fetchone()) == (True, (0,))
    actions = [row["action"] for row in json.loads(run("audit", "list", "--json").out)]
    assert actions[:3] == ["api_key_revoked", "api_key_limited", "api_key_made"]


def test_webhooks_are_made_tried_switched_and_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_WEBHOOK_PRIVATE", "true")
    with http_server() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        added = run("webhooks", "add", "Dashboard", url, "--kind", "backup", "--kind", "alert")
        assert (added.code, added.out.startswith("whsec_")) == (0, True)
        assert run("webhooks", "add", "dashboard", url).code == 2
        assert run("webhooks", "add", "other", url, "--kind", "weather").code == 2
        [hook] = json.loads(run("webhooks", "list", "--json").out)
        assert (hook["kinds"], hook["url"], "secret" in hook) == (["backup", "alert"], url, False)
        assert run("webhooks", "test", "dashboard").code == 0
        [(headers, body)] = receiver.received
        assert (json.loads(body)["type"], headers["webhook-signature"][:3]) == ("test", "v1,")
        receiver.answer = 500
        refused = run("webhooks", "test", "dashboard")
        assert (refused.code, "The receiver answered 500." in refused.err) == (1, True)
    assert "Nothing was sent yet" in run("webhooks", "show", "dashboard").out
    assert run("webhooks", "again", "dashboard", "1").code == 10
    assert run("webhooks", "off", "dashboard").code == 0
    assert run("webhooks", "off", "dashboard").code == 10
    assert "off" in run("webhooks", "list").out
    assert run("webhooks", "on", "dashboard").code == 0
    assert run("webhooks", "remove", "dashboard").code == 0
    assert run("webhooks", "remove", "dashboard").code == 10
    assert json.loads(run("webhooks", "list", "--json").out) == []
    actions = [row["action"] for row in json.loads(run("audit", "list", "--json", "--limit", "6").out)]
    assert actions == [
        "webhook_removed",
        "webhook_on",
        "webhook_off",
        "webhook_tested",
        "webhook_tested",
        "webhook_made",
    ]
