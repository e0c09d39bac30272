"""The ports of an installation, opened for one catalog and closed again."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from backup_pipeline.alerts.open import alerter_for
from backup_pipeline.core.decoding import Decoder
from backup_pipeline.core.ledger import Attempt, Owner, is_orphaned
from backup_pipeline.core.ports import Alerter, Clock, Ports
from backup_pipeline.core.progress import Progress, Silence
from backup_pipeline.core.restore_requests import RestoreRow, is_abandoned
from backup_pipeline.ledger.owner import alive, this_owner
from backup_pipeline.postgres.source import PostgresSource, SourceOptions
from backup_pipeline.settings import Settings, libpq_environment
from backup_pipeline.stores.s3_settings import S3Settings
from backup_pipeline.wiring.addresses import source_url
from backup_pipeline.wiring.clock import LedgerClock, utc_now
from backup_pipeline.wiring.encryption import noted_in, open_formats
from backup_pipeline.wiring.ledger import open_ledger
from backup_pipeline.wiring.pings import open_settings_pinger
from backup_pipeline.wiring.private import close_folders
from backup_pipeline.wiring.second_store import open_second
from backup_pipeline.wiring.store import open_settings_store, s3_settings
from backup_pipeline.wiring.unusable import usable_later

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
    from backup_pipeline.formats.decoder import FileDecoder  # a backup that is checked by its bytes alone needs none

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
