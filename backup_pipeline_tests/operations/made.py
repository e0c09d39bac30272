"""Backups made for tests: the real pipeline from a real database, into whatever store and ledger is given."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Attempt, AuditEvent, Owner
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Clock, Formats, Ledger, Ports, Store
from backup_pipeline.core.ports.people import Progress, Silence
from backup_pipeline.core.schedule import local_date
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.attempts import Request, Work, begin
from backup_pipeline.operations.backup import bundle_attempt, end_tables, export_attempt
from backup_pipeline.operations.verify import VerifyPorts
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ledgers import MemoryLedger
from backup_pipeline_tests.doubles.stores import MemoryStore

NOBODY = Owner("test", 1, 0.0)
_SALTS = itertools.count(1)


class Quiet:
    """The port `Alerter` with nobody to tell."""

    channels: Sequence[str] = ()

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        return []


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Place:
    """Where backups go: a store and a ledger, in memory unless others are given; `follows`: references are followed."""

    spool: Path
    store: Store = field(default_factory=MemoryStore)
    ledger: Ledger = field(default_factory=MemoryLedger)
    formats: Formats = field(default_factory=FileFormats)
    follows: bool = False

    def ports(self, url: str) -> Ports:
        source = PostgresSource(url)
        salt = lambda: next(_SALTS)  # noqa: E731
        ports = Ports(
            source, self.formats, self.store, self.ledger, Quiet(), Silence(), now, salt, self.spool, workers=2
        )
        return replace(ports, decoder=FileDecoder) if self.follows else ports

    def back_up(self, url: str, catalog: Catalog, *, tables: tuple[str, ...] = (), bundle: bool = True) -> Attempt:
        """A backup of `catalog` (or the partitions of `tables`, without a bundle); its row as it ended."""
        ports = self.ports(url)
        wanted = tables or tuple(catalog.tables)
        kind = Kind.FULL if bundle else Kind.TABLES
        day = local_date(now(), catalog.timezone)
        request = Request(catalog, kind, wanted, day, type=Trigger.MANUAL, actor=TESTER, reason="a test")
        attempt = begin(request, ports, NOBODY)
        work = Work(request, attempt, ports)
        for result in export_attempt(work):
            if result.error:
                raise result.error
        if bundle:
            self.manifest: StoredManifest = bundle_attempt(work)
        else:
            end_tables(work)
        found = self.ledger.get(attempt.backup_id)
        assert found is not None
        return found


def verify_ports(
    store: Store, *, clock: Clock = now, progress: Progress | None = None, folder: Path | None = None
) -> VerifyPorts:
    """Ports that look at the backups of `store`, and unpack into a new folder each time (in `folder`)."""

    @contextmanager
    def spool() -> Iterator[Path]:
        with TemporaryDirectory(dir=folder) as name:
            yield Path(name)

    return VerifyPorts(store, FileFormats(), FileDecoder, spool, progress or Silence(), clock)


class MuteLedger(MemoryLedger):
    """A ledger that can not write down who did what."""

    def audit(self, event: AuditEvent) -> None:
        message = "the ledger is gone"
        raise LedgerError(message)
