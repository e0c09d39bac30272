"""For whom the ledger works: each transaction gets a person's role, and says who the person is."""

from __future__ import annotations

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger import sqlstate
from backup_pipeline.ledger.migrate import CONSOLE, grants_of_console

_NOT_ALLOWED = {"42501", "22023"}
"""SQLSTATE: not a member of the role; there is no such role."""


def become(connection: Connection, identity: PersonIdentity) -> None:
    """Let the rest of the transaction run as `identity`, as the policies of the ledger understand it.

    LedgerError with the statements an administrator must run, where the user of the connection may not.
    """
    settings = identity_settings(identity)
    calls = ", ".join(f"set_config('{name}', :value{number}, true)" for number, name in enumerate(settings))
    try:
        connection.execute(
            text(f"SELECT {calls}"),
            {f"value{number}": value for number, value in enumerate(settings.values())},
        )
    except DBAPIError as error:
        if sqlstate(error) not in _NOT_ALLOWED:
            raise
        user = connection.engine.url.username or "the user of BACKUP_LEDGER_URL"
        message = f"The console can not ask the ledger as {settings['role']}: {user} may not become it."
        raise LedgerError(message, do=f"Let an administrator run: {grants_of_console(user)}") from error


def identity_settings(identity: PersonIdentity) -> dict[str, str]:
    """The settings of PostgreSQL that say who asks. What is unknown is empty: a pooled connection keeps nothing."""
    user = identity.user
    switches = [name for name, on in (("run", user.may_run), ("download", user.may_download)) if on] if user else []
    return {
        "role": user.role.database_role if user else CONSOLE,
        "backup.user": str(user.number) if user else "",
        "backup.actor": str(user.actor) if user else "",
        "backup.businesses": ",".join(user.businesses) if user else "",
        "backup.switches": ",".join(switches),
        "backup.session": str(identity.session) if identity.session is not None else "",
        "backup.address": identity.address or "",
        "backup.request": identity.request_id or "",
    }
