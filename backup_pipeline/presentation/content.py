"""What a backup's rows say besides themselves: communication, a line a kind, and what of customers can not be true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backup_pipeline.core.communication import MessageMetrics, communication_metrics
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.validation import worst_first
from backup_pipeline.presentation import Block, Part, Span, Tone, facts

_MOST = 3
"""Rules that a line tells; --json and the manifest have all."""


def content_blocks(manifest: Manifest) -> Iterator[Block]:
    """The lines as one block of facts; nothing for a backup that says nothing of it."""
    if pairs := {**communication_lines(manifest), **validation_lines(manifest)}:
        yield facts(pairs.items())


def communication_lines(manifest: Manifest) -> Mapping[str, Part]:
    """What was sent, made and said."""
    metrics = communication_metrics(manifest.tables)
    lines: dict[str, Part] = {}
    if metrics.sms is not None:
        lines["SMS"] = _messages(metrics.sms)
    if metrics.email is not None:
        lines["E-mails"] = _messages(metrics.email)
    if (documents := metrics.documents) is not None:
        downloads = f", {documents.downloads:,} downloads" if documents.downloads is not None else ""
        templates = f" ({_counts(documents.templates)})" if documents.templates else ""
        lines["Documents"] = f"{documents.total:,}, {documents.generated:,} generated{downloads}{templates}"
    if metrics.channels:
        lines["Communication"] = _counts(metrics.channels)
    return lines


def validation_lines(manifest: Manifest) -> Mapping[str, Part]:
    """A line for each table whose rows are judged."""
    return {f"Customers in {table.name}": _judged(table) for table in manifest.tables if table.validation is not None}


def _judged(table: TableEntry) -> Part:
    entry = table.validation
    if entry is None or not entry.invalid:
        return "every row can be true"
    worst = worst_first(entry)
    told = ", ".join(f"{each.column}: {each.rule} {each.rows:,}" for each in worst[:_MOST])
    more = f" and {len(worst) - _MOST} more" if len(worst) > _MOST else ""
    rows = f"{entry.invalid:,} of {entry.rows:,} rows can not be true ({told}{more})"
    return Span(rows, Tone.WARNING)


def _messages(messages: MessageMetrics) -> str:
    if messages.success_rate is None:
        return "none"
    read = {"opens": messages.opens, "clicks": messages.clicks, "bounces": messages.bounces}
    more = "".join(f", {count:,} {name}" for name, count in read.items() if count is not None)
    return f"{messages.total:,}, {messages.success_rate} % sent ({_counts(messages.statuses)}){more}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
