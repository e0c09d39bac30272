"""The fixture `installation`, made quickly: databases and Dagster's files are copies of ones made once a session."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from backup_pipeline.demo.embedded import EmbeddedPostgres
from backup_pipeline.ledger.sql import SqlLedger
from backup_pipeline.settings import PROJECT
from backup_pipeline_tests.alerts.servers import http_server
from backup_pipeline_tests.orchestration.installation import SHOP_SQL, SHOP_YAML, Installation
from backup_pipeline_tests.servers.swift_fixtures import s3_bucket, s3_proxy, s3_server

__all__ = ["s3_bucket", "s3_proxy", "s3_server"]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests reaches them."""
    import os

    for name in list(os.environ):
        if name.startswith(("BACKUP_", "DAGSTER_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shop_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database that holds the shop."""
    postgres_server.ensure_database("shop_template")
    with psycopg.connect(postgres_server.url("shop_template"), autocommit=True) as session:
        session.execute(SHOP_SQL.encode())
        session.execute("VACUUM ANALYZE")
    return "shop_template"


@pytest.fixture(scope="session")
def ledger_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database that holds an empty ledger."""
    SqlLedger.create(postgres_server.url("ledger_template")).close()
    return "ledger_template"


@pytest.fixture(scope="session")
def dagster_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME with the project's dagster.yaml, and SQLite storage that is set up."""
    home = tmp_path_factory.mktemp("dagster_template")
    shutil.copy(PROJECT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        environment.delenv("DAGSTER_PG_URL", raising=False)
        with dg.DagsterInstance.get() as instance:
            instance.get_runs(limit=1)
    return home


@pytest.fixture
def installation(
    postgres_server: EmbeddedPostgres,
    shop_template: str,
    ledger_template: str,
    dagster_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An installation of this test's own, in the environment of this process."""
    home = tmp_path / "home"
    (home / "catalogs").mkdir(parents=True)
    (home / "catalogs" / "shop.yaml").write_text(SHOP_YAML)
    shutil.copytree(dagster_template, home / "dagster")
    with (
        _copied(postgres_server, shop_template) as source,
        _copied(postgres_server, ledger_template) as ledger,
        http_server() as webhook,
    ):
        made = Installation(home, home / "catalogs" / "shop.yaml", source, ledger, webhook, monkeypatch)
        made.set(
            BACKUP_HOME=str(home),
            BACKUP_CATALOGS=str(home / "catalogs"),
            BACKUP_SOURCE_URL=source,
            BACKUP_LEDGER_URL=ledger,
            BACKUP_STORE=(home / "store").as_uri(),
            BACKUP_ALERT_URLS=f"json://127.0.0.1:{webhook.port}/hook",
            BACKUP_CONNECT_TIMEOUT_S="3",
            BACKUP_ALERT_TIMEOUT_S="5",
            DAGSTER_HOME=str(home / "dagster"),
        )
        yield made


@contextmanager
def _copied(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The superuser's URL of a copy of the database `template`."""
    name = sql.Identifier(f"{template}_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template)))
        try:
            yield server.url(name.as_string().strip('"'))
        finally:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
