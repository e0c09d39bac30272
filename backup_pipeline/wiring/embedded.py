"""The embedded default: PostgreSQL from a wheel, the demo database, the ledger and Dagster's storage in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import SecretStr

from backup_pipeline.core.errors import BackupError, NotFoundError
from backup_pipeline.demo import ISP, DemoSystem, create_system, let_backup_role_in, system_exists
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded.cluster import Home, make_role_password, read_role_password, remove_role_password
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.settings import Settings, set_environment
from backup_pipeline.wiring.addresses import (
    DAGSTER_DATABASE,
    LEDGER_DATABASE,
    check_urls,
    demo_of,
    demo_url,
    ledger_url,
    made_demos,
    postgres_home,
    uses_embedded,
)
from backup_pipeline.wiring.folders import close_folders, make_folder
from backup_pipeline.wiring.installation import FILES
from backup_pipeline.wiring.stores import check_encryption


@contextmanager
def empty_or_there(settings: Settings) -> Iterator[Settings]:
    """Settings whose ledger is there, with its tables, empty where it was lost; the embedded server for a moment.

    LedgerError when the database is missing and may not be created. SettingsError for what can be seen to be wrong.
    """
    check_urls(settings)
    check_encryption(settings)
    if settings.ledger_url is not None:
        SqlLedger.create(settings.ledger_url.get_secret_value()).close()
        yield settings
        return
    with EmbeddedPostgres(postgres_home(settings)) as server:
        server.ensure_database(LEDGER_DATABASE)
        SqlLedger.create(server.url(LEDGER_DATABASE)).close()
        yield settings.model_copy(update={"ledger_url": SecretStr(server.url(LEDGER_DATABASE))})


def check_settings(settings: Settings) -> None:
    """SettingsError for what can be seen to be wrong before anything is made or started."""
    check_urls(settings)
    check_encryption(settings)


@contextmanager
def prepared(settings: Settings, tell: Callable[[str], None]) -> Iterator[Settings]:
    """What a run needs, ready: the embedded PostgreSQL where nothing else is set, the ledger's tables, DAGSTER_HOME.

    Child processes find everything through the environment. Yields the settings as they then are; what was started
    here is stopped at the end. SettingsError, before anything is started, for what can be seen to be wrong.
    """
    check_settings(settings)
    close_folders(settings)
    dagster_home = _dagster_home(settings)
    if not uses_embedded(settings):
        set_environment(dagster_home)
        SqlLedger.create(ledger_url(settings)).close()
        yield settings
        return
    tell("Starting the embedded PostgreSQL.")
    with EmbeddedPostgres(postgres_home(settings)) as server:
        for database in (LEDGER_DATABASE, DAGSTER_DATABASE):
            server.ensure_database(database)
        if settings.source_url is None and not settings.source_urls:
            create_demo(server, postgres_home(settings), tell, scale=1.0)
        ready = _with_server(settings, server)
        set_environment({**_environment(ready), **dagster_home})
        SqlLedger.create(ledger_url(ready)).close()
        yield ready


@contextmanager
def ledger_ready(settings: Settings) -> Iterator[Settings]:
    """What looking into the ledger needs: the embedded PostgreSQL for a moment, where no ledger is set.

    Attaches to the server that runs, else starts it and stops it at the end; creates no demo. Yields settings that say
    where the ledger is. NotFoundError when there never was an embedded server, so that there is nothing to look into;
    SettingsError for a URL or a key that can be seen to be wrong.
    """
    check_urls(settings)
    check_encryption(settings)
    close_folders(settings)
    if settings.ledger_url is not None:
        yield settings
        return
    with _existing(settings) as server:
        server.ensure_database(LEDGER_DATABASE)
        SqlLedger.create(server.url(LEDGER_DATABASE)).close()
        yield settings.model_copy(update={"ledger_url": SecretStr(server.url(LEDGER_DATABASE))})


@contextmanager
def ledger_as_it_is(settings: Settings) -> Iterator[str]:
    """The ledger's URL, at whatever revision it is; the embedded PostgreSQL for a moment, where no ledger is set."""
    check_urls(settings)
    if settings.ledger_url is not None:
        yield ledger_url(settings)
        return
    with _existing(settings) as server:
        yield server.url(LEDGER_DATABASE)


@contextmanager
def source_ready(settings: Settings, catalog: str) -> Iterator[None]:
    """The embedded PostgreSQL for a moment, where `catalog` is the demo's and no other source is set for it.

    SettingsError for a URL that can be seen to be wrong.
    """
    check_urls(settings)
    if settings.source_url_of(catalog) is not None or demo_of(catalog) is None:
        yield
        return
    with _existing(settings):
        yield


