"""Render: a backup as one workbook, one CSV or one JSON file on this machine, made from the bundle in the store."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.ports import Formats, Store
from backup_pipeline.core.progress import Progress, StageStarted
from backup_pipeline.core.rendering import Rendering
from backup_pipeline.operations.browse import bundle_place, stored_manifest
from backup_pipeline.operations.download import Witness
from backup_pipeline.operations.local_file import Destination
from backup_pipeline.operations.ranges import Ranges


def render_backup(
    attempt: Attempt,
    kind: Rendering,
    to: Destination,
    *,
    store: Store,
    formats: Formats,
    witness: Witness,
    progress: Progress,
) -> Path:
    """The backup of `attempt` in the form `kind` as a file at `to`, in a folder called as the bundle; its path.

    The bundle is read by ranges, only the members that `kind` is made of, each compared with its SHA-256. The file
    appears when it is whole; until then, and after any error, there is nothing. Only its owner may read it.
    RefusedError when a file is there already, unless forced; NotFoundError when there is no bundle; VerificationError
    when it is damaged; DiskFullError.
    """
    manifest = stored_manifest(attempt, store)
    name = kind.file_name(manifest.bundle.name)
    path = to.path(name)
    key = bundle_place(attempt).bundle(manifest.bundle.name)
    with to.appearing(path) as file:
        size = _size(store, key, manifest)
        # The audit comes before the bytes, and names the deed as `download` does: data left the store.
        witness.note("download", attempt, file_name=name, rendering=str(kind))
        progress.tell(StageStarted("render", size))
        bundle = formats.open_bundle(Ranges(store, key, size, progress).read, size)
        formats.render(kind, manifest, bundle, file)
    return path


def _size(store: Store, key: str, manifest: StoredManifest) -> int:
    """The bundle's size in the store, which must be the manifest's: a range past its end would be asked for else."""
    stored = store.head(key)
    if stored is None:
        message = f"{store.url}/{key} is missing."
        raise NotFoundError(message, do="Use another backup; `backup-pipeline list` shows those that are there.")
    if stored.size != manifest.bundle.bytes:
        message = f"{store.url}/{key} is damaged: {stored.size:,} bytes, the manifest says {manifest.bundle.bytes:,}."
        raise VerificationError(message, do="Use another backup; `backup-pipeline verify` says what is damaged.")
    return stored.size
