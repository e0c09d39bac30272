"""The shapes of backups, in the ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from pydantic import ValidationError
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from backup_pipeline.core.shape import Shape
from backup_pipeline.ledger.rows import storable
from backup_pipeline.ledger.tables import backup_shapes


class SqlShapes:
    """The port `Shapes` over the table `backup_shapes`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def put(self, shape: Shape) -> None:
        """Keep the shape of a backup, in place of one kept before."""
        told = storable(shape.model_dump(mode="json"))
        written = insert(backup_shapes).values(backup_id=shape.backup_id, shape=told)
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=["backup_id"], set_={"shape": told}))

    def get(self, backup_id: str) -> Shape | None:
        """The shape of a backup; None where none was kept, or one that this version can not read."""
        query = select(backup_shapes.c.shape).where(backup_shapes.c.backup_id == backup_id)
        with self._transaction() as connection:
            found = connection.scalar(query)
        try:
            return Shape.model_validate(found) if found is not None else None
        except ValidationError:
            return None
