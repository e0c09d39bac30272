"""Connections to the ledger: its URL, an engine with short patience, a database made at need; its errors explained."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
from pydantic_core import from_json
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backup_pipeline.core.errors import LedgerError, LedgerUnavailableError, SettingsError
from backup_pipeline.core.ledger import Attempt, Owner, Status
from backup_pipeline.core.text import is_unambiguous, redact, redact_url, url_secrets

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
def ledger_errors(url: str) -> Iterator[None]:
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
    missing = _MISSING_DATABASE.search(words)
    return missing["name"].replace('"', '""') if missing else ""


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


ANSWER_SECONDS = 45.0
"""More than the server lets a statement run: it is the first to say so, unless no word of it arrives."""

T = TypeVar("T")


class _PatientConnection(psycopg.Connection[Any]):
    """Waits for any one answer so long and no longer; then it is closed, and OperationalError."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **more: Any) -> T:
        return super().wait(_in_time(gen, ANSWER_SECONDS, self.pgconn.finish), *args, **more)


def be_patient(engine: Engine) -> Engine:
    """Let `engine` wait for an answer no longer than `ANSWER_SECONDS`."""
    event.listen(engine, "do_connect", lambda _, __, words, names: _PatientConnection.connect(*words, **names))
    return engine


def _in_time(wanted: Generator[Any, Any, T], seconds: float, give_up: Callable[[], None]) -> Generator[Any, Any, T]:
    """`wanted`, as psycopg drives it: with what the socket is ready for, or with nothing when an interval is over."""
    end = time.monotonic() + seconds
    try:
        state = next(wanted)
        while True:
            ready = yield state
            if not ready and time.monotonic() > end:
                give_up()
                message = f"no answer came within {seconds:g} s"
                raise psycopg.OperationalError(message)
            state = wanted.send(ready)
    except StopIteration as done:
        answer: T = done.value
        return answer


CONNECT_SECONDS = 5
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "30s"
# What the role or the database sets by itself must not change how values are written and read.
_VALUES = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "row_security": "on",
    "exit_on_error": "off",
}
_DRIVERS = {"postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"}
_EXAMPLE = "Write it as postgresql://user:password@host:5432/database; %-encode special characters of the password."
_DATABASE_EXISTS = {"42P04", "23505"}


def ledger_url(url: str) -> URL:
    """`url` with psycopg 3 as its driver; SettingsError when it is no URL of a PostgreSQL database."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        port = "" if isinstance(error, ArgumentError) else ": its port is not a number"
        message = f"BACKUP_LEDGER_URL is malformed{port}."
        raise SettingsError(message, do=_EXAMPLE) from None
    if parsed.drivername not in _DRIVERS:
        message = f"BACKUP_LEDGER_URL is not a PostgreSQL URL: it starts with {parsed.drivername[:40]!r}."
        raise SettingsError(message, do=_EXAMPLE)
    if not is_unambiguous(url):
        message = "BACKUP_LEDGER_URL is malformed: its password holds a character that ends it."
        raise SettingsError(message, do=_EXAMPLE)
    if not parsed.database and "service" not in parsed.query:
        message = f"BACKUP_LEDGER_URL names no database: {redact_url(url)}"
        raise SettingsError(message, do=_EXAMPLE)
    return parsed.set(drivername="postgresql+psycopg")


CONNECTIONS = 4
"""To the ledger, of a process that does one thing: a run with its heartbeat and its progress."""


def ledger_engine(url: str, *, connections: int = CONNECTIONS) -> Engine:
    """A pool of at most so many `connections` to the ledger, half of them kept. Nothing is connected yet.

    Waiting is bounded: to connect, for a free connection, for a lock, for a statement, and for a peer that is gone.
    """
    engine = create_engine(
        ledger_url(url),
        pool_size=connections - connections // 2,
        max_overflow=connections // 2,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,
        json_deserializer=from_json,  # of thousands of rows with four documents each, in a third of Python's time
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": 15_000,
            "application_name": "backup-pipeline ledger",
            "prepare_threshold": None,  # a pooler in transaction mode knows no prepared statements
        },
    )
    event.listen(engine, "begin", _apply_settings)
    return be_patient(engine)


def _apply_settings(connection: Connection) -> None:
    # Local to the transaction, because a pooler hands the session to others afterwards.
    settings = {"lock_timeout": LOCK_TIMEOUT, "statement_timeout": STATEMENT_TIMEOUT, **_VALUES}
    connection.exec_driver_sql("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items()))


def ensure_database(url: str) -> None:
    """Create the ledger's database when it is missing. Safe when two processes do so at once.

    LedgerError when the server can not be asked, or when the URL's user may not create it.
    """
    target = ledger_url(url)
    engine = be_patient(create_engine(target, connect_args={"connect_timeout": CONNECT_SECONDS}))
    try:
        with ledger_errors(url), engine.connect():
            return
    except LedgerError:
        exists = _exists(target) if target.database else None  # what a service names is known to libpq alone
        if exists is None:
            raise
    finally:
        engine.dispose()
    if not exists:  # else somebody made it meanwhile, or whoever connects next is told what is wrong
        _create_database(target, url)


def _maintenance(target: URL) -> Engine:
    engine = create_engine(
        target.set(database="postgres"),
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    return be_patient(engine)


def _exists(target: URL) -> bool | None:
    """Whether the server has the database; None when it does not say."""
    engine = _maintenance(target)
    try:
        with engine.connect() as connection:
            query = text("SELECT EXISTS (SELECT FROM pg_database WHERE datname = :name)")
            return bool(connection.scalar(query, {"name": target.database}))
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()


def _create_database(target: URL, url: str) -> None:
    engine = _maintenance(target)
    name = engine.dialect.identifier_preparer.quote_identifier(str(target.database))
    try:
        with ledger_errors(url), engine.connect() as connection:
            try:
                connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
            except DBAPIError as error:
                if sqlstate(error) == "42501":
                    message = f"The ledger's database {name} is missing, and {target.username} may not create it."
                    raise LedgerError(
                        message, do=f'Let an administrator run CREATE DATABASE {name} OWNER "{target.username}".'
                    ) from error
                if sqlstate(error) not in _DATABASE_EXISTS:
                    raise
    finally:
        engine.dispose()


_SAME_START = 1.0
"""Seconds. A pid is given out again after its process is gone; the start time tells the two apart."""


_FIRST_NAMESPACE = "pid:[4026531836]"
"""What Linux calls the process ids of the machine itself."""


def this_host() -> str:
    """What makes a process id mean something: this host's name, in a container with its own namespace of ids.

    Two containers may have one name (`hostname:` of Compose, the node's own network in Kubernetes), and see other
    processes under the same ids.
    """
    name = socket.gethostname()
    try:
        namespace, boot = _NAMESPACE.readlink().name, _BOOT.read_text("ascii")
    except OSError:
        return name
    return name if namespace == _FIRST_NAMESPACE else f"{name}/{boot[:8]}-{namespace[5:-1]}"


_NAMESPACE, _BOOT = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")


def this_owner() -> Owner:
    """This process, on this host."""
    return Owner(host=this_host(), pid=os.getpid(), started=psutil.Process().create_time())


def alive(owner: Owner) -> bool:
    """Whether `owner`, a process of this host, still runs; a zombie does not."""
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started) <= _SAME_START
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
