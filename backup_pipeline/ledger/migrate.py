"""Bring the ledger's tables to this version of the code.

Migrations are the modules in `migrations/versions`, named r0001_…, each with the revision before it.
"""

from __future__ import annotations

import threading

from sqlalchemy import create_engine

from backup_pipeline.ledger.connect import CONNECT_SECONDS, ledger_url
from backup_pipeline.ledger.failures import told_as_ledger_errors
from backup_pipeline.ledger.revision import current_revision, head_revision

_LOCK = int.from_bytes(b"ledger", "big")
_ONE_AT_A_TIME = threading.Lock()
"""Alembic's `context` is one global of the process; the advisory lock keeps processes apart, this one threads."""


def upgrade(url: str) -> None:
    """Migrate the ledger at `url` to this version, in one transaction; nothing happens when it is there already.

    Processes that start at once wait for each other. LedgerError when the database refuses, when roles are missing
    that its user may not create, or when the ledger is newer than this code.
    """
    engine = create_engine(ledger_url(url), hide_parameters=True, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with _ONE_AT_A_TIME, told_as_ledger_errors(url), engine.begin() as connection:
            if current_revision(connection) == head_revision():
                return
            from backup_pipeline.ledger.alembic_upgrade import run_migrations

            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            run_migrations(connection)
    finally:
        engine.dispose()
