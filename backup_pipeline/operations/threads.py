"""Threads of alerts: whether an alert is told now, and what is told when a thread ends."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

from backup_pipeline.core.alerts import Alert, Severity, reaching
from backup_pipeline.core.errors import LedgerError, SettingsError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports import Alerter, Clock, Ledger
from backup_pipeline.core.threads import Say, Step, Thread

logger = logging.getLogger(__name__)


class Memory(Protocol):
    """What remembering takes: the ledger, the time, and whether there is anybody to tell."""

    @property
    def ledger(self) -> Ledger:
        """Where the threads are."""

    @property
    def clock(self) -> Clock:
        """The present instant."""

    @property
    def alerter(self) -> Alerter:
        """The channels."""


def is_told(alert: Alert, memory: Memory) -> Alert | None:
    """The alert as people are told it now: a reminder says how often; None when its thread was told a short while ago.

    An alert without a topic belongs to no thread, and without the ledger nothing is held back. What only the log was
    told of is told at once when there is a channel.
    """
    if not alert.topic:
        return alert
    try:
        heard = bool(reaching(memory.alerter.channels))
        step = memory.ledger.threads.failing(alert.catalog, alert.topic, memory.clock(), alert.failures, heard=heard)
        if step.say is Say.NOTHING and alert.failures:
            _audit_held_back(alert, step, memory)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("Whether the alert %r was told before is not known: %s", alert.title, trouble)
        return alert
    if step.say is Say.NOTHING:
        return None
    return _reminder(alert, step) if step.say is Say.REMINDER else alert


def recovery(catalog: str, topic: str, backup_id: str, memory: Memory) -> Alert | None:
    """What people are told once a backup of this kind went well again; None when nothing was wrong."""
    try:
        step = memory.ledger.threads.recovered(catalog, topic)
    except (LedgerError, SettingsError) as trouble:
        logger.warning("Whether backups of %s had failed before is not known: %s", catalog, trouble)
        return None
    if step.say is not Say.RECOVERY or step.before.opened_at is None:
        return None
    return Alert(
        severity=Severity.INFO,
        title=f"Backups work again: {catalog}",
        what=f"A good {topic} backup is there, {_after(step)}.",
        do="Nothing. What was missed before stays missed: `backup-pipeline calendar` shows it.",
        catalog=catalog,
        backup_id=backup_id,
        at=memory.clock(),
    )


def unheard_alert(thread: Thread) -> Alert:
    """What people are told of a thread that only the log knows, once there is a channel."""
    return Alert(
        severity=Severity.FAILURE,
        title=f"Backups of {thread.catalog} go wrong ({thread.topic})",
        what="Nobody was told until now, because no alert channel was set.",
        do="`backup-pipeline check` says how the catalog stands, `backup-pipeline list` what was tried.",
        catalog=thread.catalog,
        topic=thread.topic,
        failures=0,
    )


def _reminder(alert: Alert, step: Step) -> Alert:
    untold = step.after.failures - step.before.told
    held = untold - alert.failures
    more = f" Of them {held} {'was' if held == 1 else 'were'} not told one by one." if held else ""
    opened = step.after.opened_at
    since = f" since {opened:%Y-%m-%d %H:%M} UTC" if opened else ""
    count = f"This goes on{since}: {_times(step.after.failures)}.{more}"
    return replace(alert, title=f"Still: {alert.title}", what=f"{alert.what}\n{count}")


def _after(step: Step) -> str:
    return f"after {_times(step.before.failures)} since {step.before.opened_at:%Y-%m-%d %H:%M} UTC"


def _times(failures: int) -> str:
    """A thread that was opened by a backup that is overdue, and by nothing else, counts none."""
    if not failures:
        return "a backup was overdue"
    return f"{failures} failed or missed {'backup' if failures == 1 else 'backups'}"


def _audit_held_back(alert: Alert, step: Step, memory: Memory) -> None:
    detail = {"title": alert.title, "failures": step.after.failures, "told": step.after.told}
    memory.ledger.audit(AuditEvent(memory.clock(), "backup_pipeline", "alert held back", alert.backup_id, detail))
