"""Copies in the second store: what would be copied and why, and what was."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.core.copies import Copy, CopyDecision, CopyStatus
from backup_pipeline.presentation.document import Item, ReportDocument, Span, Tone, document, item, line, size


def decisions_document(decisions: Sequence[CopyDecision]) -> ReportDocument:
    """Each good backup, whether it would be copied, and why."""
    if not decisions:
        return document(line("There are no good backups."))
    verbs = {True: "copy ", False: "leave"}
    return document(*(item(f"{verbs[each.wanted]} {each.attempt.backup_id}: {each.reason}") for each in decisions))


def copies_document(copies: Sequence[Copy], decisions: Sequence[CopyDecision]) -> ReportDocument:
    """What became of each copy, and why it was made."""
    if not copies:
        return document(line(f"Nothing is missing: {len(decisions)} good backups, each with its copy."))
    reasons = {each.attempt.backup_id: each.reason for each in decisions}
    return document(*(_copied(copy, reasons.get(copy.backup_id, "")) for copy in copies))


def _copied(copy: Copy, reason: str) -> Item:
    why = f" ({reason})" if reason else ""
    if copy.status is CopyStatus.GOOD:
        text = f" to {copy.store}, {size(copy.bytes or 0)}, every byte compared{why}"
        return item(f"{copy.backup_id}: ", Span("copied", Tone.GOOD), text)
    error = (copy.error_message or "").partition("\n")[0]
    return item(f"{copy.backup_id}: ", Span("NOT copied", Tone.FAILURE), f" to {copy.store}: {error}")
