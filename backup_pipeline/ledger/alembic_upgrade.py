"""Alembic at work: loaded only where a ledger is behind."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger.migrate import MIGRATIONS, current_revision, head_revision


def run_migrations(connection: Connection) -> None:
    """Migrate up to the newest revision; LedgerError when the ledger is at one that this code does not know."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        found = current_revision(connection)
        message = f"The ledger is at revision {found}, which this version of the code does not know."
        newer = "Install the newer version of backup-pipeline that migrated it."
        older = "It is older than version 0.1: name a new database, and fill it with backup-pipeline rebuild."
        raise LedgerError(message, do=older if found and found < head_revision() else newer) from error
