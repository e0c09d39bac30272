"""Bring the ledger's tables to this version of the code.

Migrations are the modules in `migrations/versions`, named r0007_…, each with the revision before it. The first makes
all tables; it has the number of version 0.1, so that such a ledger is at it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from backup_pipeline.core.errors import LedgerError, UsageError
from backup_pipeline.core.ports import Clock
from backup_pipeline.lazy import lazily
from backup_pipeline.ledger import CONNECT_SECONDS, ledger_engine, ledger_errors, ledger_url, sqlstate

with lazily():
    from alembic import command
    from alembic import config as alembic_config
    from alembic import util as alembic_util


MIGRATIONS = Path(__file__).parent / "migrations"

VERSION_TABLE = "backup_ledger_version"
"""Not Alembic's default name: Dagster's storage may live in the same database and uses that one."""


def revisions() -> Sequence[str]:
    """The revisions that this version of the code knows, oldest first: the files of the migrations begin with them."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("r[0-9]*_*.py"))


def head_revision() -> str:
    """The revision this version of the code needs."""
    return revisions()[-1]


def current_revision(connection: Connection) -> str | None:
    """The revision the ledger is at; None where it has no tables yet."""
    there = connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": VERSION_TABLE}).scalar_one()
    if not there:
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608 - a constant
    return revision


_LOCK = int.from_bytes(b"ledger", "big")
_ONE_AT_A_TIME = threading.Lock()
"""Alembic's `context` is one global of the process; the advisory lock keeps processes apart, this one threads."""


