"""How new the second store is, catalog by catalog, from the rows of the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.copies import CopyAge, CopyStatus, copy_age
from backup_pipeline.core.due_state import State
from backup_pipeline.core.ports import Ledger
from backup_pipeline.operations.account import look


def second_ages(catalogs: Sequence[Catalog], store: str, ledger: Ledger, now: datetime) -> Sequence[CopyAge]:
    """The newest good copy of each catalog in the store at a URL; LedgerError when the ledger can not be read.

    A catalog that waits for its first backup is promised no copy either.
    """
    return [_age(catalog, store, ledger, now) for catalog in catalogs]


def _age(catalog: Catalog, store: str, ledger: Ledger, now: datetime) -> CopyAge:
    copies = ledger.copies.list(catalog=catalog.catalog, store=store, status=CopyStatus.GOOD)
    promised = bool(copies) or look(catalog, ledger, now).state is not State.WAITING
    return copy_age(catalog, store, copies, now, promised=promised)
