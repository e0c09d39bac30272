"""Which revision a ledger is at, asked without the code under test."""

from __future__ import annotations

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine

from backup_pipeline.ledger import ledger_url
from backup_pipeline.ledger.migrate import MIGRATIONS, VERSION_TABLE


def current_revision(url: str) -> str | None:
    """The revision of the ledger at `url`; None before its first migration."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone() == (None,):
            return None
        found = connection.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE)))
        row = found.fetchone()
    return str(row[0]) if row else None


def alembic_script() -> ScriptDirectory:
    """The migrations as Alembic sees them."""
    return ScriptDirectory.from_config(_config())


def step(url: str, *, up_to: str = "", down_to: str = "") -> None:
    """Bring the ledger to a revision, as the code of that time left it."""
    config = _config()
    engine = create_engine(ledger_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        if up_to:
            command.upgrade(config, up_to)
        if down_to:
            command.downgrade(config, down_to)
    engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
