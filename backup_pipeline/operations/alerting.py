"""The audit of how an attempt ended: it began with `backup`, and each ends with `backup ended`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from backup_pipeline.core.alerts import (
    Alert,
    Delivery,
    OutboxEntry,
    Say,
    Severity,
    Signal,
    Thread,
    ThreadStep,
    delayed,
    reaching,
)
from backup_pipeline.core.due import FULL
from backup_pipeline.core.errors import (
    BackupError,
    CanceledError,
    ExportFailedError,
    LeaseHeldError,
    LedgerError,
    RefusedError,
    SettingsError,
    in_our_words,
)
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.names import Kind
from backup_pipeline.core.ports import Alerter, Ports
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.scope import PROGRAM, Actor, Scope

logger = logging.getLogger(__name__)

ENDED = "backup ended"


def note_end(attempt: Attempt, ports: Ports) -> None:
    """Add the audit row of an attempt whose row was just closed. Nothing here ever changes a backup."""
    try:
        row = ports.ledger.get(attempt.backup_id) or attempt
        error = (row.error_message or "").partition("\n")[0]
        facts: dict[str, object] = {"status": row.status.value, "rows": row.record_count, "error": error}
        detail = {name: value for name, value in facts.items() if value not in ("", None)}
        ports.ledger.audit(AuditEvent(ports.clock(), row.actor, ENDED, row.backup_id, detail))
    except (LedgerError, SettingsError) as trouble:
        logger.warning("How backup %s ended is not in the audit: %s", attempt.backup_id, trouble)


def is_told(alert: Alert, ports: Ports) -> Alert | None:
    """The alert as people are told it now: a reminder says how often; None when its thread was told a short while ago.

    An alert without a topic belongs to no thread, and without the ledger nothing is held back. What only the log was
    told of is told at once when there is a channel.
    """
    if not alert.topic:
        return alert
    try:
        reachable = bool(reaching(ports.alerter.channels))
        step = ports.ledger.threads.failing(
            alert.scope, alert.topic, ports.clock(), alert.failures, reachable=reachable
        )
        if step.say is Say.NOTHING and alert.failures:
            _audit_held_back(alert, step, ports)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("Whether the alert %r was told before is not known: %s", alert.title, trouble)
        return alert
    if step.say is Say.NOTHING:
        return None
    return _reminder(alert, step) if step.say is Say.REMINDER else alert


def recovery(scope: Scope, topic: str, backup_id: str, ports: Ports) -> Alert | None:
    """What people are told once a backup of this kind went well again; None when nothing was wrong."""
    try:
        step = ports.ledger.threads.recovered(scope, topic)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("Whether backups of %s had failed before is not known: %s", scope, trouble)
        return None
    if step.say is not Say.RECOVERY or step.before.opened_at is None:
        return None
    return Alert(
        severity=Severity.INFO,
        title=f"Backups work again: {scope}",
        what=f"A good {topic} backup is there, {_after(step)}.",
        do="Nothing. What was missed before stays missed: `backup-pipeline calendar` shows it.",
        scope=scope,
        backup_id=backup_id,
        at=ports.clock(),
    )


def unreached_alert(thread: Thread) -> Alert:
    """What people are told of a thread that only the log knows, once there is a channel."""
    return Alert(
        severity=Severity.FAILURE,
        title=f"Backups of {thread.scope} go wrong ({thread.topic})",
        what="Nobody was told until now, because no alert channel was set.",
        do="`backup-pipeline check` says how the catalog stands, `backup-pipeline list` what was tried.",
        scope=thread.scope,
        topic=thread.topic,
        failures=0,
    )


def _reminder(alert: Alert, step: ThreadStep) -> Alert:
    untold = step.after.failures - step.before.notified
    held = untold - alert.failures
    more = f" Of them {held} {'was' if held == 1 else 'were'} not told one by one." if held else ""
    opened = step.after.opened_at
    since = f" since {opened:%Y-%m-%d %H:%M} UTC" if opened else ""
    count = f"This goes on{since}: {_times(step.after.failures)}.{more}"
    return replace(alert, title=f"Still: {alert.title}", what=f"{alert.what}\n{count}")


def _after(step: ThreadStep) -> str:
    return f"after {_times(step.before.failures)} since {step.before.opened_at:%Y-%m-%d %H:%M} UTC"


def _times(failures: int) -> str:
    """A thread that was opened by a backup that is overdue, and by nothing else, counts none."""
    if not failures:
        return "a backup was overdue"
    return f"{failures} failed or missed {'backup' if failures == 1 else 'backups'}"


def _audit_held_back(alert: Alert, step: ThreadStep, ports: Ports) -> None:
    detail = {"title": alert.title, "failures": step.after.failures, "told": step.after.notified}
    ports.ledger.audit(AuditEvent(ports.clock(), PROGRAM, "alert held back", alert.backup_id, detail))


PASS = timedelta(seconds=30)
"""How long one pass over the outbox goes on; a sensor's tick may not take longer than a minute."""


