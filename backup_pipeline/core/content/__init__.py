"""Communication as a backup shows it: how much was sent, what arrived, what was read; rates are of what was counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backup_pipeline.core.anomalies import TableShape
from backup_pipeline.core.catalog.model import ChannelSource, Communication, DocumentSource, MessageSource
from backup_pipeline.core.manifest import CommunicationEntry, TableEntry

Source = MessageSource | DocumentSource | ChannelSource

SMS, EMAIL, DOCUMENTS, CHANNELS = "sms", "email", "documents", "channels"


def sources_of(communication: Communication | None, table: str) -> Mapping[str, Source]:
    """Kind -> how the rows of `table` are counted; empty for a table that tells nothing of communication."""
    if communication is None:
        return {}
    every: Mapping[str, Source | None] = {
        SMS: communication.sms,
        EMAIL: communication.email,
        DOCUMENTS: communication.documents,
        CHANNELS: communication.channels,
    }
    return {kind: source for kind, source in every.items() if source is not None and source.table == table}


def counted_columns(source: Source) -> Sequence[str]:
    """The columns of which each value is counted."""
    match source:
        case MessageSource():
            return (source.status,)
        case DocumentSource():
            return (source.status, *([source.template] if source.template else []))
    return (source.channel,)


def summed_columns(source: Source) -> Sequence[str]:
    """The columns whose numbers are added up."""
    match source:
        case MessageSource():
            return tuple(name for name in (source.opens, source.clicks) if name)
        case DocumentSource():
            return (source.downloads,) if source.downloads else ()
    return ()


def communication_entry(
    kind: str, source: Source, total: int, counts: Mapping[str, Mapping[str, int]], sums: Mapping[str, int]
) -> CommunicationEntry:
    """What the rows of a table say: `counts` are rows by column and value, `sums` the sums of columns."""
    if isinstance(source, ChannelSource):
        return CommunicationEntry(kind=kind, total=total, statuses=_ordered(counts[source.channel], ()))
    good = source.succeeded if isinstance(source, MessageSource) else source.generated
    statuses = _ordered(counts[source.status], good)
    entry = CommunicationEntry(
        kind=kind, total=total, statuses=statuses, succeeded=sum(statuses.get(status, 0) for status in good)
    )
    if isinstance(source, DocumentSource):
        more: dict[str, object] = {
            "downloads": sums.get(source.downloads) if source.downloads else None,
            "templates": _ordered(counts[source.template], ()) if source.template else {},
            "document": source.name,
            "download_column": source.downloads,
        }
    else:
        more = {
            "opens": sums.get(source.opens) if source.opens else None,
            "clicks": sums.get(source.clicks) if source.clicks else None,
            "bounces": sum(statuses.get(status, 0) for status in source.bounced) if source.bounced else None,
        }
    return entry.model_copy(update=more)


def _ordered(counts: Mapping[str, int], first: Sequence[str]) -> dict[str, int]:
    """Those of `first` in their order, then the others, the most frequent first."""
    rest = sorted((name for name in counts if name not in first), key=lambda name: (-counts[name], name))
    return {name: counts[name] for name in (*(name for name in first if name in counts), *rest)}


@dataclass(frozen=True)
class MessageMetrics:
    """Messages of one kind. `success_rate` is in percent, to one digit; None where there were none."""

    total: int
    succeeded: int
    success_rate: float | None
    statuses: Mapping[str, int]
    opens: int | None = None
    clicks: int | None = None
    bounces: int | None = None


@dataclass(frozen=True)
class DocumentMetrics:
    """Generated documents; `downloads` of all together, None where nobody counts them."""

    total: int
    generated: int
    downloads: int | None
    templates: Mapping[str, int]


@dataclass(frozen=True)
class CommunicationMetrics:
    """What a backup says of communication; None for a kind that none of its tables tells of."""

    sms: MessageMetrics | None = None
    email: MessageMetrics | None = None
    documents: DocumentMetrics | None = None
    channels: Mapping[str, int] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.sms or self.email or self.documents or self.channels)

    @property
    def numbers(self) -> Mapping[str, int | float]:
        """What can be plotted over backups; nothing for what is not there, least of all a rate of no messages."""
        given: dict[str, int | float | None] = {}
        for kind, messages in ((SMS, self.sms), (EMAIL, self.email)):
            if messages is not None:
                given |= {f"{kind}_total": messages.total, f"{kind}_success_rate": messages.success_rate}
                read = {"opens": messages.opens, "clicks": messages.clicks, "bounces": messages.bounces}
                given |= {f"{kind}_{name}": number for name, number in read.items()}
        if self.documents is not None:
            given |= {"documents_total": self.documents.total, "documents_generated": self.documents.generated}
            given |= {"documents_downloads": self.documents.downloads}
        return {name: number for name, number in given.items() if number is not None}


def communication_metrics(tables: Iterable[TableEntry | TableShape]) -> CommunicationMetrics:
    """The metrics of a backup, from what was counted in its tables as they were written."""
    return metrics_of(entry for table in tables for entry in table.communication)


def metrics_of(counted: Iterable[CommunicationEntry]) -> CommunicationMetrics:
    """The metrics of a backup, from what was counted in it."""
    entries = {entry.kind: entry for entry in counted}
    documents, channels = entries.get(DOCUMENTS), entries.get(CHANNELS)
    return CommunicationMetrics(
        sms=_messages(entries.get(SMS)),
        email=_messages(entries.get(EMAIL)),
        documents=DocumentMetrics(documents.total, documents.succeeded, documents.downloads, documents.templates)
        if documents
        else None,
        channels=channels.statuses if channels else {},
    )


def _messages(entry: CommunicationEntry | None) -> MessageMetrics | None:
    if entry is None:
        return None
    rate = success_rate(entry.succeeded, entry.total)
    return MessageMetrics(entry.total, entry.succeeded, rate, entry.statuses, entry.opens, entry.clicks, entry.bounces)


def success_rate(succeeded: int, total: int) -> float | None:
    """Percent, to one digit; None of none: nothing was sent, so nothing succeeded, and nothing failed."""
    return round(100 * succeeded / total, 1) if total else None


def summary_document(metrics: CommunicationMetrics, downloads: Mapping[str, int] | None = None) -> dict[str, object]:
    """`communicationSummary` as the sales portal writes it: its four keys first; null for what is not there."""
    sms, email, documents = metrics.sms, metrics.email, metrics.documents
    return {
        "totalSMS": sms.total if sms else None,
        "totalDocuments": documents.total if documents else None,
        "smsSuccessRate": sms.success_rate if sms else None,
        "documentsGenerated": documents.generated if documents else None,
        "smsStatuses": list(sms.statuses) if sms else None,
        "downloadCounts": dict(downloads) if downloads is not None else None,
        "templateUsage": dict(documents.templates) if documents else None,
        "totalEmails": email.total if email else None,
        "emailSuccessRate": email.success_rate if email else None,
        "emailStatuses": list(email.statuses) if email else None,
        "emailOpens": email.opens if email else None,
        "emailClicks": email.clicks if email else None,
        "emailBounces": email.bounces if email else None,
        "communications": dict(metrics.channels) or None,
    }
