"""`key api`: keys of programs are made, listed, limited and revoked without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres
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
