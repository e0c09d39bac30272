"""What a rebuild of the ledger reaches the world through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import (
    LEDGER_DATABASE,
    check_urls,
    postgres_home,
)
from backup_pipeline.wiring.stores import (
    check_encryption,
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
