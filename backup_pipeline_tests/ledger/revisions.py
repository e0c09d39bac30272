"""Which revision a ledger is at, asked without the code under test."""

from __future__ import annotations

import psycopg
from psycopg import sql

from backup_pipeline.ledger.migrate import VERSION_TABLE


def current_revision(url: str) -> str | None:
    """The revision of the ledger at `url`; None before its first migration."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone() == (None,):
            return None
        found = connection.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE)))
        row = found.fetchone()
    return str(row[0]) if row else None
