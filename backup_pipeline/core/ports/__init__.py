"""The ports: what operations ask of a source, the file formats, a store, a ledger and an alert channel. A port a file.

`postgres`, `formats`, `stores`, `ledger` and `alerts` implement them; tests run one contract suite over every
implementation of a port.
"""

from backup_pipeline.core.ports.database import Page, RestoreTarget, Snapshot, Source, TargetSession
from backup_pipeline.core.ports.files import Formats, OpenBundle, TableWriter
from backup_pipeline.core.ports.ledger import (
    Copies,
    Dues,
    Leases,
    Ledger,
    Outbox,
    Readings,
    Restores,
    Shapes,
    Tallies,
    Threads,
)
from backup_pipeline.core.ports.people import Alerter, Pinger
from backup_pipeline.core.ports.store import Second, Store, StoredObject
from backup_pipeline.core.ports.together import Clock, Ports

__all__ = [
    "Alerter",
    "Clock",
    "Copies",
    "Dues",
    "Formats",
    "Leases",
    "Ledger",
    "OpenBundle",
    "Outbox",
    "Page",
    "Pinger",
    "Ports",
    "Readings",
    "RestoreTarget",
    "Restores",
    "Second",
    "Shapes",
    "Snapshot",
    "Source",
    "Store",
    "StoredObject",
    "TableWriter",
    "Tallies",
    "TargetSession",
    "Threads",
]
