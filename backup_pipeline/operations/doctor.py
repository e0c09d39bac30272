"""Doctor: does a catalog fit its database, and is all there that a backup needs? No check waits for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from backup_pipeline.core.alerts import Alert, Severity, reaching
from backup_pipeline.core.businesses.paths import business_paths
from backup_pipeline.core.catalog.draft import draft_catalog, draft_yaml
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.doctor import (
    Bucket,
    Examination,
    Line,
    judge_age,
    judge_bucket,
    judge_clock,
    ok,
    problem,
    skipped,
    warning,
)
from backup_pipeline.core.due import DO
from backup_pipeline.core.due import DueState as Due
from backup_pipeline.core.errors import (
    BackupError,
    CatalogError,
    StoreDeniedError,
    StoreError,
    UsageError,
    in_our_words,
    wanted,
)
from backup_pipeline.core.keys import Cipher
from backup_pipeline.core.ledger import GOOD, Attempt, Owner, described, until_now
from backup_pipeline.core.manifest.entry import NotHeld
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan
from backup_pipeline.core.ports import Alerter, Clock, Ledger, Source, Store, StoredObject
from backup_pipeline.core.relations import Database
from backup_pipeline.core.schedule import is_future, local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import has_failed
from backup_pipeline.operations.download import AuditTrail, check_key
from backup_pipeline.operations.export import find_not_held
from backup_pipeline.operations.health import look

PATIENCE = timedelta(seconds=30)
_LOOK = "Look at what it names; with --debug of another command there is a traceback."


def examine(checks: Sequence[Examination], patience: timedelta = PATIENCE) -> Sequence[Line]:
    """The lines of all checks, in their order. One that has not ended within `patience` is left to itself, and told."""
    lines_by_check: list[list[Line]] = [[] for _ in checks]
    futures = [_start(check, lines) for check, lines in zip(checks, lines_by_check, strict=True)]
    wait(futures, timeout=patience.total_seconds())
    for check, future, lines in zip(checks, futures, lines_by_check, strict=True):
        if not future.done():
            what = f"no answer within {patience.total_seconds():.0f} seconds"
            lines.append(problem(check.topic, what, "Look whether it is reachable from here, and not overloaded."))
        elif not lines:
            lines.append(skipped(check.topic, "nothing to look at"))
    return [line for lines in lines_by_check for line in tuple(lines)]


def _start(check: Examination, lines: list[Line]) -> Future[None]:
    """Carry the check out in a daemon thread: one that hangs keeps nobody from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            lines.extend(check.look())
        except BackupError as error:
            lines.append(problem(check.topic, error.what, error.do or _LOOK))
        except Exception as error:  # noqa: BLE001 - a check that breaks is a finding, and stops no other
            lines.append(problem(check.topic, in_our_words(error), _LOOK))
        finally:
            future.set_result(None)

    threading.Thread(target=run, name=f"doctor {check.topic}", daemon=True).start()
    return future


_VERIFY_AFTER = timedelta(days=8)
_DRILL_AFTER = timedelta(days=35)
_AUDITS = 20_000
_FEWEST_RECIPIENTS = 2


def newest_good(ledger: Ledger, catalog: str) -> Attempt | None:
    """The newest good backup with a bundle."""
    rows = until_now(ledger.list(scope=Scope(catalog), status=sorted(GOOD)), ledger.now())
    return next((row for row in rows if row.kind.bundled), None)


def leases(
    catalogs: Sequence[Catalog], ledger: Ledger, now: datetime, alive: Callable[[Owner], bool]
) -> Iterator[Line]:
    """Who writes each catalog now."""
    for catalog in catalogs:
        lease, topic = ledger.leases.get(Scope(catalog.catalog)), f"lease {catalog.catalog}"
        if lease is None or lease.expires_at <= now:
            yield ok(topic, "free: nobody writes the catalog")
        elif alive(lease.claim.owner):
            yield ok(topic, f"held by {described(lease)}")
        else:
            do = "Nothing: the next backup takes it over."
            yield warning(topic, f"held by {described(lease)}, whose process is gone", do)


