"""How many attempts ended how, in PostgreSQL: a trigger of `backup_logs` counts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from sqlalchemy import Connection, select

from backup_pipeline.core.statuses import Status
from backup_pipeline.ledger.tables import backup_tallies as tallies


class SqlTallies:
    """The port `Tallies` over the table `backup_tallies`; safe from any thread."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def ends(self) -> Mapping[tuple[str, Status], int]:
        """The attempts of each catalog that ended in a status."""
        with self._transaction() as connection:
            found = connection.execute(select(tallies)).mappings().all()
        return {(row["catalog"], Status(row["ended_as"])): row["attempts"] for row in found}
