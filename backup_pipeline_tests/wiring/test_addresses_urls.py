"""Tests of the check of URLs: a wrong one is named by its variable, without its password, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import check_urls
from backup_pipeline.wiring.embedded import ledger_ready, prepared, source_ready

GOOD = {
    "BACKUP_SOURCE_URL": ["postgresql://app:hush@db:5432/isp", "postgres://db/isp", "postgresql:///isp"],
    "BACKUP_SOURCE_URL_ISP": ["postgresql://app:hush@db/isp?sslmode=require"],
    "BACKUP_LEDGER_URL": ["postgresql://app:hush@db/ledger", "postgresql+psycopg://app:hush@db:5432/ledger"],
    "DAGSTER_PG_URL": ["postgresql://app:hush@db/dagster", "postgresql+psycopg2://app:hush@db/dagster"],
    "BACKUP_STORE": ["file:///srv/backups", "s3://bucket", "s3://bucket/a/b", "memory://"],
    "BACKUP_SECOND_STORE": ["file:///srv/second", "s3://elsewhere/backups"],
    "BACKUP_SECOND_S3_ENDPOINT_URL": ["https://s3.example.com"],
    "BACKUP_S3_ENDPOINT_URL": ["https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9000/"],
}
POSTGRES = "postgresql://user:password@host:5432/database"
BAD = [
    ("BACKUP_SOURCE_URL", "mysql://app:hush@db/isp", "is not a PostgreSQL URL: it starts with 'mysql'.", POSTGRES),
    ("BACKUP_SOURCE_URL", "app:hush@db/isp", "is not a PostgreSQL URL: it has no scheme.", POSTGRES),
    ("BACKUP_SOURCE_URL", "app:hush@db://isp", "is not a PostgreSQL URL: it has no scheme.", POSTGRES),
    ("BACKUP_SOURCE_URL", "postgresql://app:hush@db:port/isp", "is malformed: its port is not a number", POSTGRES),
    ("BACKUP_SOURCE_URL", "postgresql://app:hush@[db/isp", "is malformed: ", POSTGRES),
    ("BACKUP_SOURCE_URL_ISP", "http://app:hush@db/isp", "is not a PostgreSQL URL: it starts with 'http'.", POSTGRES),
    ("BACKUP_LEDGER_URL", "sqlite:///hush.db", "is not a PostgreSQL URL: it starts with 'sqlite'.", POSTGRES),
    ("BACKUP_LEDGER_URL", "app:hush@db/ledger", "is malformed.", POSTGRES),
    ("BACKUP_LEDGER_URL", "postgresql://app:hush@db:port/x", "is malformed: its port is not a number.", POSTGRES),
    ("BACKUP_LEDGER_URL", "postgresql://app:hush@db", "names no database: postgresql://app:***@db", POSTGRES),
    ("DAGSTER_PG_URL", "sqlite://app:hush@db/dagster", "is not a PostgreSQL URL: it starts with 'sqlite'.", POSTGRES),
    ("DAGSTER_PG_URL", "postgresql+psycopg2://a:hush@db:port/d", "is malformed: its port is not a number.", POSTGRES),
    ("BACKUP_STORE", "ftp://somewhere/x", "is not the URL of a store: it starts with 'ftp'.", "s3://bucket/prefix"),
    ("BACKUP_STORE", "/srv/backups", "is not the URL of a store: it has no scheme.", "file:///absolute/path"),
    ("BACKUP_STORE", "file://srv/backups", "names no absolute path below /.", "file:///absolute/path"),
    ("BACKUP_STORE", "file:///", "names no absolute path below /.", "file:///absolute/path"),
    ("BACKUP_STORE", "s3:///prefix", "names no bucket.", "s3://bucket/prefix"),
    ("BACKUP_STORE", "s3://key:hush@bucket/a", "has a user, a query or a fragment.", "s3://bucket/prefix"),
    ("BACKUP_SECOND_STORE", "/srv/second", "is not the URL of a store: it has no scheme.", "file:///absolute/path"),
    ("BACKUP_SECOND_STORE", "s3://key:hush@bucket", "has a user, a query or a fragment.", "s3://bucket/prefix"),
    ("BACKUP_SECOND_S3_ENDPOINT_URL", "s3.example.com", "it has no scheme.", "https://s3.example.com"),
    ("BACKUP_S3_ENDPOINT_URL", "s3.example.com", "it has no scheme.", "https://s3.example.com"),
    ("BACKUP_S3_ENDPOINT_URL", "s3://bucket", "it starts with 's3'.", "https://s3.example.com"),
    ("BACKUP_S3_ENDPOINT_URL", "http://:9000", "names no host.", "http://127.0.0.1:9000"),
    ("BACKUP_S3_ENDPOINT_URL", "http://127.0.0.1:port", "its port is not a number", "http://127.0.0.1:9000"),
    ("BACKUP_S3_ENDPOINT_URL", "http://127.0.0.1:99999", "its port is not a number up to 65535.", "9000"),
    ("BACKUP_S3_ENDPOINT_URL", "http://[::1:9000", "is malformed.", "http://127.0.0.1:9000"),
    ("BACKUP_S3_ENDPOINT_URL", "https://key:hush@s3.example.com", "has a user, a query or a fragment.", "https://"),
]


pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.mark.parametrize(("variable", "url"), [(name, url) for name, urls in GOOD.items() for url in urls])
def test_a_url_that_can_be_meant_is_taken(monkeypatch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    monkeypatch.setenv(variable, url)
    check_urls(Settings())


@pytest.mark.parametrize(("variable", "url", "said", "form"), BAD)
def test_a_wrong_url_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, said: str, form: str
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingsError) as refused:
        check_urls(Settings())
    assert refused.value.what.startswith(f"{variable} ")
    assert said in refused.value.what
    assert form in refused.value.do
    assert refused.value.exit_code == 2
    assert "hush" not in str(refused.value)


def test_nothing_set_is_nothing_wrong() -> None:
    check_urls(Settings())


@pytest.mark.parametrize("variable", ["BACKUP_SOURCE_URL", "BACKUP_LEDGER_URL", "BACKUP_STORE"])
def test_every_door_asks_before_it_starts_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "ftp://app:hush@db/x")
    settings = Settings()
    for door in (prepared(settings, pytest.fail), ledger_ready(settings), source_ready(settings, "isp")):
        with pytest.raises(SettingsError, match=f"^{variable} "), door:
            pytest.fail("it opened")
    assert not (tmp_path / "home").exists()
