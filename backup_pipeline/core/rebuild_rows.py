"""The row of the ledger that a manifest, or the outline of an encrypted one, makes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.outline import Outline
from backup_pipeline.core.statuses import Status
from backup_pipeline.core.verification import Level
from backup_pipeline.core.verified import passed

NOBODY = "unknown"
"""Who made a backup whose manifest no key here opens; the manifest itself says it."""
UNCOUNTED = "Its manifest is encrypted, and no key here opens it: its rows are not counted in the ledger."


def row_of(found: StoredManifest | Outline, sha256: str, key: str, now: datetime) -> Attempt:
    """The row of a backup whose manifest is `found`, of the SHA-256 `sha256`, and whose bundle lies at `key` `now`.

    Nobody knows any more how deep it was verified: it says level 0, present.
    """
    return Attempt(
        backup_id=found.backup_id,
        catalog=found.catalog,
        kind=found.kind,
        type=found.type,
        status=Status(found.status),
        partition_date=found.partition_date,
        created_at=found.started_at,
        started_at=found.started_at,
        finished_at=found.finished_at,
        late=found.late,
        run_id=found.run_id,
        consistent=found.consistent,
        file_name=found.bundle.name,
        file_path=key,
        file_size_bytes=found.bundle.bytes,
        sha256=found.bundle.sha256,
        manifest_sha256=sha256,
        verification_level=passed(Level.PRESENT, now).level,
        verified_at=now,
        **(_read(found) if isinstance(found, StoredManifest) else _sealed(found)),
    )


def _read(found: StoredManifest) -> dict[str, Any]:
    return {
        "created_by": found.created_by,
        "reason": found.reason,
        "snapshot_at": found.snapshot.taken_at,
        "record_count": found.totals.rows,
        "table_counts": {table.name: table.row_count for table in found.tables},
        "table_bytes": {table.name: table.bytes for table in found.tables},
        "warnings": found.warnings,
    }


def _sealed(found: Outline) -> dict[str, Any]:
    return {"created_by": NOBODY, "snapshot_at": found.snapshot_at, "warnings": (UNCOUNTED,)}