def send(alert: Alert, ports: Ports) -> Sequence[Delivery]:
    """Note the alert for each channel, send it, and note what became of it; without the ledger, only send.

    Whoever dies in between leaves it noted: it is then sent again once the claim ends, so people may hear it twice.
    """
    return send_noted(alert, note(alert, ports), ports)


def send_noted(alert: Alert, noted: Sequence[OutboxEntry], ports: Ports) -> Sequence[Delivery]:
    """Send an alert whose entries of the outbox are there and claimed, and note what became of it."""
    deliveries = ports.alerter.send(alert)
    errors = {delivery.channel: delivery.error for delivery in deliveries}
    try:
        for entry in noted:
            ports.ledger.outbox.settle(entry.id, errors.get(entry.channel, "It was not sent."), ports.clock())
    except (LedgerError, SettingsError) as trouble:
        logger.warning("What became of the alert %r is not noted, it may be sent twice: %s", alert.title, trouble)
    return deliveries


def deliver(ports: Ports, *, early: bool = False, within: timedelta = PASS) -> Sequence[OutboxEntry]:
    """Deliver what is due, oldest first, or `early` all that is undelivered; the entries as they then stand.

    A channel that fails is left alone for the rest of the pass, and nothing new is begun after `within`. LedgerError
    when the ledger fails.
    """
    ends = ports.clock() + within
    dead: set[str] = set()
    tried: list[OutboxEntry] = []
    while ports.clock() < ends:
        entry = ports.ledger.outbox.claim(ports.clock(), without=dead, early=early)
        if entry is None:
            break
        error = _error_of(entry, ports)
        tried.append(_settled(entry, error, ports))
        dead |= {entry.channel} if error else set()
    return tried


def note(alert: Alert, ports: Ports) -> Sequence[OutboxEntry]:
    """Note the alert for each channel, for who sends it next; nothing where the ledger can not be written."""
    try:
        return ports.ledger.outbox.add(alert, ports.alerter.channels, ports.clock())
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The alert %r is not noted, and sent only once: %s", alert.title, trouble)
        return ()


def _error_of(entry: OutboxEntry, ports: Ports) -> str | None:
    """Send one entry to its channel; what went wrong, or None."""
    for delivery in ports.alerter.send(delayed(entry), [entry.channel]):
        return delivery.error
    return "This channel is not configured any more (BACKUP_ALERT_URLS)."


def _settled(entry: OutboxEntry, error: str | None, ports: Ports) -> OutboxEntry:
    """Note the outcome; the audit gets an end, and not each of many attempts."""
    now = ports.clock()
    settled = ports.ledger.outbox.settle(entry.id, error, now)
    if not settled.open:
        detail = {"channel": entry.channel, "error": error, "title": entry.alert.title, "attempts": entry.attempts}
        ports.ledger.audit(AuditEvent(now, PROGRAM, "alert", entry.alert.backup_id, detail))
    return settled


def try_channels(alerter: Alerter, scope: Scope, now: datetime) -> Sequence[Delivery]:
    """Send a test message to every channel; what each said. It is not noted, and not tried again.

    SettingsError where there is no channel.
    """
    if not reaching(alerter.channels):
        message = "There is no channel: BACKUP_ALERT_URLS is not set."
        raise SettingsError(message, do="Set it to Apprise URLs, such as mailtos://user:password@smtp.example.com?to=…")
    text = "This is a test. Backups tell you here when something fails."
    return alerter.send(Alert(Severity.INFO, "A test message", text, "Nothing.", scope, at=now))


