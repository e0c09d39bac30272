"""Restore requests for tests of the ledger."""

from __future__ import annotations

from typing import Any

from backup_pipeline.core.restore.requests import RestoreRow
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON


def wish(**fields: Any) -> RestoreRow:
    """A request by rahim for a restore of `isp`."""
    given: dict[str, Any] = {
        "backup_id": "b1",
        "scope": Scope("isp"),
        "mode": "new",
        "target": "postgresql://app@db:5432/isp",
        "database": "isp",
        "actor": RAHIM,
        "created_at": NOON,
    }
    return RestoreRow(**(given | fields))
