"""What can be unusual about a backup: the kinds of anomalies, which a catalog may expect of a table by name."""

from __future__ import annotations

from enum import StrEnum


class AnomalyKind(StrEnum):
    """What was noticed, against the earlier good backups."""

    ROWS = "rows"
    BYTES = "bytes"
    EMPTIED = "emptied"
    NEW_COLUMN = "new_column"
    VANISHED_COLUMN = "vanished_column"
    CHANGED_TYPE = "changed_type"
    DUPLICATE_KEYS = "duplicate_keys"
    ORPHANS = "orphans"
    NEW_TABLE = "new_table"
    VANISHED_TABLE = "vanished_table"


SIZES = frozenset({AnomalyKind.ROWS, AnomalyKind.BYTES, AnomalyKind.EMPTIED})
"""Those that compare how much there is."""
ADDITIONS = frozenset({AnomalyKind.NEW_COLUMN, AnomalyKind.NEW_TABLE})
"""Those by which nothing can have been lost."""