def failure_alert(attempt: Attempt, error: BaseException, run_url: str | None) -> Alert:
    """What people are told of a failed attempt: which table, what happened, what to do next."""
    canceled = isinstance(error, CanceledError)
    refused = isinstance(error, LeaseHeldError | RefusedError)
    ended = "canceled" if canceled else "refused" if refused else "failed"
    known = error if isinstance(error, BackupError) else BackupError(in_our_words(error))
    what = known.what
    tables: Mapping[str, str] = {}
    if isinstance(error, ExportFailedError):
        what = error.summary
        tables = {table: reason.what for table, reason in error.failed.items()}
    return Alert(
        severity=Severity.WARNING if canceled or refused else Severity.FAILURE,
        title=f"Backup {ended}: {attempt.scope} for {attempt.partition_date}",
        what=what,
        do=known.do or "Look at the run's log, correct the cause, and run the backup again.",
        scope=attempt.scope,
        backup_id=attempt.backup_id,
        run_id=attempt.run_id,
        run_url=run_url,
        at=attempt.started_at,
        tables=tables,
        topic="" if canceled or refused else attempt.kind,
    )


def no_row_alert(
    scope: Scope,
    error: BackupError,
    at: datetime,
    run_id: str | None = None,
    run_url: str | None = None,
    *,
    what: str = "Backup",
) -> Alert:
    """What people are told of a run that has no row in the ledger, because the ledger could not be written."""
    return Alert(
        severity=Severity.FAILURE,
        title=f"{what} failed: {scope}",
        what=f"The run has no row in the ledger. {error.what}",
        do=error.do,
        scope=scope,
        run_id=run_id,
        run_url=run_url,
        at=at,
        topic=FULL if what == "Backup" else "",
    )


def restore_alert(row: RestoreRow, error: BackupError, run_url: str | None) -> Alert:
    """What people are told of a restore that failed or was stopped: into which database, what happened, what to do."""
    canceled = isinstance(error, CanceledError)
    return Alert(
        severity=Severity.WARNING if canceled else Severity.FAILURE,
        title=f"Restore {'canceled' if canceled else 'failed'}: {row.scope} into {row.database} (request {row.id})",
        what=error.what,
        do=error.do or f"Look at it with `backup-pipeline restores show {row.id}`, correct the cause, and ask again.",
        scope=row.scope,
        backup_id=row.backup_id,
        run_id=row.run_id,
        run_url=run_url,
        at=row.started_at or row.created_at,
    )


def break_glass_alert(row: RestoreRow, actor: Actor, why: str) -> Alert:
    """What everybody is told of a restore that nobody has approved: who does it, into which database, and why."""
    done = f"{actor.for_people} restores backup {row.backup_id} into {row.database} ({row.mode})"
    what = f"{done} without an approval. Reason: {why}"
    return Alert(
        severity=Severity.FAILURE,
        title=f"A restore without approval: {row.scope} into {row.database} (request {row.id})",
        what=what,
        do=f"Ask {actor.name} whether that was right; `backup-pipeline restores show {row.id}` has what was done.",
        scope=row.scope,
        backup_id=row.backup_id,
        run_id=row.run_id,
        at=row.started_at or row.created_at,
    )


def waiting_alert(row: RestoreRow, console_url: str | None) -> Alert:
    """What those who approve are told of a request that waits for them: who wants what, why, and where to decide."""
    tables = ", ".join(row.tables) or "all tables"
    what = (
        f"{row.actor.for_people} asks to restore {tables} of backup {row.backup_id} into {row.database} ({row.mode}). "
        f"Reason: {row.reason or 'none was given'}. Nothing was touched."
    )
    show = f"`backup-pipeline restores show {row.id}`"
    page = f"{console_url.rstrip('/')}/requests/{row.id} (in a terminal: {show})" if console_url else show
    return Alert(
        severity=Severity.WARNING,
        title=f"A restore waits for approval: {row.scope} into {row.database} (request {row.id})",
        what=what,
        do=f"Look at its plan, and approve or reject it: {page}.",
        scope=row.scope,
        backup_id=row.backup_id,
        at=row.created_at,
    )


