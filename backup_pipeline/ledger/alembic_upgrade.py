"""Run the migrations with Alembic, on a connection that is open.

There is no alembic.ini, and Alembic's logging configuration is never read: the process that embeds us owns the root
logger.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger.revision import MIGRATIONS, current_revision


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
        raise LedgerError(message, do="Install the newer version of backup-pipeline that migrated it.") from error
