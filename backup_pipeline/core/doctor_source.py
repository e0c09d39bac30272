"""What the doctor makes of the source: version, rights of the role, standby, and what would end a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.core.doctor import Line, ok, problem, warning
from backup_pipeline.core.releases import Release

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
    asked: datetime
    now: datetime
    answered: datetime
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
    found = [*(f"is {power}" for power in facts.powers)]
    if facts.writable:
        found.append(f"may write {_some(facts.writable)}")
    if facts.creates:
        found.append(f"may create in {_some(facts.creates)}")
    if not found:
        return ok(topic, f"role {facts.role} may only read")
    do = _READER.replace("{role}", _quoted(facts.role))
    what = f"role {facts.role} may more than read: it {', '.join(found)}"
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
    found = sorted(set(facts.filtered) & set(wanted))
    if found:
        do = f"ALTER ROLE {_quoted(facts.role)} BYPASSRLS; or let the catalog read a view of the table's owner."
        what = f"row-level security hides rows of {_some(found)} from role {facts.role}: such a backup is refused"
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
    told = f"the last backup took {took.total_seconds():.0f} seconds: at most so long vacuum waited for its snapshot"
    if took <= timedelta(hours=1):
        return ok(topic, told)
    return warning(topic, told, "Raise BACKUP_WORKERS, read a standby, or split the catalog.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