_ENDS = {
    RestoreStatus.APPROVED: ("approved", "Whoever may ask for restores can run it now; nothing was touched yet."),
    RestoreStatus.REJECTED: ("rejected", "Nothing: nothing was touched."),
    RestoreStatus.CANCELED: ("taken back", "Nothing: nothing was touched."),
    RestoreStatus.DONE: ("done", "Nothing: what was approved is restored."),
}


def decided_alert(row: RestoreRow, actor: Actor, reason: str, at: datetime) -> Alert:
    """What those are told who heard of a request that waited: it waits no more, by whom and why; or it is done."""
    word, do = _ENDS[row.status]
    because = f" Reason: {reason}" if reason else ""
    return Alert(
        severity=Severity.INFO,
        title=f"Restore {word}: {row.scope} into {row.database} (request {row.id})",
        what=f"The request of {row.actor.for_people} is {word}, by {actor.for_people}.{because}",
        do=do,
        scope=row.scope,
        backup_id=row.backup_id,
        run_id=row.run_id,
        at=at,
    )


def tell_unreached(ports: Ports) -> None:
    """Tell people of the open threads that only the log knows, each once, where there is a channel by now."""
    for thread in ports.ledger.threads.list():
        if not thread.reached and reaching(ports.alerter.channels):
            tell(replace(unreached_alert(thread), at=ports.clock()), ports)


def tell(alert: Alert, ports: Ports) -> Sequence[Delivery]:
    """Send an alert, and keep in the audit what became of it on each channel; without the ledger, only send.

    Nothing is sent while its thread is known to people. What did not reach a channel is tried
    again later.
    """
    due = is_told(alert, ports)
    if due is None:
        return ()
    deliveries = send(due, ports)
    audit_deliveries(due, deliveries, ports)
    return deliveries


def audit_deliveries(alert: Alert, deliveries: Sequence[Delivery], ports: Ports) -> None:
    """Keep in the audit what became of an alert on each channel; trouble of the ledger is only logged."""
    try:
        for delivery in deliveries:
            detail = {"channel": delivery.channel, "error": delivery.error, "title": alert.title}
            ports.ledger.audit(AuditEvent(ports.clock(), PROGRAM, "alert", alert.backup_id, detail))
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The alert %r is not in the audit: %s", alert.title, trouble)


def ping(signal: Signal, attempt: Attempt, ports: Ports, text: str = "") -> None:
    """Ping for a full backup, and keep in the audit what became of it. Nothing here ever changes a backup.

    A watcher outside waits for what the schedule promises: runs of single tables are no news to it.
    """
    if attempt.kind != FULL:
        return
    sent = ports.pinger.ping(signal, str(attempt.scope), text or f"{signal}: backup {attempt.backup_id}")
    if sent is None:
        return
    detail = {"signal": signal.value, "url": sent.channel, "error": sent.error}
    try:
        ports.ledger.audit(AuditEvent(ports.clock(), PROGRAM, "ping", attempt.backup_id, detail))
    except (LedgerError, SettingsError) as trouble:
        logger.warning("The %s ping of backup %s is not in the audit: %s", signal, attempt.backup_id, trouble)


def ping_without_row(scope: Scope, kind: Kind, error: BackupError, ports: Ports) -> None:
    """The fail ping of a run that has no row, because the ledger could not be written."""
    if kind == FULL:
        ports.pinger.ping(Signal.FAIL, str(scope), error.what)


def tell_success(attempt: Attempt, ports: Ports) -> None:
    """Note the good end, ping, and where backups of this kind had failed, tell once that they work again."""
    note_end(attempt, ports)
    ping(Signal.SUCCESS, attempt, ports)
    alert = recovery(attempt.scope, attempt.kind, attempt.backup_id, ports)
    if alert is not None:
        tell(alert, ports)
