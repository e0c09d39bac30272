"""What the doctor says: one line a finding, ok or what to do; and what is made of clocks, disks and ages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from backup_pipeline.core.keys import SealKeys
from backup_pipeline.core.schedule import REFUSED, is_future
from backup_pipeline.core.verification import age

_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")
# All living branches have their minor releases on the same day, so that their numbers differ by a constant: 18.1 came
# with 17.7, 16.11, 15.15, 14.20 and 13.23 (postgresql.org, "Versioning Policy").
_AHEAD_OF_18 = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6, 18: 0}


@dataclass(frozen=True, order=True)
class Release:
    """A release, such as 15.20; of a development version the minor number is 0."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def of(cls, number: int) -> Release:
        """That of `server_version_num`, which is 150020 for 15.20."""
        return cls(*divmod(number, 10_000))

    @classmethod
    def read(cls, text: str) -> Release | None:
        """The first version that `text` names; None when it names none."""
        match = _VERSION.search(text)
        return cls(int(match[1]), int(match[2] or 0)) if match else None

    def reads(self, server: Release) -> bool:
        """Whether a pg_dump of this release takes on that server at all: none of an older major version does."""
        return self.major >= server.major

    def is_as_recent(self, server: Release) -> bool:
        """Whether it came out on the day of the server's release, or later; of unknown branches that is assumed."""
        if self.major == server.major:
            return self.minor >= server.minor
        if self.major in _AHEAD_OF_18 and server.major in _AHEAD_OF_18:
            return self.minor - _AHEAD_OF_18[self.major] >= server.minor - _AHEAD_OF_18[server.major]
        return True


CLOCK_WARNING = timedelta(seconds=5)
ROOM = 3
"""So many times the newest backup should find room: the files in the making, the bundle, and the next one."""
_LITTLE = 1 << 30  # bytes, where no backup says how much is needed


