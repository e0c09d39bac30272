"""Alerts on their way to people: what was delivered, what waits, what was given up."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.core.alerts import Delivery, OutboxEntry
from backup_pipeline.core.text import first_sentence
from backup_pipeline.presentation.document import (
    Minute,
    Part,
    ReportDocument,
    Span,
    Table,
    Tone,
    document,
    item,
    numbers,
    prose,
    text_of,
)

_COLUMNS = (*numbers("N"), prose("Of"), prose("Alert"), prose("Channel"), *numbers("Attempts"), prose("State"))


def outbox_document(entries: Sequence[OutboxEntry]) -> ReportDocument:
    """A row for each alert and channel, with when it is tried again."""
    return document(Table(_COLUMNS, tuple(map(_row, entries))))


def deliveries_document(deliveries: Sequence[Delivery]) -> ReportDocument:
    """What became of one alert on each channel."""
    return document(*(item(f"{each.channel}: ", _delivery(each)) for each in deliveries))


def _delivery(delivery: Delivery) -> Span:
    if delivery.error:
        return Span(f"NOT delivered: {delivery.error}", Tone.WRONG)
    return Span("delivered", Tone.GOOD)


def _row(entry: OutboxEntry) -> tuple[Part, ...]:
    state = Span(_state(entry), Tone.PLAIN if entry.delivered_at else Tone.WRONG)
    return entry.id, Minute(entry.created_at), entry.alert.title, entry.channel, entry.attempts, state


def _state(entry: OutboxEntry) -> str:
    if entry.delivered_at is not None:
        return f"delivered {text_of(Minute(entry.delivered_at))}"
    if entry.last_error is None:
        return "being sent"
    error = first_sentence(entry.last_error)
    if entry.given_up_at is not None:
        return f"given up {text_of(Minute(entry.given_up_at))}: {error}"
    return f"tried again {text_of(Minute(entry.next_try_at))}: {error}"
