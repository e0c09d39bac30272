"""What the rows of a backup say: communication with its rates, and customers' data that can not be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backup_pipeline.core.anomalies import TableShape
from backup_pipeline.core.content import CommunicationMetrics, DocumentMetrics, MessageMetrics, communication_metrics
from backup_pipeline.core.content.validation import MESSAGES, worst_first
from backup_pipeline.core.manifest import TableEntry, ValidationEntry

NO_DATA = "no data"
"""A rate of nothing: neither 0 nor 100."""


@dataclass(frozen=True)
class CountedPart:
    """So many of a kind, and their part of all in percent; None of none."""

    name: str
    rows: int
    share: float | None


@dataclass(frozen=True)
class KindView:
    """One kind of communication: how many, the rate that matters, what is counted besides, and what they are made of.

    `numbers` are pairs of a name and a count; `lists` are titled counts.
    """

    title: str
    icon: str
    total: int
    rate: str
    rate_of: str
    numbers: Sequence[tuple[str, int]]
    lists: Sequence[tuple[str, Sequence[CountedPart]]]


def communication_views(metrics: CommunicationMetrics) -> Sequence[KindView]:
    """Each kind that the backup tells of, in the order of the sources."""
    views = []
    if metrics.sms is not None:
        views.append(_messages("Text messages", "sms", metrics.sms))
    if metrics.documents is not None:
        views.append(_documents(metrics.documents))
    if metrics.email is not None:
        views.append(_messages("E-mails", "mail", metrics.email))
    if metrics.channels:
        total = sum(metrics.channels.values())
        by_channel = ("By channel", _counted(metrics.channels))
        views.append(KindView("All channels", "users", total, "", "", (), (by_channel,)))
    return views


def _messages(title: str, icon: str, messages: MessageMetrics) -> KindView:
    counts = {"Opens": messages.opens, "Clicks": messages.clicks, "Bounces": messages.bounces}
    numbers = [(name, count) for name, count in counts.items() if count is not None]
    rate = NO_DATA if messages.success_rate is None else f"{messages.success_rate} %"
    return KindView(title, icon, messages.total, rate, "sent", numbers, (("By status", _counted(messages.statuses)),))


def _documents(documents: DocumentMetrics) -> KindView:
    numbers = [("Generated", documents.generated)]
    if documents.downloads is not None:
        numbers.append(("Downloads", documents.downloads))
    templates = (("By template", _counted(documents.templates)),) if documents.templates else ()
    return KindView("Documents", "report", documents.total, "", "", numbers, templates)


def _counted(counts: Mapping[str, int]) -> Sequence[CountedPart]:
    """The most frequent first: the ledger keeps no order."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [CountedPart(name, rows, 100 * rows / total if total else None) for name, rows in ordered]


def communication_in_short(metrics: CommunicationMetrics) -> str:
    """A line of a list: `432 SMS, 94.2 % sent · 156 documents · 89 e-mails, 91.0 % sent`; no rate of nothing."""
    parts = [
        _in_short("SMS", metrics.sms),
        f"{metrics.documents.total:,} documents" if metrics.documents else "",
        _in_short("e\N{NON-BREAKING HYPHEN}mails", metrics.email),
    ]
    return " · ".join(part for part in parts if part)


def _in_short(name: str, messages: MessageMetrics | None) -> str:
    if messages is None:
        return ""
    rate = f", {messages.success_rate} % sent" if messages.success_rate is not None else ""
    return f"{messages.total:,} {name}{rate}"


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows of a column break, in words."""

    column: str
    rule: str
    message: str
    rows: int


@dataclass(frozen=True)
class JudgedTable:
    """A table whose rows were judged: `share` of them, in percent, break a rule; None where there are no rows."""

    name: str
    rows: int
    invalid: int
    share: float | None
    broken: Sequence[BrokenRule]
    left_out: bool


def judged_tables(tables: Mapping[str, ValidationEntry | None]) -> Sequence[JudgedTable]:
    """The tables with rules about customers' data, the worst first."""
    judged = [_judged(name, entry) for name, entry in tables.items() if entry is not None]
    return sorted(judged, key=lambda table: (-table.invalid, table.name))


def _judged(name: str, entry: ValidationEntry) -> JudgedTable:
    broken = [BrokenRule(each.column, each.rule, MESSAGES.get(each.rule, ""), each.rows) for each in worst_first(entry)]
    share = 100 * entry.invalid / entry.rows if entry.rows else None
    return JudgedTable(name, entry.rows, entry.invalid, share, broken, entry.on_invalid == "quarantine")


@dataclass(frozen=True)
class ContentsView:
    """What the rows of a backup say; both empty for one that says nothing of it."""

    communication: Sequence[KindView] = ()
    judged: Sequence[JudgedTable] = ()


def contents_of(tables: Mapping[str, TableShape] | Mapping[str, TableEntry]) -> ContentsView:
    """The contents of a backup with these tables, as the ledger or the manifest has them."""
    return ContentsView(
        communication_views(communication_metrics(tables.values())),
        judged_tables({name: table.validation for name, table in tables.items()}),
    )
