"""Users, their sessions, keys of programs, webhooks, and what people asked for, as people see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.api_keys import ApiKey
from backup_pipeline.core.access.sessions import Session
from backup_pipeline.core.access.webhooks import Webhook, WebhookDelivery
from backup_pipeline.core.runs import RequestStatus, RunRequest
from backup_pipeline.core.verification import age
from backup_pipeline.presentation import (
    Minute,
    Part,
    ReportDocument,
    Span,
    Table,
    Tone,
    document,
    line,
    prose,
    texts,
)


def users_document(users: Sequence[User], now: datetime) -> ReportDocument:
    """Who may sign in, and what each may do."""
    if not users:
        return document(
            line("There is no user yet. `backup-pipeline user add NAME --role super_admin` adds the first.")
        )
    columns = (*texts("Name", "Role"), prose("May"), *texts("Second factor", "Last login", "State"))
    return document(Table(columns, tuple(_user(user, now) for user in users)))


def _user(user: User, now: datetime) -> tuple[Part, ...]:
    state = Span("disabled", Tone.WARNING) if user.disabled_at else Span("enabled", Tone.GOOD)
    last = age(user.last_login_at, now) if user.last_login_at else Span("never", Tone.QUIET)
    return user.name, user.role.in_words, rights_in_words(user), "yes" if user.second_factor else "no", last, state


def rights_in_words(user: User) -> str:
    """What a user may do, shorter than the table of permissions: `sees all, runs backups`."""
    if user.role is Role.BUSINESS_ADMIN:
        return f"own businesses: {', '.join(user.businesses)}"
    if user.role is Role.ADMIN:
        return "all but approving, deleting, users and settings"
    if user.role is Role.SUPER_ADMIN:
        return "everything"
    switches = (("runs backups", user.may_run), ("downloads", user.may_download))
    return ", ".join(["sees all", *(name for name, on in switches if on)])


def sessions_document(sessions: Sequence[Session], now: datetime) -> ReportDocument:
    """Where somebody is signed in."""
    alive = [session for session in sessions if session.is_alive(now)]
    if not alive:
        return document(line("Nobody is signed in so."))
    columns = (*texts("Session", "Since", "Used", "From", "By"), prose("Browser"))
    return document(Table(columns, tuple(_session(session, now) for session in alive)))


def _session(session: Session, now: datetime) -> tuple[Part, ...]:
    number, since, used = str(session.number), Minute(session.created_at), age(session.seen_at, now)
    return number, since, used, session.address, session.factors, session.agent


def keys_document(keys: Sequence[ApiKey], used: Mapping[int, int], now: datetime) -> ReportDocument:
    """The keys of programs; `used` are their calls of the last 60 minutes."""
    if not keys:
        return document(line("There is no key yet. `backup-pipeline key api create NAME --permission …` makes one."))
    columns = (*texts("Name", "Begins", "Business"), prose("Permissions"))
    columns = (*columns, *texts("Used this hour", "Last use", "State"))
    return document(Table(columns, tuple(_key(key, used.get(key.number, 0), now) for key in keys)))


def _key(key: ApiKey, used: int, now: datetime) -> tuple[Part, ...]:
    last = age(key.last_used_at, now) if key.last_used_at else Span("never", Tone.QUIET)
    calls = f"{used:,} of {key.limit:,}"
    return (
        key.name,
        f"{key.shown}…",
        key.business or "all",
        ", ".join(key.permissions),
        calls,
        last,
        key_state(key, now),
    )


def key_state(key: ApiKey, now: datetime) -> Span:
    """Whether a key works, as a word."""
    if key.revoked_at is not None:
        return Span("revoked", Tone.QUIET)
    return Span("expired", Tone.WARNING) if key.why_over(now) else Span("works", Tone.GOOD)


_TONES = {
    RequestStatus.DONE: Tone.GOOD,
    RequestStatus.FAILED: Tone.FAILURE,
    RequestStatus.REFUSED: Tone.FAILURE,
    RequestStatus.CANCELED: Tone.WARNING,
}


def runs_document(rows: Sequence[RunRequest], now: datetime) -> ReportDocument:
    """What people have asked Dagster for, and what became of it."""
    if not rows:
        return document(line("Nobody has asked for a run yet. What schedules run is in the list of backups."))
    columns = (*texts("Request", "What", "Status", "When", "By"), prose("Reason"))
    return document(Table(columns, tuple(_run(row, now) for row in rows)))


def _run(row: RunRequest, now: datetime) -> tuple[Part, ...]:
    status = Span(row.status.value, _TONES.get(row.status, Tone.QUIET))
    what = f"{row.verb.value} of {row.scope}"
    return str(row.id), what, status, age(row.created_at, now), row.actor.for_people, row.reason


def webhooks_document(webhooks: Sequence[Webhook]) -> ReportDocument:
    """Where events are sent."""
    if not webhooks:
        return document(line("Nothing is sent anywhere. `backup-pipeline webhooks add NAME URL` makes a webhook."))
    columns = (*texts("Name", "State", "Events", "Of"), prose("Receiver"))
    return document(Table(columns, tuple(_webhook(webhook) for webhook in webhooks)))


def _webhook(webhook: Webhook) -> tuple[Part, ...]:
    state = Span("off", Tone.QUIET) if webhook.disabled_at else Span("on", Tone.GOOD)
    return webhook.name, state, ", ".join(webhook.kinds) or "all", webhook.business or "everything", webhook.url


def deliveries_of_webhook_document(deliveries: Sequence[WebhookDelivery], now: datetime) -> ReportDocument:
    """What was sent to a webhook, or is to be."""
    if not deliveries:
        return document(line("Nothing was sent yet."))
    columns = (*texts("Delivery", "Event", "About", "At", "State", "Tries"), prose("Last answer"))
    return document(Table(columns, tuple(_delivery(each, now) for each in deliveries)))


def _delivery(delivery: WebhookDelivery, now: datetime) -> tuple[Part, ...]:
    event, state = delivery.event, Span("waits", Tone.WARNING)
    if delivery.delivered_at is not None:
        state = Span("delivered", Tone.GOOD)
    elif delivery.given_up_at is not None:
        state = Span("given up", Tone.FAILURE)
    answer = delivery.last_error or str(delivery.status or "")
    about = (str(delivery.number), event.kind, event.subject, age(event.at, now))
    return *about, state, str(delivery.attempts), answer
