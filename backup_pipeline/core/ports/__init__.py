"""The ports: what operations ask of a source, the file formats, a store, a ledger and an alert channel. A port a file.

`postgres`, `formats`, `stores`, `ledger` and `alerts` implement them; tests run one contract suite over every
implementation of a port.
"""

from backup_pipeline.core.ports.alerts import Alerter, Pinger
from backup_pipeline.core.ports.copies import Copies
from backup_pipeline.core.ports.dues import Dues
from backup_pipeline.core.ports.formats import Formats, OpenBundle, TableWriter
from backup_pipeline.core.ports.leases import Leases
from backup_pipeline.core.ports.ledger import Ledger
from backup_pipeline.core.ports.outbox import Outbox
from backup_pipeline.core.ports.readings import Readings
from backup_pipeline.core.ports.restores import Restores
from backup_pipeline.core.ports.shapes import Shapes
from backup_pipeline.core.ports.source import Page, Snapshot, Source
from backup_pipeline.core.ports.store import Second, Store, StoredObject
from backup_pipeline.core.ports.tallies import Tallies
from backup_pipeline.core.ports.target import RestoreTarget, TargetSession
from backup_pipeline.core.ports.threads import Threads
from backup_pipeline.core.ports.together import Clock, Ports, RestorePorts

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
    "RestorePorts",
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
