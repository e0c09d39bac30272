"""Render: a backup as one workbook, one CSV or one JSON file on this machine, made from the bundle in the store."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Formats, Store
from backup_pipeline.core.progress import Progress, StageStarted
from backup_pipeline.core.rendering import Rendering
from backup_pipeline.operations.browse import opened_backup
from backup_pipeline.operations.download import Witness
from backup_pipeline.operations.local_file import Destination
from backup_pipeline.operations.open_backup import check_unpinned
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
    when it is damaged, or ledger and manifest contradict each other; DiskFullError.
    """
    opened = opened_backup(attempt, store)
    size = opened.bundle.bytes
    name = kind.file_name(opened.bundle.name)
    path = to.path(name)
    with to.appearing(path) as file:
        # The audit comes before the bytes, and names the deed as `download` does: data left the store.
        witness.note("download", attempt, file_name=name, rendering=str(kind))
        check_unpinned(opened, store, formats, progress)
        progress.tell(StageStarted("render", size))
        bundle = formats.open_bundle(Ranges(store, opened.key, size, progress).read, size)
        formats.render(kind, opened.manifest, bundle, file)
    return path
