"""Who may sign in, and for whom the ledger works: users, sessions, failures and links; a person's role and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Unpack

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    RowMapping,
    Text,
    Update,
    cast,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.exc import DBAPIError, IntegrityError

from backup_pipeline.core.access import (
    Credentials,
    CredentialsChange,
    NewUser,
    Role,
    SystemSetting,
    User,
    UserChange,
    changed_user,
)
from backup_pipeline.core.access.sessions import (
    FORGOTTEN_AFTER,
    Failures,
    LinkPurpose,
    OneTimeLink,
    PersonIdentity,
    Session,
)
from backup_pipeline.core.errors import LedgerError, NotFoundError, RefusedError, UsageError
from backup_pipeline.core.scope import Actor, parse_actor
from backup_pipeline.ledger import sqlstate
from backup_pipeline.ledger.api import SqlApiKeys, SqlApiUsage, SqlKeptAnswers
from backup_pipeline.ledger.console_tables import console_sessions, login_failures, system_settings, users
from backup_pipeline.ledger.console_tables import one_time_links as links
from backup_pipeline.ledger.migrate import CONSOLE, grants_of_console
from backup_pipeline.ledger.tables import actor_column, storable, utc

Transaction = Callable[[], AbstractContextManager[Connection]]

_CREDENTIALS = tuple(field.name for field in fields(Credentials))
_SESSION = tuple(field.name for field in fields(Session) if field.name not in {"number", "user"})
_SESSION_COLUMNS = [console_sessions.c[name].label(f"session_{name}") for name in _SESSION]
_FORBIDDEN = "42501"
_NOT_ALLOWED = {_FORBIDDEN, "22023"}
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


@contextmanager
def refusals_of(identity: PersonIdentity | None) -> Iterator[None]:
    """Raise what the ledger's own rights refuse a person as RefusedError: it is no fault of the installation."""
    try:
        yield
    except DBAPIError as error:
        if identity is None or not identity.in_words or sqlstate(error) != _FORBIDDEN:
            raise
        message = f"{identity.in_words} may not do that: the ledger refuses it."
        raise RefusedError(message, do="Ask a super admin whether your role should have that right.") from error


def identity_settings(identity: PersonIdentity) -> dict[str, str]:
    """The settings of PostgreSQL that say who asks. What is unknown is empty: a pooled connection keeps nothing."""
    user, rights = identity.user, identity.key
    businesses: tuple[str, ...]
    if rights is not None:
        role, actor, switches = rights.role.database_role, str(rights.key.actor), list(rights.switches)
        businesses = (rights.key.business,) if rights.key.business else ()
    else:
        switches = [name for name, on in (("run", user.may_run), ("download", user.may_download)) if on] if user else []
        role, actor = (user.role.database_role, str(user.actor)) if user else (CONSOLE, "")
        businesses = user.businesses if user else ()
    return {
        "role": role,
        "backup.user": str(user.number) if user else "",
        "backup.key": str(rights.key.number) if rights else "",
        "backup.actor": actor,
        "backup.businesses": ",".join(businesses),
        "backup.switches": ",".join(switches),
        "backup.session": str(identity.session) if identity.session is not None else "",
        "backup.address": identity.address or "",
        "backup.request": identity.request_id or "",
    }


def user_of(row: RowMapping) -> User:
    """The user that a row of `users` holds, its times in UTC."""
    return User(
        number=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        created_at=utc(row["created_at"]),
        may_run=row["may_run"],
        may_download=row["may_download"],
        businesses=tuple(row["businesses"]),
        second_factor=row["totp_at"] is not None,
        disabled_at=utc(row["disabled_at"]),
        last_login_at=utc(row["last_login_at"]),
    )


