"""The database roles that may see the ledger: made when they are missing and this may be done, asked for otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger.failures import sqlstate

WRITER = "backup_pipeline_writer"
PEOPLE = ("admin", "super_admin")

_FORBIDDEN = "42501"
_MADE_MEANWHILE = {"42710", "23505"}
"""Roles belong to the cluster, and the ledgers of two databases may be migrated at the same moment."""


def require_roles(connection: Connection, *, writer: str = WRITER, people: Sequence[str] = PEOPLE) -> None:
    """Leave `writer` and `people` existing, and the current user a member of `writer`, inside its transaction.

    LedgerError with the statements an administrator must run, when the current user may not.
    """
    for role in (*people, writer):
        if not _exists(connection, role):
            _create(connection, role)
    if not _is_member(connection, writer):
        _join(connection, writer)


def _exists(connection: Connection, role: str) -> bool:
    query = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(connection.scalar(query, {"role": role}))


def _create(connection: Connection, role: str) -> None:
    statement = f"CREATE ROLE {_quoted(connection, role)} NOLOGIN"
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if sqlstate(error) == _FORBIDDEN:
            raise _ask(connection, f"The ledger needs the database role {role}", statement) from error
        if sqlstate(error) not in _MADE_MEANWHILE:
            raise


def _is_member(connection: Connection, role: str) -> bool:
    # USAGE, not MEMBER: a policy counts only for roles whose privileges are inherited.
    return bool(connection.scalar(text("SELECT pg_has_role(current_user, :role, 'USAGE')"), {"role": role}))


def _join(connection: Connection, role: str) -> None:
    user = _quoted(connection, str(connection.scalar(text("SELECT current_user"))))
    statement = f"GRANT {_quoted(connection, role)} TO {user}"
    cause: DBAPIError | None = None
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        cause = error
    if not _is_member(connection, role):
        raise _ask(connection, f"The ledger's owner must inherit from the role {role}", statement) from cause


def _ask(connection: Connection, need: str, statement: str) -> LedgerError:
    user = connection.scalar(text("SELECT current_user"))
    return LedgerError(
        f"{need}, and {user} may not arrange that.", do=f"Let an administrator run: {statement}; then start again."
    )


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
