"""The ports of an installation, opened for one catalog and closed again."""

from __future__ import annotations

import logging
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from pydantic import SecretStr

from backup_pipeline.alerts.channels import HttpPinger, PingUrls, alerter_for
from backup_pipeline.catalogs.load import load_catalogs
from backup_pipeline.core.alerts import NoPings, Signal
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.comparison import Decoder
from backup_pipeline.core.due import FULL, due_at_start
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.layout import VERIFICATIONS
from backup_pipeline.core.leases import LIFE, Claim, Reading, reading_renewal_interval
from backup_pipeline.core.ledger import Attempt, Owner, is_orphaned
from backup_pipeline.core.ports import Alerter, Clock, Ledger, Pinger, Ports, Store
from backup_pipeline.core.ports.people import Progress, Silence
from backup_pipeline.core.restore.requests import RestoreRow, is_abandoned, protected_name, safety_name
from backup_pipeline.core.retention.rules import Retention
from backup_pipeline.core.schedule import local_date
from backup_pipeline.embedded.server import EmbeddedPostgres
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.connect import alive, this_owner
from backup_pipeline.ledger.leases import Heartbeat
from backup_pipeline.ledger.migrate import bring_up_to_date
from backup_pipeline.operations.leases import HeldLease, take
from backup_pipeline.operations.prune.plan import PrunePorts, PruneWish, Shelf
from backup_pipeline.operations.rebuild import RebuildPorts
from backup_pipeline.operations.verify import VerifyPorts
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline.settings import Settings, libpq_environment
from backup_pipeline.stores.open import removals_of
from backup_pipeline.stores.s3.clients import S3Settings
from backup_pipeline.wiring.addresses import (
    LEDGER_DATABASE,
    LedgerClock,
    check_urls,
    ledger_url,
    postgres_home,
    source_url,
    utc_now,
    work_dir,
)
from backup_pipeline.wiring.private import close_folders, make_folder
from backup_pipeline.wiring.stores import (
    check_encryption,
    noted_in,
    open_formats,
    open_seal_keys,
    open_second,
    open_settings_store,
    s3_settings,
    the_second,
    usable_later,
)


@contextmanager
def open_ledger(settings: Settings) -> Iterator[SqlLedger]:
    """The ledger, closed at the end."""
    ledger = SqlLedger(ledger_url(settings), remind_every=timedelta(hours=settings.alert_remind_hours))
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def open_current_ledger(settings: Settings) -> Iterator[SqlLedger]:
    """The ledger for who looks into it, brought to this version where an earlier one made its tables."""
    bring_up_to_date(ledger_url(settings))
    with open_ledger(settings) as ledger:
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
    "is_dead",
    "is_dead_restore",
    "open_ledger",
    "open_ports",
    "open_settings_store",
    "s3_settings",
    "this_owner",
    "utc_now",
]


@contextmanager
def open_ports(
    settings: Settings, catalog: str, *, s3: S3Settings | None = None, progress: Progress | None = None
) -> Iterator[Ports]:
    """Everything an operation on `catalog` needs. Nothing connects before it is used; all is closed at the end.

    A source or store whose settings are wrong raises when it is used: by then the attempt has its row in the ledger.
    So does a ledger, because people are to be alerted of that too.
    """
    close_folders(settings)
    with ExitStack() as opened:
        ledger = usable_later(lambda: opened.enter_context(open_ledger(settings)))
        clock = LedgerClock(ledger)
        yield Ports(
            source=usable_later(lambda: open_source(settings, catalog)),
            formats=usable_later(lambda: open_formats(settings)),
            store=usable_later(lambda: open_settings_store(settings, s3, noted_in(ledger))),
            ledger=ledger,
            alerter=open_settings_alerter(settings),
            progress=progress or Silence(),
            clock=clock,
            drift=clock.drift,
            salt=lambda: secrets.randbits(32),
            pinger=open_settings_pinger(settings),
            alive=is_alive_here,
            second=open_second(settings),
            decoder=open_decoder,
        )


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
    from backup_pipeline.formats.decoder import FileDecoder

    return FileDecoder(spool)


def is_dead(attempt: Attempt, clock: Clock = utc_now) -> bool:
    """Whether a running attempt has no living owner, seen from this machine now; `clock` is the ledger's."""
    return is_orphaned(attempt, now=clock(), host=socket.gethostname(), alive=alive)


def is_dead_restore(row: RestoreRow, clock: Clock = utc_now) -> bool:
    """Whether a running restore has no living owner, seen from this machine now."""
    return is_abandoned(row, now=clock(), host=socket.gethostname(), alive=alive)


def is_alive_here(owner: Owner) -> bool:
    """Whether `owner` lives, as far as this machine can tell: another host's processes count as alive."""
    return owner.host != socket.gethostname() or alive(owner)


_HOLDER = "prune"