class SqlUsers:
    """The port `Users` over the table `users`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def list(self) -> Sequence[User]:
        """All, by name."""
        query = select(users).order_by(func.lower(users.c.name))
        with self._transaction() as connection:
            return [user_of(row) for row in connection.execute(query).mappings()]

    def get(self, number: int) -> User | None:
        """The user of that number."""
        return self._only(users.c.id == number)

    def named(self, name: str) -> User | None:
        """The user of that name, without case."""
        return self._only(func.lower(users.c.name) == func.lower(storable(name)))

    def of_subject(self, subject: str) -> User | None:
        """The user who is `subject` at the provider of identities."""
        return self._only(users.c.oidc_subject == storable(subject))

    def add(self, user: NewUser, actor: Actor, now: datetime) -> User:
        """Add the user; UsageError when the name is taken."""
        values = {**_columns_of(user), "name": storable(user.name), "created_at": now, **actor_column(actor)}
        with self._transaction() as connection:
            try:
                row = connection.execute(insert(users).values(values).returning(*users.c)).mappings().one()
            except IntegrityError as error:
                message = f"There is a user {user.name} already."
                raise UsageError(message, do="`backup-pipeline user list` shows who there is.") from error
        return user_of(row)

    def change(self, number: int, change: UserChange, now: datetime) -> User:
        """Write the change; RefusedError when it would leave no super_admin who can sign in."""
        active = users.c.disabled_at.is_(None) & (users.c.role == Role.SUPER_ADMIN)
        with self._transaction() as connection:
            # Locked before the row itself: whoever comes second sees what the first has written.
            supers = set(connection.scalars(select(users.c.id).where(active).order_by(users.c.id).with_for_update()))
            row = connection.execute(select(users).where(users.c.id == number).with_for_update()).mappings()
            before = row.one_or_none()
            if before is None:
                raise _no_such_user(number)
            after = changed_user(user_of(before), change, now)
            if supers <= {number} and before["id"] in supers and not _can_sign_in_as_super_admin(after):
                message = f"{after.name} is the only super admin who can sign in."
                raise RefusedError(message, do="Make somebody else a super admin first.")
            written = {**_columns_of(after), "disabled_at": after.disabled_at}
            connection.execute(update(users).where(users.c.id == number).values(written))
        return after

    def credentials(self, number: int) -> Credentials:
        """What the user proves to be somebody with."""
        with self._transaction() as connection:
            row = connection.execute(select(users).where(users.c.id == number)).mappings().one_or_none()
        if row is None:
            raise _no_such_user(number)
        values = {name: utc(row[name]) for name in _CREDENTIALS}
        return Credentials(**(values | {"recovery_codes": tuple(row["recovery_codes"])}))

    def change_credentials(self, number: int, **changed: Unpack[CredentialsChange]) -> None:
        """Write what is named."""
        self._write(number, {name: storable(value) for name, value in changed.items()})

    def use_step(self, number: int, step: int) -> bool:
        """Note that the one-time password of a step was used."""
        unused = users.c.totp_step.is_(None) | (users.c.totp_step < step)
        return self._is_changed(update(users).where(users.c.id == number, unused).values(totp_step=step))

    def use_recovery_code(self, number: int, code: str) -> bool:
        """Take a recovery code away."""
        codes = users.c.recovery_codes
        there = update(users).where(users.c.id == number, codes.has_key(code))
        return self._is_changed(there.values(recovery_codes=codes.op("-")(cast(code, Text))))

    def signed_in(self, number: int, now: datetime) -> None:
        """Note when the user last signed in."""
        self._write(number, {"last_login_at": now})

    def _only(self, condition: ColumnElement[bool]) -> User | None:
        with self._transaction() as connection:
            row = connection.execute(select(users).where(condition)).mappings().one_or_none()
        return user_of(row) if row is not None else None

    def _write(self, number: int, values: Mapping[str, object]) -> None:
        if not self._is_changed(update(users).where(users.c.id == number).values(values)):
            raise _no_such_user(number)

    def _is_changed(self, statement: Update) -> bool:
        with self._transaction() as connection:
            return connection.execute(statement).rowcount > 0


def _columns_of(user: User | NewUser) -> dict[str, object]:
    return {
        "role": user.role.value,
        "may_run": user.may_run,
        "may_download": user.may_download,
        "businesses": list(user.businesses),
    }


def _can_sign_in_as_super_admin(user: User) -> bool:
    return user.role is Role.SUPER_ADMIN and user.disabled_at is None


class SqlSessions:
    """The port `Sessions` over the table `console_sessions`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def begin(self, session: Session, token: str) -> Session:
        """Add a session under the digest of its token; with its number."""
        values = {name: storable(getattr(session, name)) for name in _SESSION}
        added = insert(console_sessions).values(**values, user_id=session.user, token_sha256=token)
        with self._transaction() as connection:
            row = connection.execute(added.returning(*console_sessions.c)).mappings().one()
        return _session_of(row)

    def of_token(self, token: str) -> tuple[Session, User] | None:
        """The session under that digest and its user."""
        both = select(console_sessions.c.id.label("session_id"), *_SESSION_COLUMNS, users)
        query = both.join(users, users.c.id == console_sessions.c.user_id)
        with self._transaction() as connection:
            row = connection.execute(query.where(console_sessions.c.token_sha256 == token)).mappings().one_or_none()
        if row is None:
            return None
        values = {name: utc(row[f"session_{name}"]) for name in _SESSION}
        return Session(number=row["session_id"], user=row["id"], **values), user_of(row)

    def seen(self, number: int, now: datetime) -> None:
        """Note that it is used."""
        self._changed(update(console_sessions).where(console_sessions.c.id == number).values(seen_at=now))

    def renew(self, number: int, token: str, now: datetime, factors: str) -> None:
        """Note that the password was given again, and keep the session under another token."""
        own = update(console_sessions).where(console_sessions.c.id == number)
        self._changed(own.values(token_sha256=token, seen_at=now, password_at=now, factors=factors))

    def list(self, user: int | None = None) -> Sequence[Session]:
        """Those that were not ended, newest first."""
        query = select(console_sessions).where(console_sessions.c.ended_at.is_(None))
        if user is not None:
            query = query.where(console_sessions.c.user_id == user)
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(console_sessions.c.id.desc())).mappings()
            return [_session_of(row) for row in rows]

    def end(self, why: str, now: datetime, *, number: int | None = None, user: int | None = None) -> int:
        """End one session, or all of a user, or that one if it is that user's; how many ended."""
        ended = update(console_sessions).where(console_sessions.c.ended_at.is_(None))
        if number is not None:
            ended = ended.where(console_sessions.c.id == number)
        if user is not None:
            ended = ended.where(console_sessions.c.user_id == user)
        if number is None and user is None:
            return 0
        return self._changed(ended.values(ended_at=now, ended_why=storable(why)))

    def forget(self, before: datetime) -> int:
        """Remove those that were over before."""
        over = func.coalesce(console_sessions.c.ended_at, console_sessions.c.expires_at)
        return self._changed(delete(console_sessions).where(over < before))

    def _changed(self, statement: Update | Delete) -> int:
        with self._transaction() as connection:
            return connection.execute(statement).rowcount


