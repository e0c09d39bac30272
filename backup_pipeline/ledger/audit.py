"""The audit in the ledger in PostgreSQL: its rows page by page, and the whole chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import RowMapping, Select, Text, cast, func, select

from backup_pipeline.core.audit import AuditEntry, AuditFilter
from backup_pipeline.ledger.access import Transaction
from backup_pipeline.ledger.tables import audit_of, backup_audit, storable

_C = backup_audit.c
_TEXTS = {
    "number": cast(_C.id, Text),
    "instant": func.to_char(func.timezone("UTC", _C.at), 'YYYY-MM-DD"T"HH24:MI:SS.US'),
    "actor": _C.actor,
    "action": _C.action,
    "backup_id": _C.backup_id,
    "detail": cast(_C.detail, Text),
    "address": _C.address,
    "session": cast(_C.session, Text),
    "request_id": _C.request_id,
}
"""What goes into a row's hash, in this order, as the trigger of the table writes it."""
_BATCH = 2_000
_LOOKED_AT = 10_000
"""Rows whose actions a filter offers: a page waits for no more, however long the audit is."""


class SqlAuditRows:
    """The port `AuditRows` over the table `backup_audit`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def page(self, wanted: AuditFilter, *, before: int | None = None, limit: int = 50) -> Sequence[AuditEntry]:
        """Rows, newest first, that are older than the row `before`."""
        query = _filtered(_rows(), wanted).order_by(_C.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_C.id < before)
        with self._transaction() as connection:
            return [_entry_of(row) for row in connection.execute(query).mappings()]

    def chain(self) -> Iterator[AuditEntry]:
        """Every row, the oldest first; a batch of them is in memory at a time."""
        last = 0
        while True:
            query = _rows().where(_C.id > last).order_by(_C.id).limit(_BATCH)
            with self._transaction() as connection:
                rows = [_entry_of(row) for row in connection.execute(query).mappings()]
            yield from rows
            if len(rows) < _BATCH:
                return
            last = rows[-1].number

    def actions(self) -> Sequence[str]:
        """What the newest rows are about, each once."""
        newest = select(_C.action).order_by(_C.id.desc()).limit(_LOOKED_AT).subquery()
        with self._transaction() as connection:
            return list(connection.scalars(select(newest.c.action).distinct().order_by(newest.c.action)))


def _rows() -> Select[*tuple[object, ...]]:
    return select(backup_audit, *(column.label(f"text_{name}") for name, column in _TEXTS.items()))


def _filtered(query: Select[*tuple[object, ...]], wanted: AuditFilter) -> Select[*tuple[object, ...]]:
    if wanted.actor:
        query = query.where(_C.actor.icontains(storable(wanted.actor), autoescape=True))
    if wanted.action:
        query = query.where(_C.action == storable(wanted.action))
    if wanted.backup_id:
        query = query.where(_C.backup_id == storable(wanted.backup_id))
    if wanted.words:
        query = query.where(cast(_C.detail, Text).icontains(storable(wanted.words), autoescape=True))
    if wanted.since is not None:
        query = query.where(_C.at >= wanted.since)
    if wanted.before is not None:
        query = query.where(_C.at < wanted.before)
    return query


def _entry_of(row: RowMapping) -> AuditEntry:
    texts = tuple(row[f"text_{name}"] for name in _TEXTS)
    return AuditEntry(row["id"], audit_of(row), texts, row["previous"], row["sha256"])
