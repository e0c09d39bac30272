"""The copies of backups in other stores, in the ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.ledger.copy_rows import copy_columns, copy_of
from backup_pipeline.ledger.tables import backup_copies

_KEY = ("backup_id", "store")


class SqlCopies:
    """The port `Copies` over the table `backup_copies`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def put(self, copy: Copy) -> None:
        """Write the row of a backup in a store, in place of what it said before."""
        columns = copy_columns(copy)
        written = insert(backup_copies).values(columns)
        changed = {name: value for name, value in columns.items() if name not in _KEY}
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=list(_KEY), set_=changed))

    def get(self, backup_id: str, store: str) -> Copy | None:
        """The row of a backup in the store at a URL."""
        return next(iter(self.list(backup_id=backup_id, store=store)), None)

    def list(
        self,
        *,
        backup_id: str | None = None,
        catalog: str | None = None,
        store: str | None = None,
        status: CopyStatus | None = None,
    ) -> Sequence[Copy]:
        """Rows, the newest backup first: of one backup, catalog, store and status, or of all."""
        query = select(backup_copies).order_by(backup_copies.c.backup_id.desc(), backup_copies.c.store)
        wanted = {"backup_id": backup_id, "catalog": catalog, "store": store, "status": status}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(backup_copies.c[name] == value)
        with self._transaction() as connection:
            return [copy_of(row) for row in connection.execute(query).mappings()]
