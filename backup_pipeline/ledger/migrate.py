"""Bring the ledger's tables to this version of the code.

Migrations are the modules in `migrations/versions`, named r0001_…, each with the revision before it; there is no
alembic.ini, and Alembic's logging configuration is never read: the process that embeds us owns the root logger.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger.connect import CONNECT_SECONDS, ledger_url
from backup_pipeline.ledger.failures import told_as_ledger_errors

VERSION_TABLE = "backup_ledger_version"
"""Not Alembic's default name: Dagster's storage may live in the same database and uses that one."""

_LOCK = int.from_bytes(b"ledger", "big")
_ONE_AT_A_TIME = threading.Lock()
"""Alembic's `context` is one global of the process; the advisory lock keeps processes apart, this one threads."""


def upgrade(url: str) -> None:
    """Migrate the ledger at `url` to this version, in one transaction; nothing happens when it is there already.

    Processes that start at once wait for each other. LedgerError when the database refuses, when roles are missing
    that its user may not create, or when the ledger is newer than this code.
    """
    config = _config()
    engine = create_engine(ledger_url(url), hide_parameters=True, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with _ONE_AT_A_TIME, told_as_ledger_errors(url), engine.begin() as connection:
            if _revision(connection) == head_revision():
                return
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            config.attributes["connection"] = connection
            _run(config, connection)
    finally:
        engine.dispose()


def head_revision() -> str:
    """The revision this version of the code needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _config() -> Config:
    config = Config()
    location = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _run(config: Config, connection: Connection) -> None:
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        message = f"The ledger is at revision {_revision(connection)}, which this version of the code does not know."
        raise LedgerError(message, do="Install the newer version of backup-pipeline that migrated it.") from error
