"""Where a manifest, the one inside its bundle, and the ledger's row contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import Manifest, StoredManifest
from backup_pipeline.core.manifest.outline import Outline

DISTRUST = (
    "Do not use it: somebody changed the store, or put another backup's files there. Take another backup, or its copy "
    "(`--store second`), and see who can write to the store; `backup-pipeline verify ID` tells all that differs."
)
"""What to do about a backup whose parts contradict each other."""


def disagreements(row: Attempt, found: StoredManifest | Outline, sha256: str, seal_key: str | None) -> tuple[str, ...]:
    """What the manifest `found`, which lies in the store with that SHA-256 and seal, says otherwise than the row.

    What the row does not know is not compared: one of an attempt that runs knows nothing yet. That the manifest is of
    this backup at all, its place says.
    """
    differing = [f"{name}: the manifest says {theirs}, the ledger {ours}" for name, ours, theirs in _pairs(row, found)]
    if row.manifest_sha256 not in {None, sha256}:
        differing.append(f"manifest.json has the SHA-256 {sha256}, the ledger says {row.manifest_sha256}")
    if row.seal_key not in {None, seal_key}:
        now = f"is sealed with key {seal_key}" if seal_key else "has no seal"
        differing.append(f"manifest.json {now}, the ledger says that it is sealed with key {row.seal_key}")
    return tuple(differing)


def is_pinned(row: Attempt, sha256: str) -> bool:
    """Whether the row vouches for every byte of the manifest, and so for every file that the manifest names."""
    return row.manifest_sha256 == sha256


def inner_disagreement(inner: Manifest, outer: StoredManifest) -> str | None:
    """What the manifest inside a bundle says otherwise than the one beside it, or None."""
    beside = Manifest.model_validate(outer.model_dump(exclude={"bundle"}))
    if inner == beside:
        return None
    differ = [name for name in Manifest.model_fields if getattr(inner, name) != getattr(beside, name)]
    return f"differs from the manifest beside the bundle in: {', '.join(differ)}."


def _pairs(row: Attempt, found: StoredManifest | Outline) -> Iterator[tuple[str, object, object]]:
    """Whatever both know and do not say alike: name, the row's, the manifest's."""
    whole = found if isinstance(found, StoredManifest) else None
    taken_at = found.snapshot.taken_at if isinstance(found, StoredManifest) else found.snapshot_at
    pairs: dict[str, tuple[object, object]] = {
        "kind": (row.kind, found.kind),
        "snapshot": (row.snapshot_at, taken_at),
        "bundle": (row.file_name, found.bundle.name),
        "bundle's bytes": (row.file_size_bytes, found.bundle.bytes),
        "bundle's SHA-256": (row.sha256, found.bundle.sha256),
        "rows": (row.record_count, whole.totals.rows if whole else None),
    }
    for name, (ours, theirs) in pairs.items():
        if None not in {ours, theirs} and ours != theirs:
            yield name, ours, theirs
