"""Which source, ledger and store an installation uses: what the settings say, else the embedded default."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.layout import RESTORES
from backup_pipeline.demo.connection import Connection, read_role_password, running
from backup_pipeline.demo.isp import BACKUP_ROLE
from backup_pipeline.settings import Settings

LEDGER_DATABASE = "backup_ledger"
DAGSTER_DATABASE = "dagster"
DEMO_DATABASE = "isp"
DEMO_CATALOGS = ("isp", "isp_customers")
"""The built-in catalogs that describe the demo database."""


def postgres_home(settings: Settings) -> Path:
    """Where the embedded PostgreSQL keeps its data."""
    return settings.home / "postgres"


def source_url(settings: Settings, catalog: str) -> str:
    """The URL of the database that `catalog` describes; SettingsError, with what to do, when none is known."""
    if url := settings.source_url_of(catalog):
        return url.get_secret_value()
    if catalog not in DEMO_CATALOGS:
        message = f"The source of catalog {catalog} is not set."
        raise SettingsError(message, do=f"Set BACKUP_SOURCE_URL (or BACKUP_SOURCE_URL_{catalog.upper()}).")
    return demo_url(_embedded(settings, "BACKUP_SOURCE_URL"), postgres_home(settings))


def demo_url(connection: Connection, home: Path) -> str:
    """The demo database as its backup role sees it: it may read what the catalogs list, and nothing else.

    A demo that an earlier version made shares the superuser's password until the server is started to work with it.
    """
    return connection.url(DEMO_DATABASE, BACKUP_ROLE, password=read_role_password(home, BACKUP_ROLE))


def owner_url(settings: Settings, catalog: str) -> str:
    """The URL by which the database of `catalog` is written to: its source's.

    The demo database is written to by the embedded server's own superuser, because its backup role may only read.
    """
    url = source_url(settings, catalog)
    home = postgres_home(settings)
    connection = running(home) if catalog in DEMO_CATALOGS else None
    return connection.url(DEMO_DATABASE) if connection and url == demo_url(connection, home) else url


def ledger_url(settings: Settings) -> str:
    """The URL of the ledger's database; SettingsError, with what to do, when none is known."""
    if settings.ledger_url:
        return settings.ledger_url.get_secret_value()
    return _embedded(settings, "BACKUP_LEDGER_URL").url(LEDGER_DATABASE)


def store_url(settings: Settings) -> str:
    """The URL of the store: a directory under BACKUP_HOME unless one is set."""
    return settings.store or (settings.home.resolve() / "store").as_uri()


def work_dir(settings: Settings) -> Path:
    """Where files are made before they go to the store."""
    return settings.work_dir or settings.home / "work"


def restore_dir(settings: Settings) -> Path:
    """Where restores keep what they have fetched, apart from the files of backups."""
    return work_dir(settings) / RESTORES


def uses_embedded(settings: Settings) -> bool:
    """Whether anything is left to the embedded PostgreSQL."""
    return settings.ledger_url is None or (settings.source_url is None and not settings.source_urls)


def _embedded(settings: Settings, name: str) -> Connection:
    connection = running(postgres_home(settings))
    if connection is None:
        message = f"{name} is not set, and the embedded PostgreSQL of {settings.home} is not running."
        raise SettingsError(message, do=f"Set {name}, or start the embedded one with `make up`.")
    return connection
