"""Backups made for tests: the real pipeline from a real database, into whatever store and ledger is given."""

from __future__ import annotations

import atexit
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Clock, Formats, Ledger, Ports, Progress, Silence, Store
from backup_pipeline.core.schedule import local_date
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.attempts import Request, Work, begin
from backup_pipeline.operations.backup import bundle_attempt, export_attempt
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ledgers import faulty, raising
from backup_pipeline_tests.doubles.ports import now, ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger


@dataclass
class Place:
    """Where backups go: a store and a ledger, in memory unless others are given."""

    spool: Path
    store: Store = field(default_factory=MemoryStore)
    ledger: Ledger = field(default_factory=new_ledger)
    formats: Formats = field(default_factory=FileFormats)

    def ports(self, url: str) -> Ports:
        return ports_for_test(
            source=PostgresSource(url),
            formats=self.formats,
            store=self.store,
            ledger=self.ledger,
            spool=self.spool,
        )

    def back_up(
        self,
        url: str,
        catalog: Catalog,
        *,
        tables: tuple[str, ...] = (),
        bundle: bool = True,
        business: str | None = None,
    ) -> Attempt:
        """A backup of `catalog` (or the partitions of `tables`, as earlier versions left them); its row as it ended."""
        ports = self.ports(url)
        wanted = tables or tuple(catalog.tables)
        kind = Kind.FULL if bundle else Kind.TABLES
        day = local_date(now(), catalog.timezone)
        request = Request(
            catalog, kind, wanted, day, type=Trigger.MANUAL, actor=TESTER, reason="a test", business=business
        )
        attempt = begin(request, ports)
        work = Work(request, attempt, ports)
        for result in export_attempt(work):
            if result.error:
                raise result.error
        if bundle:
            self.manifest: StoredManifest = bundle_attempt(work)
        else:
            ports.ledger.end(attempt.backup_id, Outcome(status=Status.SUCCESS, finished_at=ports.clock()))
            shutil.rmtree(work.folder)
        found = self.ledger.get(attempt.backup_id)
        assert found is not None
        return found


_WORK = Path(mkdtemp(prefix="verify-"))
atexit.register(shutil.rmtree, _WORK, ignore_errors=True)


def verify_ports(
    store: Store,
    *,
    ledger: Ledger | None = None,
    clock: Clock = now,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Ports:
    """Ports that look at the backups of `store`, and unpack into a new folder each time (in `folder`)."""
    work = folder or _WORK
    given = {"progress": progress or Silence(), "ledger": ledger or new_ledger()}
    return ports_for_test(store=store, clock=clock, spool=work, **given)


def mute_ledger() -> ScratchLedger:
    """A ledger that can not write down who did what."""
    return faulty(new_ledger(), audit=raising(LedgerError("the ledger is gone")))