def _session_of(row: RowMapping) -> Session:
    return Session(number=row["id"], user=row["user_id"], **{name: utc(row[name]) for name in _SESSION})


class SqlTries:
    """The port `Tries` over the table `login_failures`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def begin(self, account: str, now: datetime, *, besides: str | None = None) -> datetime | None:
        """Count a try for the account as failed, or say until when it, or the address `besides`, has to wait."""
        with self._transaction() as connection:
            own = _failures_of(connection, account, now)
            other = _failures_of(connection, besides, now) if besides is not None else None
            waits = [until for known in (own, other) if known and (until := known.wait_until(now)) is not None]
            if not waits:
                _count(connection, own, now)
        return max(waits, default=None)

    def failed(self, address: str, now: datetime) -> None:
        """Count a try from the address that went wrong."""
        with self._transaction() as connection:
            _count(connection, _failures_of(connection, address, now), now)

    def succeeded(self, account: str) -> None:
        """The account has no failures any more."""
        with self._transaction() as connection:
            connection.execute(delete(login_failures).where(login_failures.c.key == account))

    def forget(self, before: datetime) -> int:
        """Remove those of before, which count no more."""
        with self._transaction() as connection:
            return connection.execute(delete(login_failures).where(login_failures.c.last_at < before)).rowcount


def _count(connection: Connection, known: Failures, now: datetime) -> None:
    failures = 1 if now >= known.last_at + FORGOTTEN_AFTER else known.failures + 1
    own = update(login_failures).where(login_failures.c.key == known.key)
    connection.execute(own.values(failures=failures, last_at=now))


def _failures_of(connection: Connection, key: str, now: datetime) -> Failures:
    """The row of a key, made where there is none, and locked."""
    empty = insert_or_skip(login_failures).values(key=storable(key), failures=0, last_at=now)
    connection.execute(empty.on_conflict_do_nothing())
    locked = select(login_failures).where(login_failures.c.key == storable(key)).with_for_update()
    row = connection.execute(locked).mappings().one()
    return Failures(row["key"], row["failures"], utc(row["last_at"]))


class SqlLinks:
    """The port `Links` over the table `one_time_links`; safe from any thread."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, link: OneTimeLink, token: str, actor: Actor) -> OneTimeLink:
        """Keep a link under the digest of its token; those of the same purpose and user end."""
        values = {
            "token_sha256": token,
            "purpose": link.purpose.value,
            "user_id": link.user,
            "created_at": link.created_at,
            "expires_at": link.expires_at,
            **actor_column(actor),
        }
        same = (links.c.purpose == link.purpose.value, links.c.user_id.is_not_distinct_from(link.user))
        with self._transaction() as connection:
            earlier = update(links).where(*same, links.c.used_at.is_(None), links.c.expires_at > link.created_at)
            connection.execute(earlier.values(expires_at=link.created_at))
            row = connection.execute(insert(links).values(values).returning(*links.c)).mappings().one()
        return _link_of(row)

    def of_token(self, token: str) -> OneTimeLink | None:
        """The link under that digest."""
        with self._transaction() as connection:
            row = connection.execute(select(links).where(links.c.token_sha256 == token)).mappings().one_or_none()
        return _link_of(row) if row is not None else None

    def use(self, number: int, now: datetime) -> bool:
        """Note that it was used; False when it was before, or is too old."""
        works = (links.c.id == number, links.c.used_at.is_(None), links.c.expires_at > now)
        with self._transaction() as connection:
            return connection.execute(update(links).where(*works).values(used_at=now)).rowcount > 0


