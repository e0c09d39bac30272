"""The files of partitions on their way into a bundle, compared with their records as they pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from backup_pipeline.core.bundle import Member, member_paths
from backup_pipeline.core.encryption import encrypted_name, is_gzipped
from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.manifest import PartitionRecord, StoredFile
from backup_pipeline.core.ports import Ports, Store
from backup_pipeline.core.progress import BytesMoved
from backup_pipeline.operations.ahead import ahead
from backup_pipeline.operations.bundle.asked import BundleRequest


def file_members(request: BundleRequest, partitions: Sequence[PartitionRecord], ports: Ports) -> Iterator[Member]:
    """The files of the partitions, from the spool or the store, as members of the bundle."""
    for partition in partitions:
        place = request.place(partition.table.name)
        for file, path in member_paths(partition.table, partition.sheet_file):
            lies = file.stored
            yield Member(
                path=encrypted_name(path, gzipped=is_gzipped(lies.name)) if file.encrypted else path,
                modified=partition.table.snapshot.taken_at.astimezone(ZoneInfo(request.catalog.timezone)),
                chunks=ahead(_chunks(request, place, lies, ports)),
                size=lies.bytes,
                crc32=lies.crc32,
                stored=file.format == "parquet" or file.encrypted is not None,
            )


def _chunks(request: BundleRequest, place: PartitionPlace, file: StoredFile, ports: Ports) -> Iterator[bytes]:
    """The file's bytes, compared with the SHA-256 of its partition as they pass."""
    seen = hashlib.sha256()
    for chunk in _read(request, place, file, ports.store):
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
        yield chunk
    if seen.hexdigest() != file.sha256:
        message = f"{ports.store.url}/{place.file(file.name)} is damaged: its SHA-256 is not the one that was written."
        raise VerificationError(message, do=f"Materialize the table {place.table} again.")


def _read(request: BundleRequest, place: PartitionPlace, file: StoredFile, store: Store) -> Iterator[bytes]:
    spooled = request.spool / place.table / file.name if request.spool else None
    if spooled is None or not spooled.is_file() or spooled.stat().st_size != file.bytes:
        yield from store.stream(place.file(file.name))
        return
    with spooled.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk
