"""Read: the rows of one partition as they were exported, for notebooks and scripts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from backup_pipeline.core.errors import BackupError, LockedError, NotFoundError, UsageError, VerificationError
from backup_pipeline.core.keys import recipients_of
from backup_pipeline.core.layout import PARTITION_NAME, PartitionPlace, tables_prefix
from backup_pipeline.core.manifest import FileEntry, PartitionRecord
from backup_pipeline.core.names import bounded, table_folder
from backup_pipeline.core.ports import Clock, Formats, Store
from backup_pipeline.core.scope import parse_scope
from backup_pipeline.operations.browse import load_partition

if TYPE_CHECKING:
    import pyarrow as pa

_AHEAD = timedelta(hours=14)
"""How far the earliest timezone is ahead of UTC: no snapshot of now has a later date."""
_LOOKED_AT = 100_000
"""Objects that are listed to say which catalogs a store has, where the one that is wanted is not there."""
_DATES, _NAMES = 10, 100
"""So many are told where something is not there."""
_RECORD = re.compile(rf"(?P<table>[^/]+)/backup_date=(?P<day>\d{{4}}-\d\d-\d\d)/{re.escape(PARTITION_NAME)}", re.ASCII)


@dataclass(frozen=True)
class ReadRequest:
    """Which table of which catalog, and of which date: None is the newest that is not in the future.

    UsageError for a name that can be none.
    """

    catalog: str
    table: str
    day: date | None = None

    def __post_init__(self) -> None:
        for check, name in ((parse_scope, self.catalog), (table_folder, self.table)):
            try:
                check(name)
            except ValueError as error:
                message = f"{error}."
                raise UsageError(message, do="Name catalog and table as the catalog does.") from None


def read_partition(request: ReadRequest, *, store: Store, formats: Formats, clock: Clock) -> pa.Table:
    """The rows of the partition, every file compared with the record's SHA-256 before any row is given back.

    In the columns and Arrow types that the record says. The schema's metadata say what it is: `catalog`, `table`,
    `partition_date`, `snapshot_at`, `backup_id`, beside those of the Parquet files (docs/format.md).
    NotFoundError, with what there is, for an unknown catalog, table or date; VerificationError for a file that is not
    the one that was written, or a record whose seal is wrong; DecryptError when no key here opens it; LockedError when
    a backup replaced the partition meanwhile. What a file takes in memory is what it has in bytes, decrypted, and its
    rows.
    """
    place, record = stored_partition(request, store=store, clock=clock)
    with replacing_explained(place, record, store):
        files = ((file, b"".join(plain_chunks(file, record, place, store, formats))) for file in parquet_files(record))
        rows = formats.rows(files, record.table, f"{store.url}/{place.prefix}")
        return rows.replace_schema_metadata({**(rows.schema.metadata or {}), **_origin(record)})


def stored_partition(request: ReadRequest, *, store: Store, clock: Clock) -> tuple[PartitionPlace, PartitionRecord]:
    """The partition that is asked for, and its record, whose seal is checked; errors as in `read_partition`."""
    place = _place(request, store, clock)
    return place, _record(place, store)


@contextmanager
def replacing_explained(place: PartitionPlace, record: PartitionRecord, store: Store) -> Iterator[None]:
    """A VerificationError comes out as a LockedError where a backup replaced the partition meanwhile."""
    try:
        yield
    except VerificationError as error:
        if not _is_replaced(record, place, store):
            raise
        message = f"Partition {place.day} of {place.table} was replaced by a newer backup while it was read."
        raise LockedError(message, do="Read it again, once that backup is done.") from error


def _origin(record: PartitionRecord) -> dict[str, str]:
    return {
        "catalog": str(record.scope),
        "table": record.table.name,
        "partition_date": record.partition_date.isoformat(),
        "snapshot_at": record.table.snapshot.taken_at.isoformat(),
        "backup_id": record.table.exported_by,
    }


def _place(request: ReadRequest, store: Store, clock: Clock) -> PartitionPlace:
    day = request.day or _newest(request, store, (clock() + _AHEAD).date())
    return PartitionPlace(parse_scope(request.catalog), request.table, day)


def _newest(request: ReadRequest, store: Store, latest: date) -> date:
    days = dates_of(request.catalog, request.table, store)
    past = [day for day in days if day <= latest]
    if past:
        return past[-1]
    if days:
        message = f"Table {request.table} has only partitions of the future in {store.url}: {_newest_of(days)}."
        raise NotFoundError(message, do="A clock was ahead when they were made: name the date that you want.")
    raise _unknown(request.catalog, request.table, store)


def dates_of(catalog: str, table: str, store: Store) -> tuple[date, ...]:
    """The dates that a table has partitions of, the oldest first; empty when it has none."""
    return tuple(sorted(day for name, day in _partitions(catalog, store, f"{table}/") if name == table))


def _partitions(catalog: str, store: Store, below: str = "") -> Iterator[tuple[str, date]]:
    prefix = tables_prefix(parse_scope(catalog))
    for stored in store.list(prefix + below):
        if match := _RECORD.fullmatch(stored.key.removeprefix(prefix)):
            try:
                yield match["table"], date.fromisoformat(match["day"])
            except ValueError:  # somebody else's folder
                continue


def _record(place: PartitionPlace, store: Store) -> PartitionRecord:
    if store.head(place.record) is not None:
        return load_partition(place, store)
    days = dates_of(str(place.scope), place.table, store)
    if not days:
        raise _unknown(str(place.scope), place.table, store)
    message = f"Table {place.table} of catalog {place.scope} has no partition of {place.day} in {store.url}."
    raise NotFoundError(message, do=f"It has those of {_newest_of(days)}.")


def _unknown(catalog: str, table: str, store: Store) -> BackupError:
    """The error of a table without any partition, with the tables or catalogs that there are."""
    tables = table_names(catalog, store)
    if tables:
        message = f"Catalog {catalog} has no partition of a table {table} in {store.url}."
        return NotFoundError(message, do=f"There are its tables {', '.join(tables[:_NAMES])}.")
    keys = (stored.key.split("/") for stored in islice(store.list(""), _LOOKED_AT))
    catalogs = sorted({parts[0] for parts in keys if parts[1:2] == ["tables"]})
    message = f"There is no partition of a table of catalog {catalog} in {store.url}."
    do = (
        f"There are those of {', '.join(catalogs[:_NAMES])}."
        if catalogs
        else "It has none at all: is it the store (BACKUP_STORE)?"
    )
    return NotFoundError(message, do=do)


def _newest_of(days: Sequence[date]) -> str:
    before = len(days) - _DATES
    return f"{', '.join(map(str, days[-_DATES:]))}{f' and {before:,} before' if before > 0 else ''}"


def table_names(catalog: str, store: Store) -> tuple[str, ...]:
    """The tables of a catalog that have partitions."""
    return tuple(sorted({name for name, _ in _partitions(catalog, store)}))


def parquet_files(record: PartitionRecord) -> Iterator[FileEntry]:
    """Those of its files that are read."""
    return (file for file in record.table.files if file.format == "parquet")


def plain_chunks(
    file: FileEntry, record: PartitionRecord, place: PartitionPlace, store: Store, formats: Formats
) -> Iterator[bytes]:
    """The plain bytes of a file; at their end VerificationError unless they, and the stored ones, are the record's."""
    key = place.file(file.stored.name)
    where = f"{store.url}/{key}"
    lies, plain = hashlib.sha256(), hashlib.sha256()
    try:
        chunks = _seen(store.stream(key), lies.update)
        if file.encrypted is not None:
            chunks = formats.decrypted(chunks, where, recipients_of(record))
        yield from _seen(bounded(chunks, file.bytes, where), plain.update)
    except NotFoundError as error:
        message = f"{where} is missing; the partition's record names it."
        raise VerificationError(message, do=_instead(place)) from error
    if (lies.hexdigest(), plain.hexdigest()) != (file.stored.sha256, file.sha256):
        message = (
            f"{where} is damaged: its SHA-256 is {lies.hexdigest()}; the partition's record says {file.stored.sha256}."
        )
        raise VerificationError(message, do=_instead(place))


def _instead(place: PartitionPlace) -> str:
    return f"Read another date, or the bundle of a backup that holds {place.table}."


def _seen(chunks: Iterable[bytes], see: Callable[[bytes], None]) -> Iterator[bytes]:
    for chunk in chunks:
        see(chunk)
        yield chunk


def _is_replaced(record: PartitionRecord, place: PartitionPlace, store: Store) -> bool:
    """Whether the record is gone, or another: a backup of the same date writes the table's files anew."""
    if store.head(place.record) is None:
        return True
    return load_partition(place, store) != record
