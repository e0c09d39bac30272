"""A bundle written into the store as one object, read back, and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from backup_pipeline.core.bundle import Member
from backup_pipeline.core.errors import StoreError, VerificationError
from backup_pipeline.core.manifest import StoredBundle
from backup_pipeline.core.ports import Ports, Store
from backup_pipeline.core.progress import BytesMoved, StageStarted
from backup_pipeline.operations.ahead import ahead


def store_bundle(key: str, members: Sequence[Member], ports: Ports) -> StoredBundle:
    """Write the bundle, read it back, and compare size and SHA-256; what does not compare is removed.

    Reading the files, packing them and writing are done side by side.
    """
    sent = hashlib.sha256()
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in ports.formats.bundle(members):
            sent.update(chunk)
            size += len(chunk)
            yield chunk

    with closing(ahead(counted())) as chunks:
        stored = ports.store.keep(key, chunks)
    ports.progress.tell(StageStarted("check", size))
    problem = f"it has {stored.size} bytes of {size}" if stored.size != size else None
    problem = problem or _compare(ports.store, key, sent.hexdigest(), ports)
    if problem:
        with suppress(StoreError):
            ports.store.delete([key])
        message = f"{ports.store.url}/{key} did not come back from the store as it was written: {problem}."
        raise VerificationError(message, do="Run the bundle again; if it repeats, look at the store.")
    return StoredBundle(name=key.rpartition("/")[2], bytes=size, sha256=sent.hexdigest())


def _compare(store: Store, key: str, sha256: str, ports: Ports) -> str | None:
    """Read an object whole and compare its SHA-256: None when it is the same, else what is wrong."""
    seen = hashlib.sha256()
    for chunk in store.stream(key):
        seen.update(chunk)
        ports.progress.tell(BytesMoved(len(chunk)))
    return None if seen.hexdigest() == sha256 else f"its SHA-256 is {seen.hexdigest()}, not {sha256}"
