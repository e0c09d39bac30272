"""What a rebuild of the ledger reaches the world through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from pydantic import SecretStr

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.actor import Actor
from backup_pipeline.core.due import FULL, due_at_start
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.restore.requests import protected_name
from backup_pipeline.core.retention.rules import Retention
from backup_pipeline.core.schedule import local_date
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.rebuild import RebuildPorts
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import (
    LEDGER_DATABASE,
    LedgerClock,
    check_urls,
    postgres_home,
)
from backup_pipeline.wiring.ports import is_dead
from backup_pipeline.wiring.stores import (
    check_encryption,
    noted_in,
    open_seal_keys,
    open_second,
    open_settings_store,
    the_second,
)


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
    settings: Settings, ledger: Ledger, actor: Actor, *, from_second: bool = False, accepted: Iterable[str] = ()
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
