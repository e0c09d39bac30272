"""Which revision a ledger is at, and which one this code needs: found without Alembic, which takes long to load."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parent / "migrations"

VERSION_TABLE = "backup_ledger_version"
"""Not Alembic's default name: Dagster's storage may live in the same database and uses that one."""


def head_revision() -> str:
    """The revision this version of the code needs: the files of the migrations begin with theirs, in order."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("r[0-9]*_*.py"))


def current_revision(connection: Connection) -> str | None:
    """The revision the ledger is at; None where it has no tables yet."""
    there = connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": VERSION_TABLE}).scalar_one()
    if not there:
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608 - a constant
    return found
