"""Which source, ledger and store an installation uses: what the settings say, else the embedded default."""

from __future__ import annotations

import os
import pwd
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from backup_pipeline.core.errors import BackupError, NotFoundError, SettingsError
from backup_pipeline.core.ports import Clock, Ledger
from backup_pipeline.core.scope import Actor, command_line
from backup_pipeline.demo import ISP, SYSTEMS, DemoSystem
from backup_pipeline.embedded.cluster import Connection, read_role_password, running
from backup_pipeline.lazy import lazily
from backup_pipeline.ledger import ledger_url as checked_ledger_url
from backup_pipeline.postgres.connection import parse_endpoint
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings

if TYPE_CHECKING:
    from backup_pipeline.core.catalog.model import Catalog

with lazily():
    from backup_pipeline import catalogs as catalog_files


def os_user() -> Actor:
    """The user that this process runs as; `uid 1000` where that user has no name.

    Not what USER, LOGNAME or an option say: whoever approves a restore, holds a backup or takes one out is this one.
    """
    uid = os.geteuid()
    try:
        return command_line(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return command_line(f"uid {uid}")


_ASK_AGAIN_S = 600.0
_ASK_AGAIN_AFTER_ERROR_S = 30.0


def utc_now() -> datetime:
    """The present instant in UTC, as this machine has it."""
    return datetime.now(UTC)


class LedgerClock:
    """The present by the ledger's clock: asked for at the first call and every ten minutes, counted on in between.

    While the ledger does not answer it is this machine's. Safe from any thread.
    """

    def __init__(
        self, ledger: Ledger, machine: Clock | None = None, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._machine = machine or utc_now
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._theirs: datetime | None = None
        self._read_at = 0.0
        self._next_at = elapsed()

    def __call__(self) -> datetime:
        """The present instant, in UTC."""
        with self._lock:
            if self._elapsed() >= self._next_at:
                self._ask()
            if self._theirs is None:
                return self._machine()
            return self._theirs + timedelta(seconds=self._elapsed() - self._read_at)

    def drift(self) -> timedelta:
        """How much this machine's clock is ahead of the ledger's; less than nothing when it is behind."""
        truth = self()
        return self._machine() - truth

    def _ask(self) -> None:
        before = self._elapsed()
        try:
            theirs = self._ledger.now()
        except BackupError:
            self._next_at = self._elapsed() + _ASK_AGAIN_AFTER_ERROR_S
            return
        self._read_at = (before + self._elapsed()) / 2
        self._theirs = theirs
        self._next_at = self._elapsed() + _ASK_AGAIN_S


LEDGER_DATABASE = "backup_ledger"
DAGSTER_DATABASE = "dagster"
_DEMO_OF = {catalog: system for system in SYSTEMS.values() for catalog in system.catalogs}


def demo_of(catalog: str) -> DemoSystem | None:
    """The demo that the built-in catalog of that name describes; None for any other catalog."""
    return _DEMO_OF.get(catalog)


def made_demos(settings: Settings) -> Sequence[DemoSystem]:
    """The demos of the embedded server: the ISP's, which it makes by itself, and those that somebody had made.

    Seen by the password of the role that backups of it read with, so nothing is connected to.
    """
    home = postgres_home(settings)
    return [system for system in SYSTEMS.values() if system is ISP or read_role_password(home, system.role) is not None]


def declared_catalogs(settings: Settings) -> Mapping[str, Catalog]:
    """The catalogs of this installation: those of BACKUP_CATALOGS, or the built-in ones that have a database here.

    A built-in catalog has one where its own source is set, where `BACKUP_CATALOG` names it and there is one source for
    all, or where nothing is set and its demo was made (docs/decisions/0046). The others are as if they were not there.
    CatalogError for a file that is wrong.
    """
    catalogs = catalog_files.load_catalogs(settings.catalogs)
    if settings.catalogs != BUILT_IN_CATALOGS:
        return catalogs
    names = set(settings.source_urls)
    if settings.source_url is not None:
        names |= {settings.catalog} if "catalog" in settings.model_fields_set else set()
    elif not names:
        names = {name for system in made_demos(settings) for name in system.catalogs}
    return {name: catalog for name, catalog in catalogs.items() if name in names}


def no_catalog(settings: Settings) -> SettingsError:
    """The error where a database is named, and no catalog says what of it is backed up."""
    several = sorted(f"BACKUP_SOURCE_URL_{name.upper()}" for name in settings.source_urls)
    message = f"{', '.join(several) or 'BACKUP_SOURCE_URL'} is set, and no catalog says which tables are backed up."
    do = (
        "Write one with `backup-pipeline catalog init`, and set BACKUP_CATALOGS to its folder. For the database of a "
        "built-in system, name its catalog: BACKUP_CATALOG=isp."
    )
    return SettingsError(message, do=do)


def chosen_catalog(name: str, settings: Settings) -> Catalog:
    """The catalog of that name; NotFoundError, saying what would bring it here, when this installation has none."""
    declared = declared_catalogs(settings)
    if not declared:
        raise no_catalog(settings)
    if name not in declared and settings.catalogs == BUILT_IN_CATALOGS and demo_of(name) is not None:
        message = f"Catalog {name} comes with the program, and has no database here."
        do = f"Set BACKUP_SOURCE_URL_{name.upper()}, or make its demo: `backup-pipeline demo {name}`."
        raise NotFoundError(message, do=do)
    return catalog_files.named_catalog(name, declared, settings.catalogs)


def postgres_home(settings: Settings) -> Path:
    """Where the embedded PostgreSQL keeps its data."""
    return settings.home / "postgres"


def source_url(settings: Settings, catalog: str) -> str:
    """The URL of the database that `catalog` describes; SettingsError, with what to do, when none is known."""
    if url := settings.source_url_of(catalog):
        return url.get_secret_value()
    system = demo_of(catalog)
    if system is None or system not in made_demos(settings):
        message = f"The source of catalog {catalog} is not set."
        raise SettingsError(message, do=f"Set BACKUP_SOURCE_URL (or BACKUP_SOURCE_URL_{catalog.upper()}).")
    return demo_url(_embedded(settings, "BACKUP_SOURCE_URL"), postgres_home(settings), system)


def demo_url(connection: Connection, home: Path, system: DemoSystem = ISP) -> str:
    """The demo database as its backup role sees it: it may read what the catalogs list, and nothing else.

    A demo that an earlier version made shares the superuser's password until the server is started to work with it.
    """
    return connection.url(system.name, system.role, password=read_role_password(home, system.role))


def owner_url(settings: Settings, catalog: str) -> str:
    """The URL by which the database of `catalog` is written to: its source's.

    A demo database is written to by the embedded server's own superuser, because its backup role may only read.
    """
    url = source_url(settings, catalog)
    home, system = postgres_home(settings), demo_of(catalog)
    connection = running(home) if system else None
    if connection is None or system is None:
        return url
    return connection.url(system.name) if url == demo_url(connection, home, system) else url


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


def uses_embedded(settings: Settings) -> bool:
    """Whether anything is left to the embedded PostgreSQL."""
    return settings.ledger_url is None or (settings.source_url is None and not settings.source_urls)


def _embedded(settings: Settings, name: str) -> Connection:
    connection = running(postgres_home(settings))
    if connection is None:
        message = f"{name} is not set, and the embedded PostgreSQL of {settings.home} is not running."
        raise SettingsError(message, do=f"Set {name}, or start the embedded one with `backup-pipeline up`.")
    return connection


@dataclass(frozen=True)
class _Kind:
    """A variable, and the form that its URL has."""

    variable: str
    form: str


_STORE_FORM = "file:///absolute/path or s3://bucket/prefix, without a user and a query"
_ENDPOINT_FORM = "https://s3.example.com or http://127.0.0.1:9000, without a user and a query"
_STORE = _Kind("BACKUP_STORE", _STORE_FORM)
_SECOND_STORE = _Kind("BACKUP_SECOND_STORE", _STORE_FORM)
_ENDPOINT = _Kind("BACKUP_S3_ENDPOINT_URL", _ENDPOINT_FORM)
_SECOND_ENDPOINT = _Kind("BACKUP_SECOND_S3_ENDPOINT_URL", _ENDPOINT_FORM)


def check_urls(settings: Settings) -> None:
    """SettingsError for the first URL that can not be meant: it names the variable, its scheme and the form wanted.

    For the doors where a person waits for an answer. A run that Dagster starts does not ask here: it writes its row and
    alerts people, whatever is wrong.
    """
    if settings.source_url:
        parse_endpoint(settings.source_url.get_secret_value(), name="BACKUP_SOURCE_URL")
    for catalog, url in settings.source_urls.items():
        parse_endpoint(url.get_secret_value(), name=f"BACKUP_SOURCE_URL_{catalog.upper()}")
    for name, url in settings.restore_targets.items():
        parse_endpoint(url.get_secret_value(), name=f"BACKUP_RESTORE_TARGET_URL_{name.upper()}")
    if settings.ledger_url:
        checked_ledger_url(settings.ledger_url.get_secret_value())
    if settings.dagster_pg_url:
        _check_dagster(settings.dagster_pg_url.get_secret_value())
    _check_stores(settings)


def _check_stores(settings: Settings) -> None:
    for store, url in ((_STORE, settings.store), (_SECOND_STORE, settings.second_store)):
        if url:
            _check_store(store, url)
    endpoints = ((_ENDPOINT, settings.s3_endpoint_url), (_SECOND_ENDPOINT, settings.second_s3_endpoint_url))
    for endpoint, url in endpoints:
        if url:
            _check_s3_endpoint(endpoint, url)


def _check_dagster(url: str) -> None:
    # SQLAlchemy's way to name a driver means nothing to libpq, and is taken all the same.
    parse_endpoint(re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url), name="DAGSTER_PG_URL")


def _check_store(kind: _Kind, url: str) -> None:
    parts = _split(kind, url)
    if parts.scheme == "memory":
        return
    if parts.scheme not in {"file", "s3"}:
        raise _wrong(kind, f"is not the URL of a store: {_start(url)}")
    if parts.scheme == "s3" and not parts.netloc:
        raise _wrong(kind, "names no bucket")
    path = PurePosixPath(unquote(parts.path))
    absolute = parts.netloc in {"", "localhost"} and path.is_absolute() and path != PurePosixPath("/")
    if parts.scheme == "file" and not absolute:
        raise _wrong(kind, "names no absolute path below /")


def _check_s3_endpoint(kind: _Kind, url: str) -> None:
    parts = _split(kind, url)
    if parts.scheme not in {"http", "https"}:
        raise _wrong(kind, f"is not the address of an S3 store: {_start(url)}")
    if not parts.hostname:
        raise _wrong(kind, "names no host")


def _split(kind: _Kind, url: str) -> SplitResult:
    """The parts of `url`; SettingsError when it has none, or parts that such a URL may not have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong(kind, "is malformed") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _wrong(kind, "has a user, a query or a fragment")
    try:
        _ = parts.port
    except ValueError:
        raise _wrong(kind, "is malformed: its port is not a number up to 65535") from None
    return parts


def _start(url: str) -> str:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):", url)
    return f"it starts with {scheme[1]!r}" if scheme else "it has no scheme"


def _wrong(kind: _Kind, reason: str) -> SettingsError:
    return SettingsError(f"{kind.variable} {reason}.", do=f"Write it as {kind.form}.")
