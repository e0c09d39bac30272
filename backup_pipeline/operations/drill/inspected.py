"""The last step: what the definitions made is there and valid, and the next rows find their numbers free."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.core.drill import Finding, InsertTrial
from backup_pipeline.core.drill_inserts import Insert, Inserted, planned_insert
from backup_pipeline.core.drill_objects import Inspected, inspected
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.restore_sequences import SequenceState
from backup_pipeline.core.restoring import Name
from backup_pipeline.operations.drill.restored import Restored


def inspect_objects(scratch: Scratch, restored: Restored) -> Inspected:
    """Look for everything that was made."""
    return inspected(restored.dump, restored.plan.steps, scratch.database.objects())


def compare_sequences(scratch: Scratch, restored: Restored) -> Sequence[Finding]:
    """The sequences that number no column stand where the backup has them; to be looked at before any insert."""
    wanted = {one.sequence: SequenceState(one.last_value, one.is_called) for one in restored.plan.sequences}
    there = scratch.database.standing(list(wanted))
    return [_stands(name, state, there.get(name)) for name, state in wanted.items() if there.get(name) != state]


def _stands(name: Name, wanted: SequenceState, there: SequenceState | None) -> Finding:
    """A number that was given could be given again, or the sequence is not there at all."""
    now = "it is not there" if there is None else f"it stands at {_shown(there)}"
    what = f"the backup has this sequence at {_shown(wanted)}, and {now}: numbers could be given twice."
    return Finding(".".join(name), what, "Set it with setval() after a restore; report this.")


def _shown(state: SequenceState) -> str:
    return f"{state.last_value}" if state.is_called else f"{state.last_value} (not given yet)"


def try_inserts(scratch: Scratch, restored: Restored) -> tuple[Sequence[InsertTrial], Sequence[Finding]]:
    """Insert one row into each numbered table and take it back: what was tried, and the numbers that were taken."""
    trials, findings = [], []
    for table in scratch.database.numbered([one.target for one in restored.plan.tables]):
        wanted = planned_insert(table)
        done = Inserted() if wanted.why_not else scratch.database.insert(wanted)
        again = [column for column in done.taken if column in table.cycling]
        trials.append(InsertTrial(table.full_name, table.fed, done.drawn, _not_tried(wanted, done, again)))
        findings += [_taken(table.full_name, column) for column in done.taken if column not in again]
    return trials, findings


def _not_tried(wanted: Insert, done: Inserted, again: Sequence[str]) -> str:
    if again:
        return f"the sequence of {', '.join(again)} begins again (CYCLE): its next number is in use, as in the source"
    return wanted.why_not or (f"the server refused a made-up row: {done.refused}" if done.refused else "")


def _taken(table: str, column: str) -> Finding:
    what = f"the next number of column {column} is taken: the first insert after a restore would fail or repeat it."
    return Finding(table, what, "Set its sequence behind the largest value with setval() after a restore; report this.")
