"""The sequences that number no column of a backup's tables: which of them a restore sets, and what it says of the rest.

A trigger or the application draws from them: one that stands lower than it did gives numbers a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backup_pipeline.core.manifest import OtherSequenceEntry
from backup_pipeline.core.restore_tables import Basis
from backup_pipeline.core.restoring import Mode, Name, Remark, SchemaSteps, SequenceRestore, Severity

_UNRECORDED = {"1.0", "1.1", "1.2"}
_SHOWN = 10


def other_sequences(basis: Basis, steps: SchemaSteps) -> tuple[tuple[SequenceRestore, ...], list[Remark]]:
    """What becomes of each: set where the restore makes it; moved on where it is there and everything is restored."""
    made = _made(basis, steps)
    whole = not (basis.request.tables or basis.request.moves) and basis.manifest.kind == "full"
    there = basis.facts.sequences if whole else {}
    wanted = [found for found in basis.manifest.sequences if found.sequence in made or found.sequence in there]
    known = [found for found in wanted if found.last_value is not None]
    set_ = tuple(
        SequenceRestore(found.sequence, found.last_value, found.is_called, made=found.sequence in made)
        for found in known
        if found.last_value is not None and _settable(found, made, basis)
    )
    return set_, list(_remarks(basis, made, wanted, whole=whole))


def _made(basis: Basis, steps: SchemaSteps) -> set[Name]:
    """The sequences that the definitions make."""
    run = set(steps.before)
    entries = basis.dump.entries if basis.dump else ()
    return {entry.sequence for entry in entries if entry.sequence and entry.sql in run}


def _settable(found: OtherSequenceEntry, made: set[Name], basis: Basis) -> bool:
    """One that is there and cycles stays as it is: no number of it is further than another."""
    return found.sequence in made or (basis.facts.sequences[found.sequence] and not found.cycles)


def _remarks(basis: Basis, made: set[Name], wanted: Sequence[OtherSequenceEntry], *, whole: bool) -> Iterator[Remark]:
    if whole and basis.manifest.format_version in _UNRECORDED:
        what = "The backup is of a format before 1.3: sequences that no column's default names start anew where made."
        yield Remark(Severity.WARNING, what, do="Set those that a trigger or your application uses with setval().")
    if unread := [found for found in wanted if found.last_value is None]:
        what = f"Where these sequences stood is not in the backup, its role could not read them: {_names(unread)}."
        yield Remark(Severity.WARNING, what, do="Set them with setval() behind the largest number that was given.")
    moved = [found for found in wanted if found.sequence not in made and found.last_value is not None]
    if locked := [found for found in moved if not basis.facts.sequences[found.sequence]]:
        what = f"Role {basis.facts.role} may not set these sequences, which stay where they are: {_names(locked)}."
        do = "GRANT SELECT, UPDATE on them to the role first; else numbers that the backup's rows have can come again."
        yield Remark(Severity.WARNING, what, do=do)
    if cycling := [found for found in moved if found.cycles and basis.facts.sequences[found.sequence]]:
        yield Remark(Severity.INFO, f"These sequences cycle, and stay where they are: {_names(cycling)}.")
    if not whole and basis.request.mode is not Mode.NEW and basis.manifest.sequences:
        what = f"Sequences that no column's default names stay where they are: {_names(basis.manifest.sequences)}."
        do = "Where a trigger or your application draws from one, move it on with setval(); manifest.json has them."
        yield Remark(Severity.INFO, what, do=do)
    if whole and (lacking := [one for one in basis.manifest.sequences if one not in wanted]):
        what = f"These sequences are not in the target, and are not made: {_names(lacking)}."
        yield Remark(
            Severity.WARNING, what, do="Make them as your application does, and set them; manifest.json has them."
        )


def _names(found: Sequence[OtherSequenceEntry]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(".".join(one.sequence) for one in found[:_SHOWN]) + more