def outbox(ledger: Ledger) -> Iterator[Line]:
    """The alerts that did not reach people."""
    if unreached := [f"{thread.scope} ({thread.topic})" for thread in ledger.threads.list() if not thread.reached]:
        do = "Set BACKUP_ALERT_URLS: what is open is then told once (`backup-pipeline check`, or Dagster's sensor)."
        yield warning("alerts", f"only the log was told of what goes wrong with {', '.join(unreached)}", do)
    left = ledger.outbox.list(limit=1000)
    if not left:
        yield ok("alerts", "no alert waits to be delivered")
        return
    error = next((entry.last_error for entry in left if entry.last_error), None)
    last = f"; the last error: {error}" if error else ""
    do = "Correct BACKUP_ALERT_URLS, then `backup-pipeline alerts retry`; `backup-pipeline alerts` lists them."
    yield problem("alerts", f"{len(left)} alerts did not reach people{last}", do)


def channels(alerter: Alerter, catalog: str, now: datetime, *, send: bool) -> Iterator[Line]:
    """Whether anybody is told; with `send`, whether a message reaches them."""
    names = reaching(alerter.channels)
    if not names:
        do = "Set BACKUP_ALERT_URLS to Apprise URLs, such as mailtos://user:password@smtp.example.com?to=…"
        yield warning("alerts", "no channel is set: alerts go into the log, where nobody looks", do)
        return
    if not send:
        yield ok("alerts", f"channels: {', '.join(names)} (`doctor --send` tries them)")
        return
    sentence = "This is a trial of the doctor. Backups tell you here when something fails."
    for delivery in alerter.send(Alert(Severity.INFO, "A trial message", sentence, "Nothing.", Scope(catalog), at=now)):
        if delivery.error:
            do = "Correct this URL in BACKUP_ALERT_URLS."
            yield problem("alerts", f"{delivery.channel} did not take the message: {delivery.error}", do)
        else:
            yield ok("alerts", f"{delivery.channel} took a message")


def fresh(catalog: Catalog, ledger: Ledger, now: datetime) -> Iterator[Line]:
    """Whether what is due is there, how it was verified last, and when a restore was rehearsed last."""
    topic, name = f"backups {catalog.catalog}", catalog.catalog
    stands = look(catalog, ledger, now)
    if stands.overdue:
        yield problem(topic, stands.what, DO)
    elif stands.state is Due.WAITING:
        yield warning(topic, stands.what, f"Make the first: `backup-pipeline backup --catalog {name}`.")
    else:
        yield ok(topic, stands.what)
    row = newest_good(ledger, name)
    if row is None:
        return
    do = f"Run `backup-pipeline verify {row.backup_id}`."
    if has_failed(row.verification):
        yield problem(topic, f"the verification of {row.backup_id} found something", f"{do} Make another backup.")
    else:
        yield judge_age(
            topic,
            "the newest was verified last",
            row.verification.at if row.verification else None,
            now,
            _VERIFY_AFTER,
            do,
        )
    do = f"Run `backup-pipeline drill latest --catalog {name}`: only a restore proves a backup."
    yield judge_age(topic, "a restore was rehearsed last", _drilled(ledger, name, now), now, _DRILL_AFTER, do)


def _drilled(ledger: Ledger, catalog: str, now: datetime) -> datetime | None:
    """When a drill of a backup of the catalog ended well."""
    for event in ledger.audits(limit=_AUDITS):
        if event.action == "drill" and event.backup_id and not is_future(event.at, now) and event.detail.get("passed"):
            row = ledger.get(event.backup_id)
            if row is not None and row.scope == Scope(catalog):
                return event.at
    return None


def escrow(cipher: Cipher, catalogs: Sequence[Catalog], store: Store, audit: AuditTrail) -> Iterator[Line]:
    """Whether a lost key loses the backups, and whether a key here opens the newest ones."""
    count = len(cipher.recipients)
    if not count:
        yield skipped("keys", "backups are not encrypted by a key of yours (BACKUP_AGE_RECIPIENTS)")
    elif count < _FEWEST_RECIPIENTS:
        do = "Add a second recipient, whose key lies elsewhere (`backup-pipeline key new`): BACKUP_AGE_RECIPIENTS."
        yield warning("keys", "one recipient: whoever loses that key loses every backup", do)
    else:
        yield ok("keys", f"{count} recipients: one lost key loses nothing")
    if not cipher.holders:
        if count:
            yield ok("keys", "no key on this machine; where one is, `backup-pipeline key check` tries it")
        return
    for catalog in catalogs:
        yield from _opens(catalog.catalog, cipher, store, audit)


