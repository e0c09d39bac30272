"""What a database error means for whoever asked the ledger: one LedgerError, without secrets, with what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backup_pipeline.core.errors import LedgerError, LedgerUnavailableError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.secrets import redact, redact_url, url_secrets

_WAITING_HELPS = ("08", "40", "53", "57P", "55P03")
"""SQLSTATE: connection, serialization and deadlock, resources, shutdown and start-up, lock not available."""

_ADVICE = {
    "42P01": (
        "Its tables are missing: the first `backup-pipeline backup` makes them, or `up`; where there were backups, "
        "`backup-pipeline rebuild --confirm` also fills them from the store."
    ),
    "42703": "Its tables are of another version: `backup-pipeline list` brings them to this one.",
    "42501": (
        "Connect as the role that migrated the ledger, or let an administrator run "
        "GRANT backup_pipeline_writer TO <the role of the URL>."
    ),
    "57014": "The ledger was too slow. Look for locks on backup_logs in pg_stat_activity.",
    "53100": "The ledger's disk is full. Make room there.",
}
_REFUSED_AT_THE_DOOR = {
    "does not exist": "Correct the user in the ledger's URL, or create the role.",
    "authentication failed": "Correct the user or the password in the ledger's URL.",
    "no password supplied": "Add the password to the ledger's URL.",
    "pg_hba.conf": "Let the server's pg_hba.conf admit this host and user.",
    "permission denied": "Let an administrator GRANT CONNECT on the ledger's database.",
    "invalid connection option": "Correct the options in the ledger's URL.",
}
"""PostgreSQL's client gives no SQLSTATE for a refused connection, only the server's words."""
_MISSING_DATABASE = re.compile(r'database "(?P<name>.*)" does not exist')
_MAKE_IT = (
    "Correct the database's name in BACKUP_LEDGER_URL. If it was lost, or is new: `backup-pipeline rebuild --confirm` "
    "makes it and fills it from the store. Where the role may not make databases, let an administrator run "
    'CREATE DATABASE "{name}" first.'
)


@contextmanager
def told_as_ledger_errors(url: str) -> Iterator[None]:
    """Raise every SQLAlchemy error inside as the LedgerError it means."""
    try:
        yield
    except SQLAlchemyError as error:
        raise ledger_error(error, url) from error


def ledger_error(error: SQLAlchemyError, url: str) -> LedgerError:
    """The LedgerError that tells `error`: LedgerUnavailableError when waiting can help."""
    state = sqlstate(error)
    words = _words(error, url)
    if state is None:
        return _not_reached(error, words, url)
    kind = LedgerUnavailableError if state.startswith(_WAITING_HELPS) else LedgerError
    advice = "Try again in a moment." if kind.transient else "Look into the log of the ledger's server."
    return kind(f"The ledger {redact_url(url)} said no: {words}", do=_ADVICE.get(state, advice))


def sqlstate(error: SQLAlchemyError) -> str | None:
    """The SQLSTATE of `error`, or None when the server did not answer with one."""
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def _not_reached(error: SQLAlchemyError, words: str, url: str) -> LedgerError:
    what = f"The ledger {redact_url(url)} can not be reached: {words}"
    if missing := _missing_database(words):
        return LedgerError(what, do=_MAKE_IT.format(name=missing))
    for sign, advice in _REFUSED_AT_THE_DOOR.items():
        if sign in words:
            return LedgerError(what, do=advice)
    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        return LedgerUnavailableError(what, do="Check that the ledger's server runs and that its URL is right.")
    return LedgerError(f"The ledger {redact_url(url)} could not be asked: {words}", do="Check what was to be written.")


def _missing_database(words: str) -> str:
    """The name of the database that the server says it has not got, else nothing."""
    found = _MISSING_DATABASE.search(words)
    return found["name"].replace('"', '""') if found else ""


def _words(error: SQLAlchemyError, url: str) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return redact(" ".join(str(cause).split()), *url_secrets(url))


def check_begins(attempt: Attempt) -> None:
    """Raise LedgerError unless `attempt` is running: every other status is earned by a move from there."""
    if attempt.status is not Status.RUNNING:
        message = f"Backup {attempt.backup_id} can not begin as {attempt.status}."
        raise LedgerError(message, do="Begin it as running, then end it.")


def already_there(backup_id: str) -> LedgerError:
    """The error for a backup id that begins twice."""
    return LedgerError(f"Backup {backup_id} is in the ledger already.", do="Begin with a new backup id.")


def not_there(backup_id: str) -> LedgerError:
    """The error for a backup id without a row."""
    return LedgerError(f"Backup {backup_id} is not in the ledger.", do="`backup-pipeline list` shows what is.")


def no_such_restore(number: int) -> LedgerError:
    """The error for the number of a restore request without a row."""
    message = f"Restore request {number} is not in the ledger."
    return LedgerError(message, do="`backup-pipeline restores` shows what is.")


def no_such_entry(number: int) -> LedgerError:
    """The error for the number of an alert that is not in the outbox."""
    message = f"Alert {number} is not in the outbox."
    return LedgerError(message, do="`backup-pipeline alerts list --all` shows what is.")
