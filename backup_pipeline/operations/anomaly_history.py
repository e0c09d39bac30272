"""What a run is compared with, read from the ledger; for backups from before it kept shapes, from their manifests."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from backup_pipeline.core.anomaly_history import History
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.shape import Shape, TableShape, shape_of
from backup_pipeline.core.statuses import GOOD
from backup_pipeline.operations.browse import stored_manifest

logger = logging.getLogger(__name__)

_FULL = "full"
_ROWS = 200
"""Good rows to look at: some are of selected tables, or have no bundle."""
_SHAPES = 5
"""Shapes to look at for a table that the newest do not hold."""


def load_history(attempt: Attempt, ports: Ports) -> History:
    """The good backups of the catalog before `attempt`; LedgerError when the ledger can not be read."""
    rows = ports.ledger.list(catalog=attempt.catalog, status=sorted(GOOD), limit=_ROWS)
    before = [row for row in rows if _comparable(row, attempt)]
    now = ports.clock()
    full = next((row for row in before if row.kind == _FULL), None)
    return History(
        attempts=before,
        tables=dict(_tables(before, ports)),
        full=_shape(full, ports) if full else None,
        held=frozenset(row.backup_id for row in before if row.hold is not None and row.hold.lasts(now)),
    )


def _comparable(row: Attempt, attempt: Attempt) -> bool:
    """Whether the row is of an earlier backup of the same rows: one without counted tables has no bundle."""
    earlier = row.created_at < attempt.created_at and row.backup_id != attempt.backup_id
    return earlier and bool(row.table_counts) and row.business == attempt.business


def _tables(before: Sequence[Attempt], ports: Ports) -> Iterator[tuple[str, TableShape]]:
    """Each table as in the newest backup that holds it."""
    seen: set[str] = set()
    looked = 0
    for row in before:
        new = set(row.table_counts) - seen
        if not new or looked == _SHAPES:
            continue
        seen |= new
        looked += 1
        shape = _shape(row, ports)
        yield from ((name, table) for name, table in (shape.tables.items() if shape else ()) if name in new)


def _shape(row: Attempt, ports: Ports) -> Shape | None:
    """The backup's shape; None when neither the ledger nor the store tells: then its columns are not compared."""
    kept = ports.ledger.shapes.get(row.backup_id)
    if kept is not None:
        return kept
    try:
        return shape_of(stored_manifest(row, ports.store))
    except BackupError as error:
        logger.warning("Columns are not compared with those of backup %s: %s", row.backup_id, error)
        return None
