"""Orphans: running rows whose process is gone. The store decides what they are: a backup, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from backup_pipeline.core.errors import BackupError, NotFoundError, StoreError, VerificationError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.statuses import Status
from backup_pipeline.core.verification import Level
from backup_pipeline.operations.anomalies import act_on_anomalies, unusual, unusual_by_shape
from backup_pipeline.operations.attempts import end_failed
from backup_pipeline.operations.back_up import success, success_by_outline
from backup_pipeline.operations.open_backup import Document, read_document
from backup_pipeline.operations.signals import tell_success

logger = logging.getLogger(__name__)


def close_orphans(ports: Ports, is_dead: Callable[[Attempt], bool]) -> Sequence[Attempt]:
    """End every running row whose owner is dead; those that were closed.

    A process that died after its manifest was in the store has made a backup, and its row becomes `success`: the
    manifest comes last, after the bundle was checked. Any other becomes `failed`, and people are alerted; so does one
    whose bundle is not the one that the run had noted before its manifest.
    """
    closed = []
    for attempt in ports.ledger.list(status=[Status.RUNNING]):
        if not is_dead(attempt):
            continue
        try:
            if not _finished(attempt, ports):
                end_failed(attempt, _death(), ports)
        except StoreError as error:
            logger.warning(
                "Backup %s is not closed yet, the store can not say what it is: %s", attempt.backup_id, error
            )
            continue
        closed.append(attempt)
    return closed


def _finished(attempt: Attempt, ports: Ports) -> bool:
    place = BackupPlace(attempt.catalog, attempt.partition_date, attempt.backup_id)
    try:
        document = read_document(place, ports.store)
        found = document.manifest
        stored = ports.store.head(place.bundle(found.bundle.name))
    except (NotFoundError, VerificationError):
        return False
    shape = ports.ledger.shapes.get(attempt.backup_id)
    other = shape is not None and shape.bundle_sha256 not in {None, found.bundle.sha256}
    if stored is None or stored.size != found.bundle.bytes or other:
        return False
    if isinstance(found, StoredManifest):
        act_on_anomalies(unusual(found), ports)
        ports.ledger.end(attempt.backup_id, success(Document(document.data, found), ports, Level.PRESENT))
    else:
        if shape is not None:
            act_on_anomalies(unusual_by_shape(found, shape), ports)
        ports.ledger.end(
            attempt.backup_id, success_by_outline(Document(document.data, found), place, ports.clock(), shape)
        )
    tell_success(attempt, ports)
    return True


def _death() -> BackupError:
    return BackupError(
        "The process that ran this backup ended without a word (killed, out of memory, or the machine went down).",
        do="Run the backup again; nothing it left behind counts as a backup.",
    )
