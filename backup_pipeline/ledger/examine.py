"""The ledger as a doctor sees it: does it answer, are its tables of this version, may it be written, its clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from backup_pipeline.core.ports import Clock
from backup_pipeline.ledger.connect import ledger_engine
from backup_pipeline.ledger.failures import told_as_ledger_errors
from backup_pipeline.ledger.revision import current_revision, head_revision

_WRITTEN = ("backup_logs", "backup_audit")


@dataclass(frozen=True)
class LedgerFacts:
    """The ledger's revision and the one this version needs, what it may not write, its time and ours around it."""

    revision: str | None
    wanted: str
    readonly: tuple[str, ...]
    asked: datetime
    now: datetime
    answered: datetime


def examine_ledger(url: str, clock: Clock) -> LedgerFacts:
    """What is to be known of the ledger at `url`; only read. LedgerError when it can not be."""
    engine = ledger_engine(url)
    try:
        with told_as_ledger_errors(url), engine.connect() as connection:
            asked = clock()
            now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            answered = clock()
            found, readonly = current_revision(connection), _readonly(connection)
            return LedgerFacts(found, head_revision(), readonly, asked, now, answered)
    finally:
        engine.dispose()


def _readonly(connection: Connection) -> tuple[str, ...]:
    """The tables that this role may not add rows to; one that is not there is none."""
    asked = text("SELECT coalesce(has_table_privilege(to_regclass(:name), 'INSERT'), true)")
    return tuple(name for name in _WRITTEN if not connection.execute(asked, {"name": name}).scalar_one())