def open_prune(settings: Settings, ledger: Ledger, actor: str, *, s3: S3Settings | None = None) -> PrunePorts:
    """The ports of pruning; nothing connects before it is used."""
    store = open_settings_store(settings, s3)
    second = open_second(settings)
    others = (Shelf(second.url, second.store, removals_of(second.store)),) if second else ()
    claimant, clock = _Claimant(ledger, is_alive_here), LedgerClock(ledger)
    return PrunePorts(
        store=store,
        removals=removals_of(store),
        ledger=ledger,
        clock=clock,
        drift=clock.drift,
        actor=actor,
        others=others,
        alone=lambda catalog: _alone(Claim(catalog, f"{_HOLDER} {token_hex(4)}", actor, this_owner()), claimant),
    )


def wishes_of(catalog: Catalog, settings: Settings) -> tuple[PruneWish, PruneWish]:
    """What a prune of a catalog is about: its backups, and the safety backups that restores of it made."""
    names = (catalog.catalog, safety_name(catalog.catalog))
    first, safety = (PruneWish(name, catalog.retention, catalog.timezone, settings.prune_versions) for name in names)
    return first, safety


def wish_of(name: str, catalogs: Mapping[str, Catalog], settings: Settings) -> PruneWish:
    """What is said of the backups filed under `name`, be it a catalog's own, that of its safety backups, or unknown."""
    known = catalogs.get(name) or catalogs.get(protected_name(name))
    if known is None:
        return PruneWish(name, versions=settings.prune_versions)
    return PruneWish(name, known.retention, known.timezone, settings.prune_versions)


@dataclass(frozen=True)
class _Claimant:
    ledger: Ledger
    alive: Callable[[Owner], bool]


@contextmanager
def _alone(claim: Claim, claimant: _Claimant) -> Iterator[Callable[[], None]]:
    lease = take(claim, claimant)
    held = HeldLease(lease, claimant.ledger.leases)
    try:
        with Heartbeat(held, claim.holder, clock=utc_now, every=held.every):
            yield lambda: held.check(ask=True)
    finally:
        claimant.ledger.leases.release(lease)


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


def open_rebuild(
    settings: Settings, ledger: Ledger, actor: str, *, from_second: bool = False, accepted: Iterable[str] = ()
) -> RebuildPorts:
    """The ports of a rebuild from the first store, or the second; nothing connects before it is used."""
    catalogs, clock = load_catalogs(settings.catalogs), LedgerClock(ledger)
    used = noted_in(ledger)

    def rules(name: str) -> tuple[Retention, str] | None:
        known = catalogs.get(name) or catalogs.get(protected_name(name))
        return (known.retention, known.timezone) if known else None

    def due(row: Attempt) -> datetime | None:
        known = catalogs.get(row.catalog)
        whole = row.kind == FULL and known and row.partition_date == local_date(row.started_at, known.timezone)
        return due_at_start(known, row.started_at) if known and whole else None

    return RebuildPorts(
        store=the_second(settings, used).store if from_second else open_settings_store(settings, used=used),
        ledger=ledger,
        clock=clock,
        actor=actor,
        dead=lambda attempt: is_dead(attempt, clock),
        rules=rules,
        due=due,
        second=open_second(settings),
        from_second=from_second,
        seals=bool(open_seal_keys(settings).accepted),
        accepted=frozenset(accepted),
    )


_ABANDONED = timedelta(days=2)
"""A verification that was killed leaves its folder; one that lives writes into it all the time."""


def verify_ports(settings: Settings, store: Store, progress: Progress) -> VerifyPorts:
    """The ports of verification; its folder is made when it is needed, and removed at the end."""
    folder = work_dir(settings) / VERIFICATIONS
    return VerifyPorts(store, open_formats(settings), FileDecoder, lambda: _new_folder(folder), progress, utc_now)


@contextmanager
def _new_folder(parent: Path) -> Iterator[Path]:
    make_folder(parent)
    for old in parent.iterdir():
        if time.time() - old.stat().st_mtime > _ABANDONED.total_seconds():
            shutil.rmtree(old, ignore_errors=True)
    with TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


logger = logging.getLogger(__name__)


@contextmanager
def reading(backup_id: str, work: str, by: str, ledger: Ledger, *, life: timedelta = LIFE) -> Iterator[None]:
    """Keep `prune` and `delete` from the backup while the context lasts; `work` is what they will name.

    Whoever is killed frees it when `life` is over. A ledger that can not be written keeps nobody from reading.
    """
    try:
        noted = ledger.readings.begin(Reading(backup_id, work, by, this_owner()), life)
    except LedgerError as trouble:
        logger.warning(
            "That %s reads %s is not noted, so a prune may remove it meanwhile: %s", work, backup_id, trouble
        )
        yield
        return
    try:
        with Heartbeat(_Sign(ledger, life), noted.number, clock=utc_now, every=reading_renewal_interval(life)):
            yield
    finally:
        with suppress(LedgerError):  # it ends by itself
            ledger.readings.end(noted.number)


class _Sign:
    """What the heartbeat of a reading does."""

    def __init__(self, ledger: Ledger, life: timedelta) -> None:
        self._ledger = ledger
        self._life = life

    def beat(self, of: int, now: datetime, /) -> None:
        """Extend it, by the ledger's clock."""
        self._ledger.readings.renew(of, self._life)
