"""The command line at work: an installation, and `run`, which runs a command in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import yaml

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import command_line
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.attempts import Request, begin, end_failed
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.wiring import addresses as actor
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.cli.installation import Ended, Installation, executed
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.operations.conftest import SHOP, SHOP_SQL
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.postgres import temporary_database

Run = Callable[..., Ended]


class DeadChannel:
    """The port `Alerter` with one channel that never answers."""

    channels: Sequence[str] = ("mailto://ops",)

    def send(self, alert: Alert, only: Collection[str] | None = None) -> list[Delivery]:
        return [Delivery("mailto://ops", error="connection refused")]


@pytest.fixture(scope="session")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with made_installation(postgres_server, tmp_path_factory.mktemp("home")) as made:
        yield made


@contextmanager
def made_installation(postgres_server: EmbeddedPostgres, home: Path) -> Iterator[Installation]:
    """An installation at `home`, as long as the context lasts."""
    with temporary_database(postgres_server) as source, temporary_database(postgres_server) as ledger_url:
        with psycopg.connect(source) as session:
            session.execute(SHOP_SQL)
        ledger = SqlLedger.create(ledger_url)
        place = Place(home / "work", DirectoryStore(home / "store"), ledger)
        failed = _failed(place, source, ledger)
        good = place.back_up(source, SHOP)
        (home / "catalogs").mkdir()
        declared = {"catalog": "shop", "timezone": "Asia/Dhaka", "tables": {"goods": None, "sold": None}}
        (home / "catalogs" / "shop.yaml").write_text(yaml.safe_dump(declared))
        environment = {
            "BACKUP_HOME": str(home),
            "BACKUP_CATALOGS": str(home / "catalogs"),
            "BACKUP_SOURCE_URL": source,
            "BACKUP_LEDGER_URL": ledger_url,
            "BACKUP_STORE": (home / "store").as_uri(),
        }
        yield Installation(environment, home / "store", good, failed, place.manifest)
        ledger.close()


def _failed(place: Place, source: str, ledger: SqlLedger) -> Attempt:
    ports = replace(place.ports(source), alerter=DeadChannel())
    request = Request(
        SHOP, Kind.FULL, ("goods",), now().date(), Trigger.MANUAL, KARIM, reason="[odd] reason", reads=False
    )
    attempt = begin(request, ports)
    end_failed(attempt, BackupError("The table goods is on fire.", do="Put it out."), ports)
    found = ledger.get(attempt.backup_id)
    assert found is not None
    return found


@pytest.fixture
def run(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run a command in the installation, in an empty folder; what it printed, and its exit code."""
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    return as_user(monkeypatch, capfd)


def as_user(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs commands in this process; `by` is the operating system's user who does."""

    def run(*arguments: str, by: str = "rahim") -> Ended:
        monkeypatch.setattr(actor, "os_user", lambda: command_line(by))
        return executed(capfd, *arguments)

    return run
