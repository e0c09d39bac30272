"""Before a backup is removed, the one that stays in its place is looked at in the store: there, whole, and unchanged.

The ledger says what a backup was when somebody looked last. What was lost, cut off or exchanged since, only the store
can tell; a prune that trusts the ledger removes the only good backup there is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Store
from backup_pipeline.core.progress import Silence
from backup_pipeline.core.prune_facts import Folder
from backup_pipeline.core.retention_rules import PARTITIONS_ONLY
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.open_backup import check_bytes, open_unread
from backup_pipeline.operations.publish import load_partition


@dataclass(frozen=True)
class Proofs:
    """What the store shows of backups, each looked at once: why it is not proven, empty where it is."""

    store: Store
    _read: dict[str, str] = field(default_factory=dict)
    _hashed: dict[str, str] = field(default_factory=dict)

    def present(self, row: Attempt) -> str:
        """Why manifest and bundle, or the records of partitions, are not there as the ledger knows them."""
        if row.backup_id not in self._read:
            self._read[row.backup_id] = _problem(_look, row, self.store)
        return self._read[row.backup_id]

    def whole(self, row: Attempt) -> str:
        """As `present`, with every byte read and hashed."""
        if row.backup_id not in self._hashed:
            self._hashed[row.backup_id] = self.present(row) or _problem(_hash, row, self.store)
        return self._hashed[row.backup_id]


def lost_at_a_glance(rows: Sequence[Attempt], folders: Mapping[str, Folder]) -> Iterator[tuple[str, str]]:
    """The good backups that a listing of the store shows to be none any more, with what is wrong.

    Those without a manifest are told elsewhere.
    """
    for row in rows:
        folder = folders.get(row.backup_id)
        if row.kind == PARTITIONS_ONLY or not row.status.good or folder is None or not row.file_path:
            continue
        size = next((found.size for found in folder.objects if found.key == row.file_path), None)
        if size is None:
            yield row.backup_id, "its bundle is not in the store"
        elif size != row.file_size_bytes:
            yield row.backup_id, f"its bundle has {size:,} bytes in the store, the ledger says {row.file_size_bytes:,}"


def _problem(look: Callable[[Attempt, Store], None], row: Attempt, store: Store) -> str:
    try:
        look(row, store)
    except (NotFoundError, VerificationError) as error:
        return error.what.rstrip(".")
    return ""


def _look(row: Attempt, store: Store) -> None:
    if row.kind != PARTITIONS_ONLY:
        open_unread(row, place_of(row), store)
        return
    for table in row.tables_wanted:
        load_partition(PartitionPlace(row.catalog, table, row.partition_date), store)


def _hash(row: Attempt, store: Store) -> None:
    if row.kind != PARTITIONS_ONLY:
        check_bytes(open_unread(row, place_of(row), store), store, Silence())
        return
    for table in row.tables_wanted:
        place = PartitionPlace(row.catalog, table, row.partition_date)
        for file in (file.stored for file in load_partition(place, store).table.files):
            seen = hashlib.sha256()
            for chunk in store.stream(place.file(file.name)):
                seen.update(chunk)
            if seen.hexdigest() != file.sha256:
                message = (
                    f"{store.url}/{place.file(file.name)} is damaged: its SHA-256 is not the one that was written."
                )
                raise VerificationError(message)
