"""Webhooks in the ledger, and an outbox of what is to be sent to them: each event once, by one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.exc import IntegrityError

from backup_pipeline.core.access.webhooks import CLAIMED_FOR, NewWebhook, Webhook, WebhookDelivery
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.runs import RealtimeEvent
from backup_pipeline.core.scope import Actor, parse_actor
from backup_pipeline.ledger.console_tables import realtime_events, webhook_deliveries, webhooks
from backup_pipeline.ledger.tables import actor_column, storable, utc

_HOOK, _SENT, _EVENT = webhooks.c, webhook_deliveries.c, realtime_events.c
_AT_ONCE = 500
_OFF = "The webhook was switched off before."


class SqlWebhooks:
    """The port `Webhooks`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def list(self) -> Sequence[Webhook]:
        """All, by name."""
        with self._transaction() as connection:
            rows = connection.execute(select(webhooks).order_by(func.lower(_HOOK.name))).mappings()
            return [_webhook_of(row) for row in rows]

    def get(self, number: int) -> Webhook | None:
        """The webhook of that number."""
        with self._transaction() as connection:
            row = connection.execute(select(webhooks).where(_HOOK.id == number)).mappings().one_or_none()
        return _webhook_of(row) if row is not None else None

    def add(self, webhook: NewWebhook, secret: str, actor: Actor, now: datetime) -> Webhook:
        """Keep a webhook; UsageError when the name is taken."""
        values = {
            "name": storable(webhook.name),
            "url": storable(webhook.url),
            "secret": secret,
            "kinds": list(webhook.kinds),
            "business": webhook.business,
            "created_at": now,
            "last_event": _newest(),
            **actor_column(actor),
        }
        with self._transaction() as connection:
            try:
                row = connection.execute(insert(webhooks).values(values).returning(*_HOOK)).mappings().one()
            except IntegrityError as error:
                message = f"There is a webhook {webhook.name} already."
                raise UsageError(message, do="Choose another name.") from error
        return _webhook_of(row)

    def switch(self, number: int, now: datetime, *, on: bool) -> Webhook | None:
        """Let it get events or not."""
        standing = _HOOK.disabled_at.is_not(None) if on else _HOOK.disabled_at.is_(None)
        values = {"disabled_at": None, "last_event": _newest()} if on else {"disabled_at": now}
        changed = update(webhooks).where(_HOOK.id == number, standing).values(values).returning(*_HOOK)
        waiting = update(webhook_deliveries).where(_SENT.webhook_id == number, _SENT.next_try_at.is_not(None))
        with self._transaction() as connection:
            row = connection.execute(changed).mappings().one_or_none()
            if row is not None and not on:  # nobody wants old events when it is on again
                connection.execute(waiting.values(next_try_at=None, given_up_at=now, last_error=_OFF))
        return _webhook_of(row) if row is not None else None

    def remove(self, number: int) -> Webhook | None:
        """Forget it, and what was sent to it."""
        gone = delete(webhooks).where(_HOOK.id == number).returning(*_HOOK)
        with self._transaction() as connection:
            connection.execute(delete(webhook_deliveries).where(_SENT.webhook_id == number))
            row = connection.execute(gone).mappings().one_or_none()
        return _webhook_of(row) if row is not None else None

    def note_events(self, now: datetime) -> int:
        """Note for each webhook the events since its last one."""
        waiting = select(webhooks).where(_HOOK.disabled_at.is_(None), _HOOK.last_event < _newest())
        with self._transaction() as connection:
            # The newest number first: what is committed meanwhile is above it, and comes with the next call.
            newest = int(connection.scalar(select(_newest())) or 0)
            rows = connection.execute(waiting.with_for_update(skip_locked=True)).mappings().all()
            noted = [_note(connection, _webhook_of(row), newest, now) for row in rows]
        return sum(noted)

    def claim(self, now: datetime, *, without: Collection[int] = ()) -> tuple[Webhook, WebhookDelivery] | None:
        """The oldest delivery that is due, of another webhook than those."""
        due = select(_SENT.id).join(webhooks, _HOOK.id == _SENT.webhook_id).where(_SENT.next_try_at <= now)
        oldest = (
            due.where(_HOOK.disabled_at.is_(None), _HOOK.id.not_in(without))
            .order_by(_SENT.next_try_at, _SENT.id)
            .limit(1)
        )
        locked = oldest.with_for_update(skip_locked=True, of=webhook_deliveries).scalar_subquery()
        taken = update(webhook_deliveries).where(_SENT.id == locked)
        taken = taken.values(attempts=_SENT.attempts + 1, next_try_at=now + CLAIMED_FOR)
        with self._transaction() as connection:
            row = connection.execute(taken.returning(*_SENT)).mappings().one_or_none()
            if row is None:
                return None
            hook = connection.execute(select(webhooks).where(_HOOK.id == row["webhook_id"])).mappings().one()
        return _webhook_of(hook), _delivery_of(row)

    def settle(self, delivery: WebhookDelivery) -> None:
        """Write down what became of a try."""
        values = {
            "next_try_at": delivery.next_try_at,
            "delivered_at": delivery.delivered_at,
            "given_up_at": delivery.given_up_at,
            "status": delivery.status,
            "last_error": storable(delivery.last_error),
        }
        with self._transaction() as connection:
            connection.execute(update(webhook_deliveries).where(_SENT.id == delivery.number).values(values))

    def deliveries(self, webhook: int, *, before: int | None = None, limit: int = 50) -> Sequence[WebhookDelivery]:
        """What was sent to a webhook, newest first."""
        query = select(webhook_deliveries).where(_SENT.webhook_id == webhook).order_by(_SENT.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_SENT.id < before)
        with self._transaction() as connection:
            return [_delivery_of(row) for row in connection.execute(query).mappings()]

    def again(self, webhook: int, delivery: int, now: datetime) -> WebhookDelivery | None:
        """Let a delivery be tried again at once."""
        own = update(webhook_deliveries).where(_SENT.webhook_id == webhook, _SENT.id == delivery)
        anew = own.values(next_try_at=now, delivered_at=None, given_up_at=None).returning(*_SENT)
        with self._transaction() as connection:
            row = connection.execute(anew).mappings().one_or_none()
        return _delivery_of(row) if row is not None else None

    def forget(self, before: datetime) -> int:
        """Remove what was over before."""
        over = func.coalesce(_SENT.delivered_at, _SENT.given_up_at) < before
        with self._transaction() as connection:
            return connection.execute(delete(webhook_deliveries).where(over)).rowcount


