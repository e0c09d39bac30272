"""The port to who may sign in: users, what they prove to be themselves with, sessions, failures and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, Unpack

if TYPE_CHECKING:
    from backup_pipeline.core.access import Credentials, CredentialsChange, NewUser, SystemSetting, User, UserChange
    from backup_pipeline.core.access.api_keys import (
        Admission,
        ApiKey,
        Call,
        KeptAnswer,
        NewKey,
        Refused,
    )
    from backup_pipeline.core.access.api_usage import KeyHabits, UsageRow, UsageSum
    from backup_pipeline.core.access.identities import Claims, SignInAttempt
    from backup_pipeline.core.access.sessions import OneTimeLink, Session
    from backup_pipeline.core.audit import AuditEntry, AuditFilter
    from backup_pipeline.core.scope import Actor


class Users(Protocol):
    """The users of a ledger, as far as whoever asks may see them. Every failure is a LedgerError."""

    def list(self) -> Sequence[User]:
        """All, by name."""

    def get(self, number: int) -> User | None:
        """The user of that number."""

    def named(self, name: str) -> User | None:
        """The user of that name, without case."""

    def of_subject(self, subject: str) -> User | None:
        """The user who is `subject` at the provider of identities."""

    def add(self, user: NewUser, actor: Actor, now: datetime) -> User:
        """Add the user; UsageError when the name is taken."""

    def change(self, number: int, change: UserChange, now: datetime) -> User:
        """Write the change, and give the user back.

        NotFoundError when there is none; RefusedError when it would leave no super_admin who can sign in: of two that
        disable each other at once, one is refused.
        """

    def credentials(self, number: int) -> Credentials:
        """What the user proves to be somebody with; NotFoundError when there is none."""

    def change_credentials(self, number: int, **changed: Unpack[CredentialsChange]) -> None:
        """Write what is named, and nothing else; NotFoundError when there is no such user."""

    def use_step(self, number: int, step: int) -> bool:
        """Note that the one-time password of a step was used; False when it, or a later one, was before."""

    def use_recovery_code(self, number: int, code: str) -> bool:
        """Take a recovery code, given as its digest, away; False when there is none such."""

    def signed_in(self, number: int, now: datetime) -> None:
        """Note when the user last signed in."""


class Sessions(Protocol):
    """Who is signed in. Every failure is a LedgerError."""

    def begin(self, session: Session, token: str) -> Session:
        """Add a session under the digest of its token; with its number."""

    def of_token(self, token: str) -> tuple[Session, User] | None:
        """The session under that digest and its user, also when it is over."""

    def seen(self, number: int, now: datetime) -> None:
        """Note that it is used."""

    def renew(self, number: int, token: str, now: datetime, factors: str) -> None:
        """Note that the password was given again, and keep the session under another token."""

    def list(self, user: int | None = None) -> Sequence[Session]:
        """Those that were not ended, of one user or all that may be seen, newest first."""

    def end(self, why: str, now: datetime, *, number: int | None = None, user: int | None = None) -> int:
        """End one session, or all of a user, or that one if it is that user's; how many ended."""

    def forget(self, before: datetime) -> int:
        """Remove those that were over before; how many."""


class Tries(Protocol):
    """How often in a row it went wrong. Every failure is a LedgerError."""

    def begin(self, account: str, now: datetime, *, besides: str | None = None) -> datetime | None:
        """Count a try for the account as failed, before it is looked at; or, where one has to wait, until when.

        Of many at once each sees what the others counted: nobody has more tries by being quick. `besides`, an address,
        may have to wait as well; it is not counted, because many people who are right may come from one.
        """

    def failed(self, address: str, now: datetime) -> None:
        """Count a try from the address that went wrong."""

    def succeeded(self, account: str) -> None:
        """The try went well: the account has no failures any more."""

    def forget(self, before: datetime) -> int:
        """Remove those of before, which count no more; how many."""


class Links(Protocol):
    """Links that work once. Every failure is a LedgerError."""

    def add(self, link: OneTimeLink, token: str, actor: Actor) -> OneTimeLink:
        """Keep a link under the digest of its token; with its number. Those of the same purpose and user end."""

    def of_token(self, token: str) -> OneTimeLink | None:
        """The link under that digest."""

    def use(self, number: int, now: datetime) -> bool:
        """Note that it was used; False when it was before, or is too old: of two at once, one gets True."""