@contextmanager
def dagster_ready(settings: Settings) -> Iterator[None]:
    """What looking into Dagster's own storage needs: DAGSTER_HOME, and the embedded PostgreSQL where that holds it.

    NotFoundError when there never was an embedded server; SettingsError for a URL that can be seen to be wrong.
    """
    check_settings(settings)
    dagster_home = _dagster_home(settings)
    if settings.dagster_pg_url is not None or not uses_embedded(settings):
        set_environment(dagster_home)
        yield
        return
    with _existing(settings) as server:
        server.ensure_database(DAGSTER_DATABASE)
        set_environment({**_environment(_with_server(settings, server)), **dagster_home})
        yield


@contextmanager
def _existing(settings: Settings) -> Iterator[EmbeddedPostgres]:
    home = postgres_home(settings)
    if not Home(home.resolve()).cluster.is_dir():
        message = f"There are no backups yet: the embedded PostgreSQL of {settings.home} was never set up."
        raise NotFoundError(message, do="Run `backup-pipeline backup`, or set BACKUP_LEDGER_URL and BACKUP_SOURCE_URL.")
    with EmbeddedPostgres(home) as server:
        yield server


def demo_database(
    settings: Settings,
    tell: Callable[[str], None],
    system: DemoSystem = ISP,
    *,
    scale: float,
    businesses: int | None = None,
    again: bool,
) -> bool:
    """Create a demo database in the embedded server, dropping the one that is there when `again`; whether it did."""
    make_folder(settings.home.resolve())
    with EmbeddedPostgres(postgres_home(settings)) as server:
        if again:
            _drop(server, system.name)
        return create_demo(server, postgres_home(settings), tell, system, scale=scale, businesses=businesses)


def create_demo(
    server: EmbeddedPostgres,
    home: Path,
    tell: Callable[[str], None],
    system: DemoSystem = ISP,
    *,
    scale: float,
    businesses: int | None = None,
) -> bool:
    """Create a demo database in `server`, whose home is `home`; False when it is there already.

    Its backup role gets a password of its own, made at random, that never leaves this machine: whoever learns it may
    read what the catalogs list, and nothing else. That file says, too, that the demo was made.
    """
    server.ensure_database(system.name)
    url = server.url(system.name)
    password = read_role_password(home, system.role)
    if system_exists(url, system):
        if password is None:
            let_backup_role_in(url, make_role_password(home, system.role), system)
        return False
    tell(f"Creating the {system.title} demo database at scale {scale:g} (only the first time).")
    try:
        own = password or make_role_password(home, system.role)
        create_system(url, system, scale=scale, businesses=businesses, backup_password=own)
    except BackupError:
        remove_role_password(home, system.role)
        raise
    return True


def _drop(server: EmbeddedPostgres, database: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _with_server(settings: Settings, server: EmbeddedPostgres) -> Settings:
    """The settings, with databases of `server` for those that are not set."""
    known: dict[str, object] = {"home": settings.home.resolve()}
    if settings.dagster_pg_url is None:
        known["dagster_pg_url"] = SecretStr(server.url(DAGSTER_DATABASE))
    if settings.ledger_url is None:
        known["ledger_url"] = SecretStr(server.url(LEDGER_DATABASE))
    if settings.source_url is None and not settings.source_urls:
        home = postgres_home(settings)
        known["source_urls"] = {
            catalog: SecretStr(demo_url(server.connection, home, system))
            for system in made_demos(settings)
            for catalog in system.catalogs
        }
    return settings.model_copy(update=known)


def _environment(settings: Settings) -> Mapping[str, str]:
    """The variables by which child processes, and Dagster in this one, find the databases of `settings`."""
    urls: dict[str, SecretStr | None] = {
        f"BACKUP_SOURCE_URL_{name.upper()}": url for name, url in settings.source_urls.items()
    }
    urls |= {"DAGSTER_PG_URL": settings.dagster_pg_url, "BACKUP_LEDGER_URL": settings.ledger_url}
    known = {name: url.get_secret_value() for name, url in urls.items() if url is not None}
    return {"BACKUP_HOME": str(settings.home), **known}


def _dagster_home(settings: Settings) -> Mapping[str, str]:
    """DAGSTER_HOME as it is set, else a folder of ours with the package's `dagster.yaml` in it.

    On Dagster's own defaults no dead run would be noticed. SettingsError for what can be seen to be wrong.
    """
    if settings.dagster_home:
        return {}
    check_settings(settings)
    make_folder(settings.home.resolve())
    home = (settings.home / "dagster").resolve()
    home.mkdir(mode=0o700, exist_ok=True)
    _copy_newer(FILES / "dagster.yaml", home / "dagster.yaml")
    return {"DAGSTER_HOME": str(home)}


def _copy_newer(source: Path, target: Path) -> None:
    if not target.is_file() or source.read_bytes() != target.read_bytes():
        shutil.copyfile(source, target)
