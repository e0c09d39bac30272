"""The ports of an installation, opened for one catalog and closed again."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from backup_pipeline.alerts import HttpPinger, PingUrls, alerter_for
from backup_pipeline.core.alerts import NoPings, Signal
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.comparison import Decoder
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Alerter, Ledger, Pinger, Ports, Progress, Silence
from backup_pipeline.core.ports.files import Queries
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.ports.ticks import KeyStates
from backup_pipeline.core.restore import FIRST, SECOND, Which
from backup_pipeline.core.text import redact, url_secrets
from backup_pipeline.lazy import lazily
from backup_pipeline.ledger import CONNECTIONS, alive, this_host, this_owner
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import bring_up_to_date
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline.settings import Settings, libpq_environment
from backup_pipeline.stores import removals_of
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.wiring.addresses import (
    LedgerClock,
    chosen_catalog,
    declared_catalogs,
    ledger_url,
    source_url,
    store_url,
    utc_now,
    work_dir,
)
from backup_pipeline.wiring.folders import close_folders
from backup_pipeline.wiring.stores import (
    noted_in,
    open_formats,
    open_second,
    open_settings_store,
    opened_later,
    s3_settings,
    the_second,
)

if TYPE_CHECKING:
    from backup_pipeline.core.statistics import Metric

with lazily():
    from backup_pipeline import runs
    from backup_pipeline.formats import business_state, decoder, query
    from backup_pipeline.operations import health


_SHORTEST_SECRET = 4
"""Letters. What is shorter is in every second word, and hides nothing."""
CONSOLE_CONNECTIONS = 16
"""To the ledger, of a console at most; of 100 that PostgreSQL has by default, runs and Dagster want the rest.

A request holds a connection for some milliseconds at a time, none while it waits or draws, and an open page holds none:
40 requests at once, which is what the web server lets in, get through 16 sooner than a browser minds, also while
some slow query holds a few. With the four of a run, four such queries would turn everybody else away.
"""


@contextmanager
def open_ledger(settings: Settings, *, connections: int | None = None) -> Iterator[SqlLedger]:
    """The ledger with at most so many connections, closed at the end."""
    reminded = timedelta(hours=settings.alert_remind_hours)
    ledger = SqlLedger(ledger_url(settings), remind_every=reminded, connections=connections or CONNECTIONS)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def open_current_ledger(settings: Settings, *, connections: int | None = None) -> Iterator[SqlLedger]:
    """The ledger for who looks into it, brought to this version where an earlier one made its tables."""
    bring_up_to_date(ledger_url(settings))
    with open_ledger(settings, connections=connections) as ledger:
        yield ledger


def open_settings_pinger(settings: Settings) -> Pinger:
    """Who is pinged; nobody where no URL is set."""
    every = {signal: _url(settings, signal) for signal in Signal}
    known = {signal: url.get_secret_value() for signal, url in every.items() if url is not None}
    own = {key: url.get_secret_value() for name, url in settings.ping_urls.items() if (key := _key(name)) is not None}
    if not known and not own:
        return NoPings()
    timeout = timedelta(seconds=settings.ping_timeout_s)
    return HttpPinger(PingUrls(known, own), method=settings.ping_method, timeout=timeout)


def _url(settings: Settings, signal: Signal) -> SecretStr | None:
    urls = {
        Signal.START: settings.ping_start_url,
        Signal.SUCCESS: settings.ping_success_url,
        Signal.FAIL: settings.ping_fail_url,
    }
    return urls[signal]


def _key(name: str) -> tuple[Signal, str] | None:
    """`start_url_isp` as a signal and a catalog."""
    signal, separator, catalog = name.partition("_url_")
    return (Signal(signal), catalog) if separator and signal in set(Signal) else None


__all__ = [
    "is_alive_here",
    "open_ledger",
    "open_ports",
    "open_settings_store",
    "s3_settings",
    "this_owner",
    "utc_now",
]


@cache
def _create_once(url: str) -> None:
    """The ledger's database and tables: looked at once in the life of this process."""
    SqlLedger.create(url).close()


@contextmanager
def open_ports(
    settings: Settings,
    catalog: str,
    *,
    s3: S3Settings | None = None,
    progress: Progress | None = None,
    create: bool = False,
) -> Iterator[Ports]:
    """Everything an operation on `catalog` needs. Nothing connects before it is used; all is closed at the end.

    A source, store or ledger whose settings are wrong raises when it is used: what can be written down then is, and
    people are alerted. With `create` the ledger's database and tables are made where they are missing.
    """

    def ledger_at_first_use(opened: ExitStack) -> Ledger:
        if create:
            _create_once(ledger_url(settings))
        return opened.enter_context(open_ledger(settings))

    with ExitStack() as opened:
        ledger = opened_later(lambda: ledger_at_first_use(opened))
        yield ports_over(ledger, settings, catalog, s3=s3, progress=progress)