def _link_of(row: RowMapping) -> OneTimeLink:
    return OneTimeLink(
        number=row["id"],
        purpose=LinkPurpose(row["purpose"]),
        user=row["user_id"],
        created_at=utc(row["created_at"]),
        expires_at=utc(row["expires_at"]),
        used_at=utc(row["used_at"]),
    )


class SqlAccess:
    """The port `Access`; `transaction` begins one on the ledger, and raises every error as a LedgerError."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.users = SqlUsers(transaction)
        self.sessions = SqlSessions(transaction)
        self.tries = SqlTries(transaction)
        self.links = SqlLinks(transaction)
        self.keys = SqlApiKeys(transaction)
        self.usage = SqlApiUsage(transaction)
        self.answers = SqlKeptAnswers(transaction)

    def setting(self, key: str) -> object:
        """A setting of the system, as JSON; None where there is none."""
        with self._transaction() as connection:
            value: object = connection.scalar(select(system_settings.c.value).where(system_settings.c.key == key))
        return value

    def settings(self) -> Sequence[SystemSetting]:
        """Every setting of the system that somebody has written, by key."""
        with self._transaction() as connection:
            rows = connection.execute(select(system_settings).order_by(system_settings.c.key)).mappings().all()
        return [
            SystemSetting(row["key"], row["value"], utc(row["updated_at"]), parse_actor(row["actor"])) for row in rows
        ]

    def set_setting(self, key: str, value: object, actor: Actor, now: datetime) -> None:
        """Write a setting of the system."""
        changed = {"value": storable(value), "updated_at": now, **actor_column(actor)}
        written = insert_or_skip(system_settings).values(key=key, **changed)
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=["key"], set_=changed))


def _no_such_user(number: int) -> NotFoundError:
    return NotFoundError(f"There is no user {number}.", do="`backup-pipeline user list` shows who there is.")
