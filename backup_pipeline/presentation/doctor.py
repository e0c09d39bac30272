"""What the doctor saw: each check with its state, and how many there are of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from backup_pipeline.core.doctor import Line, LineState
from backup_pipeline.presentation.document import Checks, Note, ReportDocument, Tone, document, line

_TONES = {
    LineState.OK: Tone.GOOD,
    LineState.WARNING: Tone.WARNING,
    LineState.PROBLEM: Tone.FAILURE,
    LineState.SKIPPED: Tone.QUIET,
}


def doctor_document(lines: Sequence[Line]) -> ReportDocument:
    """The checks in their order, then their count."""
    notes = (Note(each.state, _TONES[each.state], each.what, each.topic, each.do) for each in lines)
    counts = Counter(each.state for each in lines)
    return document(
        Checks(tuple(notes)), line(", ".join(f"{counts[state]} {state}" for state in _TONES if counts[state]))
    )
