"""Copies for tests of the ledger and of what is decided about them."""

from __future__ import annotations

from typing import Any

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline_tests.ledger.attempts import NOON

FULL = "20261120T180000Z-full-1f3a9c2e"
SECOND = "s3://elsewhere/backups"


def a_copy(**fields: Any) -> Copy:
    """A good copy of a full backup of `isp` in the second store, verified at noon."""
    given: dict[str, Any] = {
        "backup_id": FULL,
        "scope": Scope("isp"),
        "store": SECOND,
        "status": CopyStatus.GOOD,
        "at": NOON,
        "finished_at": NOON,
        "bytes": 4711,
        "sha256": "ab" * 32,
        "verification": Verification(Level.BYTES, NOON),
    }
    return Copy(**(given | fields))
