"""Fixtures that every test may ask for: real servers, started when first needed."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.access import passwords
from backup_pipeline_tests.servers.browser import chromium
from backup_pipeline_tests.servers.debian import system_server
from backup_pipeline_tests.servers.ledgers import ledgers_of
from backup_pipeline_tests.servers.moto_fixtures import lock_server, locked_bucket, plain_bucket
from backup_pipeline_tests.servers.postgres import temporary_database, throwaway_server
from backup_pipeline_tests.servers.swift_fixtures import s3_bucket, s3_proxy, s3_server
from backup_pipeline_tests.servers.tls import TlsServer, tls_server

__all__ = [
    "chromium",
    "fresh_database",
    "fresh_ledger",
    "ledger_template",
    "lock_server",
    "locked_bucket",
    "plain_bucket",
    "postgres_server",
    "s3_bucket",
    "s3_proxy",
    "s3_server",
    "system_database",
    "system_postgres",
    "tls_postgres",
]

HERE = Path(__file__).parent

LONGEST_FIRST = (
    "end_to_end",
    "browser",
    "faults",
    "web",
    "businesses",
    "orchestration",
    "drill",
    "cli",
    "restore",
    "exactness",
    "operations",
)
"""Packages by how long a file of theirs takes: what begins last is then short, and no worker waits for another."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: nobody looks for garbage in it, neither now nor in each test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Modules that count what is left of them do so at the end."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; xdist hands files out in this order."""
    rank = {package: place for place, package in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(HERE).parts[0], len(rank)))


_hasher = passwords._hasher


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Argon2id with little memory: a fifth of a second for each sign-in is for who guesses, not for the tests."""
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", lambda: quick)
        yield


@pytest.fixture
def slow_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords as they are really kept."""
    monkeypatch.setattr(passwords, "_hasher", _hasher)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL 18 of this test process; databases are made with `fresh_database`."""
    with throwaway_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def fresh_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The superuser's URL of a new, empty database of this test's own."""
    with temporary_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def ledger_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database that holds an empty ledger, migrated once: copies of it take a tenth of the time."""
    SqlLedger.create(postgres_server.url("ledger_template")).close()
    return "ledger_template"


@pytest.fixture(scope="session", autouse=True)
def session_ledgers(request: pytest.FixtureRequest) -> Iterator[None]:
    """What fixtures of a session or a module make with `new_ledger` is there as long as its server."""
    with ledgers_of(lambda: _template(request), drop=False):
        yield


@pytest.fixture(autouse=True)
def own_ledgers(request: pytest.FixtureRequest, session_ledgers: None) -> Iterator[None]:
    """What a test makes with `new_ledger` is dropped with it."""
    with ledgers_of(lambda: _template(request)):
        yield


def _template(request: pytest.FixtureRequest) -> tuple[EmbeddedPostgres, str]:
    """Started and migrated only once a test makes a ledger."""
    return request.getfixturevalue("postgres_server"), request.getfixturevalue("ledger_template")


@pytest.fixture
def fresh_ledger(postgres_server: EmbeddedPostgres, ledger_template: str) -> Iterator[str]:
    """The superuser's URL of a new, empty ledger of this test's own."""
    with temporary_database(postgres_server, template=ledger_template) as url:
        yield url


@pytest.fixture(scope="session")
def system_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL of the system's packages (an older major version, with contrib); skips where there is none."""
    with system_server(tmp_path_factory.mktemp("system") / "postgres") as server:
        yield server


@pytest.fixture
def system_database(system_postgres: EmbeddedPostgres) -> Iterator[str]:
    """The superuser's URL of a new, empty database of that server."""
    with temporary_database(system_postgres) as url:
        yield url


@pytest.fixture(scope="session")
def tls_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A PostgreSQL that takes connections over TLS alone; skips where the system's packages have none."""
    with tls_server(tmp_path_factory.mktemp("tls")) as server:
        yield server
