"""What the manifests in the store say otherwise than the ledger, and what becomes of each row."""

from __future__ import annotations

from backup_pipeline.core.rebuild import RebuildPlan
from backup_pipeline.presentation.document import Part, ReportDocument, Span, Table, Tone, document, line, prose, texts

_TONES = {
    "add": Tone.GOOD,
    "correct": Tone.WARNING,
    "hold": Tone.WARNING,
    "gone": Tone.FAILURE,
    "problem": Tone.FAILURE,
}


def rebuild_document(plan: RebuildPlan) -> ReportDocument:
    """A row for each change and copy, then how many backups agree."""
    changes: list[tuple[Part, ...]] = [
        (Span(change.kind, _TONES[change.kind]), change.backup_id, change.catalog, change.reason)
        for change in plan.changes
    ]
    copies = [(Span("copy", Tone.GOOD), copy.backup_id, copy.catalog, f"in {copy.store}") for copy in plan.copies]
    rows = (*changes, *copies)
    table = [Table((*texts("", "", ""), prose("")), rows)] if rows else []
    return document(*table, line(f"{plan.store}: {plan.agree} backups agree with the ledger."))
