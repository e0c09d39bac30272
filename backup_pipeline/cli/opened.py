"""What the commands that look at backups work with: the settings, the ledger, and who asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from backup_pipeline.cli.catalogs import check_known
from backup_pipeline.cli.output import note_console
from backup_pipeline.core.restore_requests import FIRST, SECOND, Which
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.core.ports import Store
    from backup_pipeline.ledger.sql import SqlLedger
    from backup_pipeline.operations.download import Witness
    from backup_pipeline.wiring.clock import LedgerClock


@dataclass(frozen=True)
class Opened:
    """An installation whose ledger is open."""

    settings: Settings
    ledger: SqlLedger

    @cached_property
    def clock(self) -> LedgerClock:
        """The present, as the ledger has it."""
        from backup_pipeline.wiring.clock import LedgerClock

        return LedgerClock(self.ledger)

    @property
    def actor(self) -> str:
        """Who asks, as the audit will name them."""
        from backup_pipeline.wiring.actor import os_user

        return os_user()

    def store(self, which: Which = FIRST) -> Store:
        """The store of the backups: the first, or the second.

        Of the second is said on stderr that it is read: what comes may be older than what the first one has.
        """
        from backup_pipeline.wiring.encryption import noted_in

        if which == SECOND:
            from backup_pipeline.wiring.second_store import the_second

            second = the_second(self.settings, noted_in(self.ledger))
            note_console().print(f"From the second store, {second.url}.", markup=False)
            return second.store
        from backup_pipeline.wiring.store import open_settings_store

        return open_settings_store(self.settings, used=noted_in(self.ledger))

    def witness(self) -> Witness:
        """Where it is written down that somebody took a backup out."""
        from backup_pipeline.operations.download import Witness

        return Witness(self.ledger, self.clock, self.actor)


@contextmanager
def opened(catalog: str | None = None) -> Iterator[Opened]:
    """Open the ledger; the embedded PostgreSQL, where it is the ledger's server, is started for as long as it takes.

    NotFoundError where `catalog` is neither declared nor in the ledger.
    """
    from backup_pipeline.wiring.embedded import ledger_ready
    from backup_pipeline.wiring.ledger import open_ledger

    with ledger_ready(Settings()) as settings, open_ledger(settings) as ledger:
        check_known(settings, ledger, catalog)
        yield Opened(settings, ledger)
