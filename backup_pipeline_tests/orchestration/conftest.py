"""The fixture `installation`, made quickly: databases and Dagster's files are copies of ones made once a session."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.defs_state.base import set_defs_state_storage

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.settings import PROJECT
from backup_pipeline_tests.alerts.servers import http_server
from backup_pipeline_tests.environment import bare_environment
from backup_pipeline_tests.orchestration.installation import SHOP_SQL, SHOP_YAML, Installation
from backup_pipeline_tests.servers.postgres import temporary_database

MEMORY = Path("/dev/shm")
Install = Callable[[], AbstractContextManager[Installation]]


@pytest.fixture(autouse=True)
def no_dead_instance() -> Iterator[None]:
    """Dagster remembers where the newest instance keeps its state: one closed before an older one leaves a dead one."""
    with set_defs_state_storage(None):
        yield


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Dagster opens a SQLite file a run, and reads the sixty files of its migrations for each."""
    known: dict[str, ScriptDirectory] = {}

    def read_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location") or ""
        if location not in known:
            known[location] = from_config(config)
        return known[location] if location.startswith("dagster:") else from_config(config)

    from_config = ScriptDirectory.from_config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture(scope="session")
def shop_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database that holds the shop."""
    name = f"shop_{uuid.uuid4().hex[:8]}"  # the tests of whole processes have this fixture too, in the same server
    postgres_server.ensure_database(name)
    with psycopg.connect(postgres_server.url(name), autocommit=True) as session:
        session.execute(SHOP_SQL.encode())
        session.execute("VACUUM ANALYZE")
    return name


@pytest.fixture(scope="session")
def dagster_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME with the project's dagster.yaml, and SQLite storage that is set up."""
    home = tmp_path_factory.mktemp("dagster_template")
    shutil.copy(PROJECT / "dagster.yaml", home)
    with bare_environment() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as instance:
            instance.get_runs(limit=1)
    return home


@pytest.fixture(scope="session")
def install(
    postgres_server: EmbeddedPostgres, shop_template: str, ledger_template: str, dagster_template: Path
) -> Install:
    """Makes an installation, for as long as a `with` lasts."""

    @contextmanager
    def made() -> Iterator[Installation]:
        with (
            _folder() as home,
            temporary_database(postgres_server, template=shop_template) as source,
            temporary_database(postgres_server, template=ledger_template) as ledger,
            http_server() as webhook,
            bare_environment() as environment,
        ):
            catalogs = home / "catalogs"
            catalogs.mkdir()
            (catalogs / "shop.yaml").write_text(SHOP_YAML)
            shutil.copytree(dagster_template, home / "dagster")
            installation = Installation(home, catalogs / "shop.yaml", source, ledger, webhook, environment)
            installation.configure(
                BACKUP_HOME=str(home),
                BACKUP_CATALOGS=str(catalogs),
                BACKUP_SOURCE_URL=source,
                BACKUP_LEDGER_URL=ledger,
                BACKUP_STORE=(home / "store").as_uri(),
                BACKUP_ALERT_URLS=f"json://127.0.0.1:{webhook.port}/hook",
                BACKUP_CONNECT_TIMEOUT_S="3",
                BACKUP_ALERT_TIMEOUT_S="5",
                DAGSTER_HOME=str(home / "dagster"),
            )
            yield installation

    return made


@pytest.fixture
def installation(install: Install) -> Iterator[Installation]:
    """An installation of this test's own, in the environment of this process."""
    with install() as made:
        yield made


@contextmanager
def _folder() -> Iterator[Path]:
    """In memory where there is such a place: SQLite and the store wait for the disk at every step."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="installation-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
