"""What the ledger knows, examined: leases, undelivered alerts, fresh backups, how old verification and drill are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from backup_pipeline.core.alerts import Alert, Severity, reaching
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.clocks import is_future, until_now
from backup_pipeline.core.doctor import Line, judge_age, ok, problem, skipped, warning
from backup_pipeline.core.due_state import DO
from backup_pipeline.core.due_state import State as Due
from backup_pipeline.core.encryption import Cipher
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.leases import described
from backup_pipeline.core.ledger import Attempt, Owner
from backup_pipeline.core.ports import Alerter, Ledger, Store
from backup_pipeline.core.statuses import GOOD
from backup_pipeline.core.verified import Verified
from backup_pipeline.operations.account import look
from backup_pipeline.operations.check_key import check_key
from backup_pipeline.operations.download import Witness

_VERIFY_AFTER = timedelta(days=8)
_DRILL_AFTER = timedelta(days=35)
_AUDITS = 20_000
_FEWEST_RECIPIENTS = 2


def newest_good(ledger: Ledger, catalog: str) -> Attempt | None:
    """The newest good backup with a bundle."""
    rows = until_now(ledger.list(catalog=catalog, status=sorted(GOOD)), ledger.now())
    return next((row for row in rows if row.kind != "tables"), None)


def leases(
    catalogs: Sequence[Catalog], ledger: Ledger, now: datetime, alive: Callable[[Owner], bool]
) -> Iterator[Line]:
    """Who writes each catalog now."""
    for catalog in catalogs:
        lease, topic = ledger.leases.get(catalog.catalog), f"lease {catalog.catalog}"
        if lease is None or lease.expires_at <= now:
            yield ok(topic, "free: nobody writes the catalog")
        elif alive(lease.claim.owner):
            yield ok(topic, f"held by {described(lease)}")
        else:
            do = "Nothing: the next backup takes it over."
            yield warning(topic, f"held by {described(lease)}, whose process is gone", do)


def outbox(ledger: Ledger) -> Iterator[Line]:
    """The alerts that did not reach people."""
    if unheard := [f"{thread.catalog} ({thread.topic})" for thread in ledger.threads.list() if not thread.heard]:
        do = "Set BACKUP_ALERT_URLS: what is open is then told once (`backup-pipeline check`, or Dagster's sensor)."
        yield warning("alerts", f"only the log was told of what goes wrong with {', '.join(unheard)}", do)
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
    said = "This is a trial of the doctor. Backups tell you here when something fails."
    for delivery in alerter.send(Alert(Severity.INFO, "A trial message", said, "Nothing.", catalog, at=now)):
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
    verified = Verified(row.verification_level, row.verified_at)
    do = f"Run `backup-pipeline verify {row.backup_id}`."
    if verified.failed:
        yield problem(topic, f"the verification of {row.backup_id} found something", f"{do} Make another backup.")
    else:
        yield judge_age(topic, "the newest was verified last", verified.at, now, _VERIFY_AFTER, do)
    do = f"Run `backup-pipeline drill latest --catalog {name}`: only a restore proves a backup."
    yield judge_age(topic, "a restore was rehearsed last", _drilled(ledger, name, now), now, _DRILL_AFTER, do)


def _drilled(ledger: Ledger, catalog: str, now: datetime) -> datetime | None:
    """When a drill of a backup of the catalog ended well."""
    for event in ledger.audits(limit=_AUDITS):
        if event.action == "drill" and event.backup_id and not is_future(event.at, now) and event.detail.get("passed"):
            row = ledger.get(event.backup_id)
            if row is not None and row.catalog == catalog:
                return event.at
    return None


def escrow(cipher: Cipher, catalogs: Sequence[Catalog], store: Store, witness: Witness) -> Iterator[Line]:
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
        yield from _opens(catalog.catalog, cipher, store, witness)


def _opens(name: str, cipher: Cipher, store: Store, witness: Witness) -> Iterator[Line]:
    row = newest_good(witness.ledger, name)
    if row is None:
        return
    try:
        checked = check_key(row, store, cipher, witness)
    except BackupError as error:
        yield problem("keys", f"the newest backup of {name}: {error.what}", error.do)
        return
    if checked.opened_by is None:
        yield ok("keys", f"the newest backup of {name} is not encrypted")
    else:
        yield ok("keys", f"the key here opens the newest backup of {name}")