class ApiKeys(Protocol):
    """Keys of programs. Every failure is a LedgerError."""

    def list(self) -> Sequence[ApiKey]:
        """All that the asker may see, those that were revoked too, by name."""

    def get(self, number: int) -> ApiKey | None:
        """The key of that number."""

    def of_digest(self, digest: str) -> ApiKey | None:
        """The key of that digest; nothing is counted."""

    def add(self, key: NewKey, shown: str, digest: str, actor: Actor, now: datetime) -> ApiKey:
        """Keep a key under its digest; UsageError when the name is taken, also by one that was revoked."""

    def revoke(self, number: int, now: datetime) -> ApiKey | None:
        """End a key; None where there is none, or it was revoked before."""

    def set_limit(self, number: int, limit: int) -> ApiKey | None:
        """Let a key have so many calls an hour from now on; None where there is none."""

    def admit(self, digest: str, call: Call) -> Admission | None:
        """Count a call with the key of that digest, or refuse it; None where there is no such key.

        Exact in any 60 minutes by the ledger's clock, however many ask at once. A call with a key that is over is not
        counted.
        """


class ApiUsage(Protocol):
    """What was done with keys. Every failure is a LedgerError."""

    def finish(self, admission: Admission, call: Call, status: int, ms: int, size: int) -> None:
        """Write what became of a call that was allowed."""

    def refused(self, sums: Sequence[Refused]) -> None:
        """Write down calls that were refused without a look at the ledger."""

    def page(
        self, *, key: int | None = None, since: datetime | None = None, after: str = "", limit: int = 50
    ) -> tuple[Sequence[UsageRow], str | None]:
        """Rows, newest first, that come after a position, and the position after which the rest comes."""

    def sums(self, since: datetime, *, key: int | None = None, limit: int | None = None) -> Sequence[UsageSum]:
        """By hour, key and route, the newest hour first, at most so many."""

    def habits(self, since: datetime, late: datetime, *, key: int | None = None) -> Mapping[int, KeyHabits]:
        """What keys did in the hours that began after `late`, beside what they did from `since` until then."""

    def add_up(self) -> int:
        """Add up the hours that are over, once each, so that `sums` need not; how many sums were made."""

    def used(self) -> Mapping[int, int]:
        """How many calls each key had in the 60 minutes until now."""

    def keep(self, life: timedelta) -> None:
        """Make the months that come, and drop those, and sums of hours, that were over so long ago."""


class KeptAnswers(Protocol):
    """What repeated requests are answered again. Every failure is a LedgerError."""

    def claim(self, key: int, idempotency_key: str, fingerprint: str, now: datetime) -> KeptAnswer | None:
        """None where the request is new, and is from now on at work; else what is known of the one before.

        One that has been at work for minutes is new again: its process is gone.
        """

    def settle(self, key: int, idempotency_key: str, status: int, body: str) -> None:
        """Keep the answer."""

    def drop(self, key: int, idempotency_key: str) -> None:
        """Keep none: the request may come again."""

    def forget(self, before: datetime) -> int:
        """Remove what is older; how many."""


class Access(Protocol):
    """Who may sign in, and who has; the keys of programs."""

    @property
    def keys(self) -> ApiKeys:
        """Keys of programs."""

    @property
    def usage(self) -> ApiUsage:
        """What was done with them."""

    @property
    def answers(self) -> KeptAnswers:
        """What repeated requests are answered."""

    @property
    def users(self) -> Users:
        """The users."""

    @property
    def sessions(self) -> Sessions:
        """Who is signed in."""

    @property
    def tries(self) -> Tries:
        """How often in a row it went wrong."""

    @property
    def links(self) -> Links:
        """Links that work once."""

    def setting(self, key: str) -> object:
        """A setting of the system, as JSON; None where there is none."""

    def settings(self) -> Sequence[SystemSetting]:
        """Every setting of the system that somebody has written, by key."""

    def set_setting(self, key: str, value: object, actor: Actor, now: datetime) -> None:
        """Write a setting of the system."""


class AuditRows(Protocol):
    """The audit as far as whoever asks may see it. Every failure is a LedgerError."""

    def page(self, wanted: AuditFilter, *, before: int | None = None, limit: int = 50) -> Sequence[AuditEntry]:
        """Rows, newest first, that are older than the row `before`, at most `limit`."""

    def chain(self) -> Iterator[AuditEntry]:
        """Every row, the oldest first; they need not fit into memory."""

    def actions(self) -> Sequence[str]:
        """What the newest rows are about, each once."""


class IdentityProvider(Protocol):
    """Somebody else who knows people, and vouches for them."""

    def address(self, attempt: SignInAttempt, redirect: str, *, again: bool = False) -> str:
        """Where a browser goes to sign in; `again`: also who has signed in there already shows it anew."""

    def claims(self, code: str, attempt: SignInAttempt, redirect: str) -> Claims:
        """Who came back with `code`, checked; RefusedError where nobody vouches for that."""