def _newest() -> Any:
    return select(func.coalesce(func.max(_EVENT.id), 0)).scalar_subquery()


def _note(connection: Connection, webhook: Webhook, newest: int, now: datetime) -> int:
    query = select(realtime_events).where(_EVENT.id > webhook.last_event, _EVENT.id <= newest)
    if webhook.kinds:
        wanted = [or_(_EVENT.kind == kind, _EVENT.kind.startswith(f"{kind}.")) for kind in webhook.kinds]
        query = query.where(or_(*wanted))
    if webhook.business is not None:
        query = query.where(_EVENT.business == webhook.business)
    rows = connection.execute(query.order_by(_EVENT.id).limit(_AT_ONCE)).mappings().all()
    values = [
        {
            "webhook_id": webhook.number,
            "event_id": row["id"],
            "event": _as_json(row),
            "created_at": now,
            "next_try_at": now,
        }
        for row in rows
    ]
    if values:
        connection.execute(insert_or_skip(webhook_deliveries).values(values).on_conflict_do_nothing())
    looked_at = rows[-1]["id"] if len(rows) == _AT_ONCE else newest
    connection.execute(update(webhooks).where(_HOOK.id == webhook.number).values(last_event=looked_at))
    return len(rows)


def _as_json(row: RowMapping) -> Mapping[str, Any]:
    names = ("kind", "catalog", "business", "subject", "detail")
    return {**{name: row[name] for name in names}, "at": utc(row["at"]).isoformat()}


def _webhook_of(row: RowMapping) -> Webhook:
    return Webhook(
        number=row["id"],
        name=row["name"],
        url=row["url"],
        secret=row["secret"],
        created_at=utc(row["created_at"]),
        actor=parse_actor(row["actor"]),
        kinds=tuple(row["kinds"]),
        business=row["business"],
        last_event=row["last_event"],
        disabled_at=utc(row["disabled_at"]),
    )


def _delivery_of(row: RowMapping) -> WebhookDelivery:
    event = row["event"]
    known = {name: event[name] for name in ("kind", "catalog", "business", "subject", "detail")}
    return WebhookDelivery(
        number=row["id"],
        webhook=row["webhook_id"],
        event=RealtimeEvent(number=row["event_id"], at=datetime.fromisoformat(event["at"]), **known),
        created_at=utc(row["created_at"]),
        attempts=row["attempts"],
        next_try_at=utc(row["next_try_at"]),
        delivered_at=utc(row["delivered_at"]),
        given_up_at=utc(row["given_up_at"]),
        status=row["status"],
        last_error=row["last_error"],
    )