class LineState(StrEnum):
    """How a finding is to be taken. `skipped`: it does not apply here, or could not be looked at without another."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Line:
    """One finding about `topic`: what was seen, and, unless it is ok, what to do."""

    topic: str
    state: LineState
    what: str
    do: str = ""


@dataclass(frozen=True)
class Examination:
    """One thing that is looked at; whatever `look` raises is a finding too."""

    topic: str
    look: Callable[[], Iterable[Line]]


def ok(topic: str, what: str) -> Line:
    """A finding that is as it should be."""
    return Line(topic, LineState.OK, what)


def warning(topic: str, what: str, do: str) -> Line:
    """A finding that backups work with, but that somebody should know."""
    return Line(topic, LineState.WARNING, what, do)


def problem(topic: str, what: str, do: str) -> Line:
    """A finding that keeps a backup, or a restore, from being made."""
    return Line(topic, LineState.PROBLEM, what, do)


def skipped(topic: str, what: str) -> Line:
    """What was not looked at, and why."""
    return Line(topic, LineState.SKIPPED, what)


def problems(lines: Sequence[Line]) -> Sequence[Line]:
    """Those that are problems."""
    return [line for line in lines if line.state is LineState.PROBLEM]


def judge_clock(
    topic: str, whose: str, before: datetime, theirs: datetime, after: datetime, *, longest: timedelta = REFUSED
) -> Line:
    """Whether the clock of `whose` agrees with ours, which said `before` before and `after` after it was read.

    By more than `longest` nothing can be made.
    """
    off = max(theirs - after, before - theirs, timedelta(0))
    ahead = "ahead of" if theirs > after else "behind"
    if off <= CLOCK_WARNING:
        return ok(topic, f"the clock of {whose} agrees with this machine's")
    what = f"the clock of {whose} is {off.total_seconds():.0f} seconds {ahead} this machine's"
    do = "Let both keep time by NTP (timedatectl status, chronyc tracking): dates, leases and signatures depend on it."
    return problem(topic, what, do) if off > longest else warning(topic, what, do)


def judge_room(topic: str, where: str, free: int, newest: int | None) -> Line:
    """Whether `free` bytes at `where` are room enough, the newest backup being `newest` bytes, where it is known."""
    needed = ROOM * newest if newest else _LITTLE
    message = f"{where} has {_mib(free)} free"
    because = (
        f"{ROOM} times the newest backup is {_mib(needed)}" if newest else "there is no backup yet to compare with"
    )
    if free >= needed:
        return ok(topic, f"{message}; {because}")
    do = f"Free space there, or name a bigger disk; {_mib(needed)} are enough."
    return problem(topic, f"{message}; {because}", do) if newest and free < newest else warning(topic, message, do)


def judge_age(topic: str, what: str, since: datetime | None, now: datetime, longest: timedelta, do: str) -> Line:
    """Whether what was done last `at` is not older than `longest`."""
    if since is None:
        return warning(topic, f"{what}: never", do)
    message = f"{what}: {age(since, now)}"
    return ok(topic, message) if not is_future(since, now) and now - since <= longest else warning(topic, message, do)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


OLDEST = 15
"""The oldest major version that is tried; backups of older ones are made, but nobody promises them."""
_LAG = timedelta(minutes=5)
_SHOWN = 5
_SUPERUSER = "a superuser"
_READER = """\
Make a role that may read and nothing else, and put it into the source URL: CREATE ROLE backup LOGIN PASSWORD '…'; \
GRANT pg_read_all_data TO backup; or take the rights from this one: ALTER ROLE {role} NOSUPERUSER NOCREATEROLE \
NOCREATEDB; REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public FROM {role}; REVOKE CREATE ON \
SCHEMA public FROM {role}, PUBLIC; a table that it owns: ALTER TABLE … OWNER TO somebody else."""


@dataclass(frozen=True)
class Standby:
    """A server in recovery: how far behind it is (None: nothing came yet), and what may cancel a long query there.

    `streams`: it is connected to a primary. Without that, `lag` is the age of the newest transaction it has seen.
    """

    lag: timedelta | None
    feedback: bool
    delay_s: float
    streams: bool = True


@dataclass(frozen=True)
class SourceFacts:
    """The source as the role of its URL sees it; relations by their full names.

    `powers` are the role's attributes beyond reading; `hidden` are tables it may not read, `filtered` those of which
    row-level security shows it only some rows; `ends` settings that would end a long snapshot, with their values.
    `relayed`: a pooler or proxy stands before the server and gives each connection a session of its own.
    """

    url: str
    role: str
    version: str
    major: int
    before: datetime
    now: datetime
    after: datetime
    powers: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    standby: Standby | None = None
    relayed: bool = False


@dataclass(frozen=True)
class DumpFacts:
    """The pg_dump that is used for a server of the release `server`; `lent`: it runs with this program's libpq.

    `passed_over` is the one that BACKUP_PG_BIN names, with the reason, where that is not it.
    """

    program: str
    release: Release
    server: Release
    lent: bool = False
    passed_over: str = ""


def judge_source(topic: str, facts: SourceFacts, wanted: Sequence[str]) -> Iterator[Line]:
    """A line for each thing; `wanted` are the relations that the catalog reads."""
    yield ok(topic, f"{facts.url} answers, as role {facts.role}")
    if facts.relayed:
        yield ok(topic, "a pooler or proxy stands before it, and keeps a session together: that is enough")
    yield _version(topic, facts)
    yield _rights(topic, facts)
    yield from _hidden(topic, facts, wanted)
    yield from _filtered(topic, facts, wanted)
    yield from _standby(topic, facts.standby)
    yield from _ends(topic, facts)


def _version(topic: str, facts: SourceFacts) -> Line:
    if facts.major >= OLDEST:
        return ok(topic, f"PostgreSQL {facts.version}")
    do = f"Upgrade the server to {OLDEST} or newer; until then rehearse a restore after each change (`drill`)."
    return warning(topic, f"PostgreSQL {facts.version} is older than {OLDEST}: backups of it are not tested", do)


def _rights(topic: str, facts: SourceFacts) -> Line:
    """Read-only is what the role may do, not what it does: a transaction of ours never writes."""
    powers = [*(f"is {power}" for power in facts.powers)]
    if facts.writable:
        powers.append(f"may write {_some(facts.writable)}")
    if facts.creates:
        powers.append(f"may create in {_some(facts.creates)}")
    if not powers:
        return ok(topic, f"role {facts.role} may only read")
    do = _READER.replace("{role}", _quoted(facts.role))
    what = f"role {facts.role} may more than read: it {', '.join(powers)}"
    if _SUPERUSER in facts.powers:
        what += "; reading a table can run functions of its owner, in an index, and they would have all rights"
    return warning(topic, what, do)


def _hidden(topic: str, facts: SourceFacts, wanted: Sequence[str]) -> Iterator[Line]:
    missing = sorted(set(facts.hidden) & set(wanted))
    others = sorted(set(facts.hidden) - set(wanted))
    if missing:
        do = f"GRANT SELECT ON {', '.join(missing)} TO {_quoted(facts.role)};"
        yield problem(topic, f"role {facts.role} may not read what the catalog lists: {_some(missing)}", do)
    if others:
        yield ok(topic, f"role {facts.role} may not read {_some(others)}: not in the catalog, so it need not")
    if not missing:
        yield ok(topic, f"role {facts.role} may read everything that the catalog lists")


def _filtered(topic: str, facts: SourceFacts, wanted: Sequence[str]) -> Iterator[Line]:
    tables = sorted(set(facts.filtered) & set(wanted))
    if tables:
        do = f"ALTER ROLE {_quoted(facts.role)} BYPASSRLS; or let the catalog read a view of the table's owner."
        what = f"row-level security hides rows of {_some(tables)} from role {facts.role}: such a backup is refused"
        yield problem(topic, what, do)
    else:
        yield ok(topic, "row-level security hides no rows from it")


def _standby(topic: str, standby: Standby | None) -> Iterator[Line]:
    if standby is None:
        yield ok(topic, "a primary server: the snapshot is of now")
        return
    if standby.lag is None:
        yield warning(topic, "a standby that has replayed nothing yet", "Look whether it receives WAL at all.")
    elif not standby.streams:
        what = f"a standby that receives nothing now: its newest rows are {standby.lag.total_seconds():.0f} seconds old"
        yield warning(topic, what, "Look into its log why it does not stream, unless it lives from an archive of WAL.")
    elif standby.lag > _LAG:
        what = f"a standby that is {standby.lag.total_seconds():.0f} seconds behind: so old would a backup be"
        yield warning(topic, what, "Wait until it has caught up, or read the primary (pg_stat_wal_receiver tells why).")
    else:
        yield ok(topic, f"a standby, {standby.lag.total_seconds():.0f} seconds behind its primary")
    if not standby.feedback and standby.delay_s >= 0:
        what = f"the standby may cancel a query that is in recovery's way after {standby.delay_s:.0f} seconds"
        do = "Set hot_standby_feedback = on there, or max_standby_streaming_delay = -1."
        yield warning(topic, what, do)


def _ends(topic: str, facts: SourceFacts) -> Iterator[Line]:
    if not facts.ends:
        yield ok(topic, "no setting of the server ends a long snapshot")
        return
    do = f"ALTER ROLE {_quoted(facts.role)} SET transaction_timeout = 0; and leave old_snapshot_threshold at -1."
    yield warning(topic, f"settings that end a long snapshot: {', '.join(facts.ends)}", do)


def judge_dump(topic: str, facts: DumpFacts) -> Line:
    """Whether the pg_dump that has just connected writes a schema that the server takes back."""
    lent = " (with this program's libpq: its own has no TLS)" if facts.lent else ""
    used = f"{facts.program}, version {facts.release}{lent}, connects"
    if facts.passed_over:
        do = "Name a folder in BACKUP_PG_BIN whose pg_dump can be used, or leave the choice to this program."
        return warning(topic, f"the pg_dump of BACKUP_PG_BIN can not be used ({facts.passed_over}): {used}", do)
    if facts.release.is_as_recent(facts.server):
        return ok(topic, f"{used}; it is as recent as the server's {facts.server}")
    what = f"{used}; it is older than the server's release {facts.server}, and may not know all that one writes"
    do = f"Install the newest client programs of PostgreSQL {facts.server.major} here, or set BACKUP_PG_BIN to them."
    return warning(topic, what, do)


def judge_snapshot_age(topic: str, took: timedelta | None) -> Line:
    """What the last backup cost the source: as long as its snapshot is open, vacuum removes nothing newer."""
    if took is None:
        return ok(topic, "no backup yet tells how long a snapshot is open")
    message = f"the last backup took {took.total_seconds():.0f} seconds: at most so long vacuum waited for its snapshot"
    if took <= timedelta(hours=1):
        return ok(topic, message)
    return warning(topic, message, "Raise BACKUP_WORKERS, read a standby, or split the catalog.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_PROTECT = "Where ransomware is feared, use a bucket with versioning and Object Lock (docs/s3.md)."


@dataclass(frozen=True)
class BucketFacts:
    """A bucket as it may be seen: whether it keeps versions, can lock, and what an object's server side encryption is.

    None is not known: the server does not say, or not to us.
    """

    versioned: bool | None
    lockable: bool | None
    encrypted: str | None


class Bucket(Protocol):
    """A bucket that is examined with small objects. Every failure is a StoreError, but not of what may be unknown."""

    def put_in_parts(self, key: str, data: bytes) -> None:
        """Write a small object by an upload in parts."""

    def refuses(self, key: str) -> bool | None:
        """Whether the server refuses to write over the object at `key` when it is told so; None: not known."""

    def facts(self, key: str) -> BucketFacts:
        """What is to be known of the bucket; of encryption, by the object at `key`."""


def judge_bucket(topic: str, facts: BucketFacts, *, refuses: bool | None, locks: bool) -> Iterator[Line]:
    """A line for each; `locks` is whether the settings ask for Object Lock."""
    yield _refusing(topic, refuses=refuses)
    yield _locking(topic, facts, locks=locks)
    if facts.versioned is None:
        yield warning(topic, "whether the bucket keeps versions is not told", "GRANT s3:GetBucketVersioning to see it.")
    elif facts.versioned:
        yield ok(topic, "the bucket keeps earlier versions: what is deleted is only hidden (`prune --versions`)")
    else:
        yield ok(topic, "the bucket keeps no versions: what is deleted is gone")
    yield ok(topic, f"encryption by the server: {facts.encrypted or 'none'}")


def judge_seals(topic: str, keys: SealKeys) -> Line:
    """Whether manifests are sealed here, and checked."""
    if keys.signing:
        return ok(topic, f"manifests are sealed with key {keys.signing}; seals of {', '.join(keys.accepted)} count")
    if keys.accepted:
        return ok(topic, f"seals of {', '.join(keys.accepted)} count; nothing is sealed here")
    return ok(topic, "manifests are not sealed: the ledger alone tells a forged backup (docs/integrity.md)")


def _refusing(topic: str, *, refuses: bool | None) -> Line:
    if refuses:
        return ok(topic, "it refuses to write over an object (If-None-Match)")
    what = "it does not refuse to write over an object" if refuses is False else "whether it refuses is not told"
    return warning(topic, f"{what}: what is there is looked up before each write", "Use a newer server, if you can.")


def _locking(topic: str, facts: BucketFacts, *, locks: bool) -> Line:
    if facts.lockable is None:
        return warning(topic, "whether the bucket can lock is not told", "GRANT s3:GetBucketObjectLockConfiguration.")
    if locks:
        return ok(topic, "Object Lock: on, and asked for")
    if facts.lockable:
        return warning(
            topic, "the bucket can lock, but backups do not ask for it", "Set BACKUP_S3_LOCK_MODE and _DAYS."
        )
    return ok(topic, f"no Object Lock: whoever has the right deletes. {_PROTECT}")