def ports_over(
    ledger: Ledger,
    settings: Settings,
    catalog: str | None = None,
    *,
    s3: S3Settings | None = None,
    progress: Progress | None = None,
    store: Which = FIRST,
) -> Ports:
    """As `open_ports`, over a ledger that is open. Without a `catalog` there is no source; `store` is worked on."""
    close_folders(settings)
    clock, used = LedgerClock(ledger), noted_in(ledger)
    return Ports(
        source=opened_later(lambda: open_source(settings, catalog or settings.catalog)),
        formats=opened_later(lambda: open_formats(settings)),
        store=opened_later(
            lambda: the_second(settings, used).store if store == SECOND else open_settings_store(settings, s3, used)
        ),
        ledger=ledger,
        alerter=open_settings_alerter(settings),
        progress=progress or Silence(),
        clock=clock,
        drift=clock.drift,
        salt=lambda: secrets.randbits(32),
        owner=this_owner(),
        spool=work_dir(settings),
        workers=settings.workers,
        decoder=open_decoder,
        removals=removals_of,
        second=open_second(settings),
        pinger=open_settings_pinger(settings),
        alive=is_alive_here,
        console_url=settings.console_url,
    )


def dagster_launcher(settings: Settings) -> Launcher:
    """Dagster from outside. Nothing connects before it is used."""
    url = settings.dagster_api_url or settings.dagster_url
    known = tuple(_secrets_of(settings))
    address = runs.DagsterAddress(url, settings.code_location)
    return runs.GraphQLLauncher(address, hide=lambda text: redact(text, *known))


def _secrets_of(settings: Settings) -> Iterator[str]:
    """Every secret of the settings, and the passwords in those that are URLs."""
    for name in type(settings).model_fields:
        given = getattr(settings, name)
        many = given.values() if isinstance(given, Mapping) else given if isinstance(given, tuple) else (given,)
        for secret in (each.get_secret_value() for each in many if isinstance(each, SecretStr)):
            yield from (known for known in (secret, *url_secrets(secret)) if len(known) >= _SHORTEST_SECRET)


def watched(settings: Settings, names: Sequence[str] = ()) -> Sequence[Catalog]:
    """The catalogs of that name, all without any; NotFoundError for one that is not there."""
    if names:
        return [chosen_catalog(name, settings) for name in names]
    return list(declared_catalogs(settings).values())


def metrics_now(settings: Settings, ledger: Ledger) -> Sequence[Metric]:
    """Every metric; LedgerError when the ledger can not be read. A malformed catalog costs what is said of catalogs."""
    second = open_second(settings)
    places = health.Places(store_url(settings), second.url if second else None)
    return health.all_metrics(ledger, places, _catalogs(settings), ledger.now())


def _catalogs(settings: Settings) -> Sequence[Catalog]:
    try:
        return watched(settings)
    except CatalogError as trouble:
        logger.warning("How the catalogs stand is not among the metrics: %s", trouble)
        return ()


def open_source(settings: Settings, catalog: str) -> PostgresSource:
    """The source of a catalog."""
    return PostgresSource(source_url(settings, catalog), options=source_options(settings))


def source_options(settings: Settings) -> SourceOptions:
    """How patient a source is, and how big its pages are."""
    return SourceOptions(
        page_bytes=settings.page_mib * 2**20,
        statement_timeout_s=settings.statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        max_connections=max(settings.workers, SourceOptions.max_connections),
        programs=settings.pg_bin,
        environment=libpq_environment(),
    )


def open_settings_alerter(settings: Settings) -> Alerter:
    """The alert channels."""
    urls = [url.get_secret_value() for url in settings.alert_urls]
    return alerter_for(urls, timeout=timedelta(seconds=settings.alert_timeout_s))


def open_decoder(spool: Path) -> Decoder:
    """What decodes a backup's files; what does not fit into memory goes into files under `spool`."""
    return decoder.FileDecoder(spool)


def open_queries(most_s: float | None = None) -> Queries:
    """What runs SQL over a backup's tables, for at most so many seconds."""
    return query.DuckQueries(most_s)


def open_key_states(settings: Settings) -> KeyStates:
    """Where the states of businesses are kept, on this machine."""
    return business_state.DuckKeyStates(settings.home.resolve() / "businesses")


def is_alive_here(owner: Owner) -> bool:
    """Whether `owner` lives, as far as this machine can tell: another host's processes count as alive."""
    return owner.host != this_host() or alive(owner)


logger = logging.getLogger(__name__)
