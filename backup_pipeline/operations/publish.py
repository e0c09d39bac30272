"""Publishing a partition: its record first goes, then its files change, then the new record comes.

A partition exists when its record does, so whatever is killed in between leaves no partition, never a mixed one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock

from backup_pipeline.core.errors import NotFoundError, StoreDeniedError, VerificationError
from backup_pipeline.core.layout import PARTITION_NAME, PartitionPlace
from backup_pipeline.core.manifest import PartitionRecord, read_partition, seal
from backup_pipeline.core.ports import Store

logger = logging.getLogger(__name__)

_told: set[str] = set()
_telling = Lock()


def publish_partition(place: PartitionPlace, partition: PartitionRecord, directory: Path, store: Store) -> None:
    """Put the partition's files from `directory` into the store, check them there, and make the partition visible.

    Its record stays in `directory` too: who bundles the files that lie there, takes nobody else's word for them.
    """
    _clear(place, store)
    for file in (file.stored for file in partition.table.files):
        stored = store.put_file(place.file(file.name), directory / file.name)
        if stored.size != file.bytes:
            message = f"{store.url}/{stored.key} has {stored.size} bytes in the store; {file.bytes} were written."
            raise VerificationError(message, do="Run the table again; if it repeats, look at the store.")
    document = seal(partition)
    (directory / PARTITION_NAME).write_bytes(document)
    store.put(place.record, [document])


def _clear(place: PartitionPlace, store: Store) -> None:
    """Delete the partition that is there, where that is allowed.

    A writer without the right to delete writes over its files instead, the record last: until then the old record
    names bytes that are not there any more, which whoever reads them notices by their SHA-256.
    """
    try:
        store.delete([place.record])
        store.delete([found.key for found in store.list(place.prefix)])
    except StoreDeniedError as error:
        _tell_once(store.url)
        logger.debug("%s", error.what)


def _tell_once(url: str) -> None:
    with _telling:
        if url not in _told:
            logger.warning("Nothing may be deleted in %s, so partitions are written over in place.", url)
            _told.add(url)


def load_partition(place: PartitionPlace, store: Store, spool: Path | None = None) -> PartitionRecord:
    """The record of a partition, from this run's own `spool` where it is there, else from the store.

    NotFoundError when the table has none for that date; VerificationError for that of another partition.
    """
    mine = spool / place.table / PARTITION_NAME if spool is not None else None
    if mine is not None and mine.is_file():
        return read_partition(mine.read_bytes(), str(mine))
    try:
        data = store.get(place.record)
    except NotFoundError as error:
        message = f"Table {place.table} has no partition for {place.day} in {store.url}."
        raise NotFoundError(message, do=f"Materialize the table {place.table} for that date.") from error
    record = read_partition(data, f"{store.url}/{place.record}")
    said = (record.catalog, record.table.name, record.partition_date)
    if said != (place.catalog, place.table, place.day):
        message = f"{store.url}/{place.record} describes another partition: {', '.join(str(part) for part in said)}."
        raise VerificationError(message, do=f"Materialize the table {place.table} again for that date.")
    return record