def _opens(name: str, cipher: Cipher, store: Store, audit: AuditTrail) -> Iterator[Line]:
    row = newest_good(audit.ledger, name)
    if row is None:
        return
    try:
        checked = check_key(row, store, cipher, audit)
    except BackupError as error:
        yield problem("keys", f"the newest backup of {name}: {error.what}", error.do)
        return
    if checked.opened_by is None:
        yield ok("keys", f"the newest backup of {name} is not encrypted")
    else:
        yield ok("keys", f"the key here opens the newest backup of {name}")


FOLDER = "doctor/"
_BYTES = b"backup-pipeline doctor: this trial object may be removed.\n"
_FIRST, _LENGTH = 7, 11
_SIGNED = timedelta(minutes=15)
"""S3 takes no request whose signature is older or younger."""


@dataclass(frozen=True)
class Trial:
    """The trial of one store: `name` tells this trial from others, `locks` whether backups ask for Object Lock there.

    `bucket` is None where the store is no bucket.
    """

    topic: str
    store: Store
    clock: Clock
    name: str
    bucket: Bucket | None = None
    locks: bool = False
    _written: list[str] = field(default_factory=list)

    def run(self) -> Iterator[Line]:
        """A line for each thing; whatever was written is deleted at the end, or told."""
        try:
            yield from self._writing()
        finally:
            lines = list(self._deleting())
        yield from lines

    def _writing(self) -> Iterator[Line]:
        key = f"{FOLDER}{self.name}.txt"
        before = self.clock()
        try:
            stored = self._put(key)
        except BackupError as error:
            do = error.do or "Look at the store, its address and the rights of these credentials."
            yield problem(self.topic, f"nothing can be written to {self.store.url}: {error.what}", do)
            return
        yield ok(self.topic, f"{self.store.url} takes an object")
        yield judge_clock(self.topic, "the store", before, stored.modified, self.clock(), longest=_SIGNED)
        yield from self._reading(key)
        if self.bucket is not None:
            yield from self._examining(key, self.bucket)

    def _put(self, key: str) -> StoredObject:
        self._written.append(key)
        return self.store.put(key, [_BYTES])

    def _reading(self, key: str) -> Iterator[Line]:
        steps: Mapping[str, Callable[[], bool]] = {
            "gives it back": lambda: self.store.get(key) == _BYTES,
            "gives a range of it": lambda: self._range(key) == _BYTES[_FIRST : _FIRST + _LENGTH],
            "lists it": lambda: key in {found.key for found in self.store.list(FOLDER)},
        }
        for does, step in steps.items():
            try:
                done, why, do = step(), "it came back otherwise than it was written", "Look at the store."
            except BackupError as error:
                done, why, do = False, error.what, error.do
            yield (ok(self.topic, f"it {does}") if done else problem(self.topic, f"not so that it {does}: {why}", do))

    def _range(self, key: str) -> bytes:
        return b"".join(self.store.stream(key, start=_FIRST, length=_LENGTH))

    def _examining(self, key: str, bucket: Bucket) -> Iterator[Line]:
        parts = f"{FOLDER}{self.name}.parts.txt"
        self._written.append(parts)
        try:
            bucket.put_in_parts(parts, _BYTES)
            yield ok(self.topic, "it takes an upload in parts")
        except StoreError as error:
            yield problem(self.topic, f"it takes no upload in parts: {error.what}", error.do)
        yield from judge_bucket(self.topic, bucket.facts(key), refuses=bucket.refuses(key), locks=self.locks)

    def _deleting(self) -> Iterator[Line]:
        left = self._left()
        if not left:
            return
        try:
            self.store.delete(left)
            left = self._left()
        except StoreDeniedError as error:
            what = f"these credentials may not delete: whoever has them can remove no backup. Left: {', '.join(left)}"
            do = (
                f"Nothing, if that is meant: {error.what}. Let `prune` run with others, and let a lifecycle rule of "
                f"the bucket remove {FOLDER}."
            )
            yield warning(self.topic, what, do)
            return
        except BackupError as error:
            yield problem(self.topic, f"it can not delete: {error.what}. Left: {', '.join(left)}", error.do)
            return
        if left:
            yield problem(self.topic, f"it still shows what it deleted: {', '.join(left)}", "Look at the store.")
        else:
            yield ok(self.topic, "it deletes")

    def _left(self) -> Sequence[str]:
        left = []
        for key in self._written:
            try:
                if self.store.head(key) is not None:
                    left.append(key)
            except BackupError:
                continue  # a store that does not answer has been told of
        return left


