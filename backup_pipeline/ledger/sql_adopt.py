"""A whole row of `backup_logs`, as a rebuild writes it."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import Insert, insert

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.ledger.rows import attempt_row
from backup_pipeline.ledger.tables import backup_logs


def written_whole(attempt: Attempt) -> Insert:
    """The statement that adds the row of `attempt`, or writes it in place of the one that is there."""
    values = attempt_row(attempt)
    return insert(backup_logs).values(values).on_conflict_do_update(index_elements=["backup_id"], set_=values)
