"""What a backup is compared with: the good backups before it, and each table in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backup_pipeline.core.anomaly_kinds import SIZES
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import AnomalyEntry
from backup_pipeline.core.shape import Shape, TableShape


@dataclass(frozen=True)
class Past:
    """A table in the good backups before: its rows and bytes, newest first, and its shape in the last, `backup_id`.

    `open` are findings of that last backup whose held backup nobody has released yet. While one of them is about sizes,
    rows and bytes are those up to the held backup: what is in doubt never becomes the usual by waiting.
    """

    rows: tuple[int, ...] = ()
    bytes: tuple[int, ...] = ()
    backup_id: str | None = None
    shape: TableShape | None = None
    open: tuple[AnomalyEntry, ...] = ()


@dataclass(frozen=True)
class History:
    """The good backups before one: ledger rows, newest first, of those that hold tables.

    `tables` has, by name, the shape in the newest backup that holds it, where it is known; `full` is the shape of the
    newest full backup. `held` are the ids of those that are held.
    """

    attempts: Sequence[Attempt] = ()
    tables: Mapping[str, TableShape] = field(default_factory=dict)
    full: Shape | None = None
    held: frozenset[str] = frozenset()

    def of(self, table: str, trailing: int) -> Past:
        """The table in the newest `trailing` of them."""
        having = [attempt for attempt in self.attempts if table in attempt.table_counts]
        if not having:
            return Past()
        shape = self.tables.get(table)
        unreleased = self.open(shape.anomalies if shape else ())
        seen = self._until(having[:trailing], {one.held for one in unreleased if one.kind in SIZES})
        return Past(
            rows=tuple(attempt.table_counts[table] for attempt in seen),
            bytes=tuple(attempt.table_bytes[table] for attempt in seen if table in attempt.table_bytes),
            backup_id=having[0].backup_id,
            shape=shape,
            open=unreleased,
        )

    def open(self, findings: Sequence[AnomalyEntry]) -> tuple[AnomalyEntry, ...]:
        """Those findings whose held backup is still held."""
        return tuple(one for one in findings if one.held in self.held)

    def _until(self, attempts: Sequence[Attempt], doubted: set[str | None]) -> Sequence[Attempt]:
        """Those that are no newer than the oldest of the backups `doubted`, which show how it was."""
        moments = [attempt.created_at for attempt in self.attempts if attempt.backup_id in doubted]
        return [attempt for attempt in attempts if attempt.created_at <= min(moments)] if moments else attempts