def upgrade(url: str) -> None:
    """Migrate the ledger at `url` to this version, in one transaction; nothing happens when it is there already.

    Processes that start at once wait for each other. LedgerError when the database refuses, when roles are missing
    that its user may not create, or when the ledger is newer than this code.
    """
    engine = create_engine(ledger_url(url), hide_parameters=True, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with _ONE_AT_A_TIME, ledger_errors(url), engine.begin() as connection:
            if current_revision(connection) == head_revision():
                return

            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            run_migrations(connection)
    finally:
        engine.dispose()


def bring_up_to_date(url: str) -> None:
    """Migrate the ledger at `url` where an earlier version of this code made its tables.

    One without tables is left as it is: it may be the wrong database. So is one of a newer version, which the next
    `upgrade` refuses, and one whose revision this role may not read: it only looks. LedgerError as for `upgrade`.
    """
    engine = ledger_engine(url)
    try:
        with ledger_errors(url), engine.connect() as connection:
            revision = current_revision(connection) if _may_read_revision(connection) else None
    finally:
        engine.dispose()
    if revision is not None and revision < head_revision():
        upgrade(url)


def _may_read_revision(connection: Connection) -> bool:
    """Whether this role may read the revision, where there is one."""
    query = text("SELECT coalesce(has_table_privilege(to_regclass(:name), 'SELECT'), true)")
    return bool(connection.scalar(query, {"name": VERSION_TABLE}))


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


CONSOLE = "backup_pipeline_console"
"""As whom the console asks before it knows for whom; it may become each of `CONSOLE_PEOPLE`, and inherits from none."""

CONSOLE_PEOPLE = ("backup_viewer", "backup_business_admin", *PEOPLE)


def require_console_roles(connection: Connection) -> None:
    """Leave the console's roles existing; where this user may, `CONSOLE` may become each, and this user `CONSOLE`.

    LedgerError with all the statements an administrator must run, when a role is missing that the user may not make. A
    ledger whose console nobody uses needs no membership; `grants_of_console` are said to whoever lacks them.
    """
    missing = [role for role in (*CONSOLE_PEOPLE, CONSOLE) if not _exists(connection, role)]
    options = {CONSOLE: " NOINHERIT"}
    statements = "; ".join(f"CREATE ROLE {role} NOLOGIN{options.get(role, '')}" for role in missing)
    for role in missing:
        try:
            _create(connection, role, options.get(role, ""))
        except LedgerError as error:
            user = str(connection.scalar(text("SELECT current_user")))
            do = f"Let an administrator run: {statements}; {grants_of_console(user)}; then start again."
            raise LedgerError(error.what, do=do) from error
    for role in CONSOLE_PEOPLE:
        _grant_if_allowed(connection, role, CONSOLE)
    _grant_if_allowed(connection, CONSOLE, str(connection.scalar(text("SELECT current_user"))))


def grants_of_console(user: str) -> str:
    """The statements that let `user` serve the console."""
    quoted = user.replace('"', '""')
    return f'GRANT {", ".join(CONSOLE_PEOPLE)} TO {CONSOLE}; GRANT {CONSOLE} TO "{quoted}"'


_CONSOLE_READS = ("users", "console_sessions", "one_time_links", "system_settings")
"""Tables without which nobody can sign in."""


def console_gaps(connection: Connection) -> tuple[str, ...]:
    """The statements that an administrator must run before anybody can use the console; none where all is there."""
    missing = [role for role in (*CONSOLE_PEOPLE, CONSOLE) if not _exists(connection, role)]
    options = {CONSOLE: " NOINHERIT"}
    created = [f"CREATE ROLE {role} NOLOGIN{options.get(role, '')}" for role in missing]
    user = str(connection.scalar(text("SELECT current_user")))
    wanted = [*((CONSOLE, role) for role in CONSOLE_PEOPLE), (user, CONSOLE)]
    there = [pair for pair in wanted if not {*pair} & {*missing} and _may_become(connection, *pair)]
    if len(there) < len(wanted):
        return (*created, *grants_of_console(user).split("; "))
    reads = text("SELECT coalesce(has_table_privilege(:role, to_regclass(:name), 'SELECT'), true)")
    unread = [name for name in _CONSOLE_READS if not connection.scalar(reads, {"role": CONSOLE, "name": name})]
    return tuple(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {CONSOLE}" for name in unread)


def _may_become(connection: Connection, member: str, role: str) -> bool:
    # Since 16 a member may be one that may only give the role away.
    privilege = "SET" if (connection.dialect.server_version_info or (0,)) >= (16,) else "MEMBER"
    there = text(f"SELECT pg_has_role(:member, :role, '{privilege}')")
    return bool(connection.scalar(there, {"member": member, "role": role}))


def _grant_if_allowed(connection: Connection, role: str, member: str) -> None:
    if _may_become(connection, member, role):
        return
    with suppress(DBAPIError), connection.begin_nested():
        connection.exec_driver_sql(f"GRANT {_quoted(connection, role)} TO {_quoted(connection, member)}")


def _exists(connection: Connection, role: str) -> bool:
    query = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(connection.scalar(query, {"role": role}))


def _create(connection: Connection, role: str, options: str = "") -> None:
    statement = f"CREATE ROLE {_quoted(connection, role)} NOLOGIN{options}"
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


_WRITTEN = ("backup_logs", "backup_audit")


@dataclass(frozen=True)
class LedgerFacts:
    """The ledger's revision and the one this version needs, what it may not write, its time and ours around it.

    `console` are the statements that an administrator must run before anybody can use the console.
    """

    revision: str | None
    wanted: str
    readonly: tuple[str, ...]
    before: datetime
    now: datetime
    after: datetime
    console: tuple[str, ...] = ()


def examine_ledger(url: str, clock: Clock) -> LedgerFacts:
    """What is to be known of the ledger at `url`; only read. LedgerError when it can not be."""
    engine = ledger_engine(url)
    try:
        with ledger_errors(url), engine.connect() as connection:
            before = clock()
            now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            after = clock()
            revision, readonly = current_revision(connection), _readonly(connection)
            gaps = console_gaps(connection) if revision == head_revision() else ()
            return LedgerFacts(revision, head_revision(), readonly, before, now, after, gaps)
    finally:
        engine.dispose()


def _readonly(connection: Connection) -> tuple[str, ...]:
    """The tables that this role may not add rows to; one that is not there is none."""
    privilege = text("SELECT coalesce(has_table_privilege(to_regclass(:name), 'INSERT'), true)")
    return tuple(name for name in _WRITTEN if not connection.execute(privilege, {"name": name}).scalar_one())


def run_migrations(connection: Connection, *, back_to: str | None = None) -> None:
    """Migrate up to the newest revision, or back to one; LedgerError when the ledger is at one that is not known."""
    config = alembic_config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        if back_to is None:
            command.upgrade(config, "head")
        else:
            command.downgrade(config, back_to)
    except alembic_util.CommandError as error:
        revision = current_revision(connection)
        message = f"The ledger is at revision {revision}, which this version of the code does not know."
        newer = "Install the newer version of backup-pipeline that migrated it."
        older = "It is older than version 0.1: name a new database, and fill it with backup-pipeline rebuild."
        raise LedgerError(message, do=older if revision and revision < head_revision() else newer) from error


@dataclass(frozen=True)
class Migrated:
    """The revisions of the ledger before and after a migration, and what went with it: tables, with their rows."""

    before: str | None
    after: str
    dropped: Mapping[str, int]


def migrate_back(url: str, revision: str, *, confirm: bool) -> Migrated:
    """Bring the ledger at `url` back to an earlier `revision`; without `confirm` it is tried, and nothing stays of it.

    One transaction in which nobody else writes the ledger. UsageError for a revision that is none of this code, or not
    an earlier one; LedgerError when the database refuses, or somebody works in it.
    """
    engine = create_engine(ledger_url(url), hide_parameters=True, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with _ONE_AT_A_TIME, ledger_errors(url), engine.connect() as connection, connection.begin() as transaction:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            before = current_revision(connection)
            _check_earlier(revision, before)
            tables = _row_counts(connection)
            run_migrations(connection, back_to=revision)
            left = _row_counts(connection)
            if not confirm:
                transaction.rollback()
            gone = {name: rows for name, rows in tables.items() if name not in left}
            return Migrated(before, revision, gone)
    finally:
        engine.dispose()


def _check_earlier(revision: str, now: str | None) -> None:
    if revision not in revisions():
        message = f"There is no revision {revision} of the ledger."
        raise UsageError(message, do=f"This version knows {', '.join(revisions())}.")
    if now is None or revision >= now:
        message = f"The ledger is at {now or 'no revision'}: {revision} is none before that."
        raise UsageError(message, do="Any command that looks into the ledger brings it forward by itself.")


def _row_counts(connection: Connection) -> Mapping[str, int]:
    """The rows of each ordinary or partitioned table beside the revision's own; a partition counts with its table."""
    query = text(
        "SELECT relname, format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = current_schema() AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"
    )
    named = [(name, path) for name, path in connection.execute(query) if name != VERSION_TABLE]
    return {name: connection.execute(text(f"SELECT count(*) FROM {path}")).scalar_one() for name, path in named}  # noqa: S608 - quoted by the server
