"""How the copies of backups are shown beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Attempt

_WITHOUT_BUNDLE = "tables"


def with_copies(attempt: Attempt, copies: Sequence[Copy]) -> Mapping[str, object]:
    """The row of a backup for JSON, with the rows of its copies."""
    return {**vars(attempt), "copies": [copy for copy in copies if copy.backup_id == attempt.backup_id]}


def shown_copies(rows: Sequence[Attempt], copies: Sequence[Copy], second: str | None) -> Mapping[str, str]:
    """A mark for each good backup that says whether it is in the store `second`; none where there is no such store."""
    if second is None:
        return {}
    known = {copy.backup_id: copy for copy in copies if copy.store == second}
    kept = [row for row in rows if row.status.good and row.kind != _WITHOUT_BUNDLE]
    return {row.backup_id: _mark(known.get(row.backup_id)) for row in kept}


def _mark(copy: Copy | None) -> str:
    if copy is None or copy.status is CopyStatus.FAILED:
        return "NOT copied"
    if copy.status is CopyStatus.GOOD:
        return "copied" if copy.good else "copy DAMAGED"
    return "copy deleted" if copy.status is CopyStatus.DELETED else "copying"