@dataclass(frozen=True)
class CatalogReport:
    """A catalog against a database.

    `ready` maps each table to the relation it is read from; `failed` to what forbids it. `unlisted` are tables that
    nobody decided about (each run warns of them); `unreadable` those of them that the role could not read anyway.
    `not_held` is what a backup would not hold although somebody may think so. `refused` is why nothing at all would be
    exported.
    """

    catalog: str
    database: str
    ready: Mapping[str, str]
    failed: Mapping[str, CatalogError]
    excluded: Mapping[str, str]
    unlisted: tuple[str, ...]
    unreadable: tuple[str, ...]
    not_held: tuple[NotHeld, ...] = ()
    refused: CatalogError | None = None

    @property
    def fits(self) -> bool:
        """Whether every table can be exported."""
        return not self.failed and self.refused is None


def check_catalog(catalog: Catalog, source: Source) -> CatalogReport:
    """Compare `catalog` with what the database of `source` shows; SourceError when it can not be read."""
    with source.snapshot() as snapshot:
        database = snapshot.database()
        report = compare_catalog(catalog, database)
        return replace(report, not_held=find_not_held(catalog, database, snapshot))


def compare_catalog(catalog: Catalog, database: Database) -> CatalogReport:
    """Compare `catalog` with `database`."""
    refused = None
    plan = CatalogPlan({}, {}, {}, ())
    astray: dict[str, BackupError] = {}
    try:
        plan = plan_catalog(catalog, database)
        astray |= business_paths(catalog, database)
    except CatalogError as error:
        refused = error
    locked = {r.full_name for r in database.relations.values() if not r.readable}
    return CatalogReport(
        catalog=catalog.catalog,
        database=database.name,
        ready={name: table.relation.full_name for name, table in plan.tables.items() if name not in astray},
        failed={name: error for name, error in (astray | dict(plan.failed)).items() if isinstance(error, CatalogError)},
        excluded=plan.excluded,
        unlisted=plan.unlisted,
        unreadable=tuple(name for name in plan.unlisted if name in locked),
        refused=refused,
    )


@dataclass(frozen=True)
class InitResult:
    """The catalog, the YAML text that says it, and what a run of it would do with the database."""

    catalog: Catalog
    text: str
    plan: CatalogPlan


def init_catalog(
    source: Source,
    *,
    name: str | None = None,
    timezone: str = "UTC",
    businesses: str | None = None,
    instead: Catalog | None = None,
) -> InitResult:
    """Describe every table of `source`; nothing is written. Its days begin today, or with those of the one it replaces.

    With `businesses` (`businesses.id`) each table gets its path to that key. UsageError for a `name` or `timezone` that
    is none, NotFoundError when no table can be read or there is no such key, SourceError when the database says no.
    """
    with source.snapshot() as snapshot:
        database, now = snapshot.database(), snapshot.entry.taken_at
    try:
        draft = draft_catalog(database, name=name, timezone=timezone, businesses=businesses)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['loc'][0]}: {wanted(first)} (given: {first['input']!r})."
        do = "A name has lower-case letters, digits and underscores; a timezone is an IANA name such as Asia/Dhaka."
        raise UsageError(message, do=do) from None
    start = instead.start_date if instead else local_date(now, timezone).isoformat()
    draft = replace(draft, catalog=draft.catalog.model_copy(update={"start_date": start}))
    return InitResult(draft.catalog, draft_yaml(draft), plan_catalog(draft.catalog, database))
