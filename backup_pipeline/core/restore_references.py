"""The foreign keys around a restore: the order they ask for, and what has to be said about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from backup_pipeline.core.manifest import TableEntry
from backup_pipeline.core.restore_target import TargetFacts, TargetReference
from backup_pipeline.core.restoring import Action, Name, Remark, Severity, TableRestore

_CHANGING = {Action.UPSERT, Action.REPLACE}


def in_order(
    tables: Sequence[TableRestore], entries: Mapping[str, TableEntry], reads: Mapping[str, set[str]] | None = None
) -> tuple[TableRestore, ...]:
    """The tables, what is referred to before what refers to it, as far as there is no circle.

    `reads` are further tables that must have their rows before a table.
    """
    by_source = {table.source: table.name for table in tables}
    needs = {
        table.name: {
            by_source[reference.target]
            for reference in entries[table.name].references
            if reference.target in by_source and by_source[reference.target] != table.name
        }
        | (reads or {}).get(table.name, set())
        for table in tables
    }
    order = _sorted(needs)
    return tuple(sorted(tables, key=lambda table: order.index(table.name)))


def _sorted(needs: dict[str, set[str]]) -> list[str]:
    """Names by their needs; of a circle one need is dropped at a time."""
    while True:
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            circle: list[str] = error.args[1]
            needs[circle[1]].discard(circle[0])


def inside(facts: TargetFacts, targets: set[Name]) -> list[TargetReference]:
    """The foreign keys between tables of the restore, which are made anew when all rows are in place."""
    return [found for found in facts.references if found.child in targets and found.parent in targets]


def inbound(facts: TargetFacts, targets: set[Name]) -> list[TargetReference]:
    """The foreign keys of other tables to tables of the restore."""
    return [found for found in facts.references if found.child not in targets and found.parent in targets]


def outbound(facts: TargetFacts, targets: set[Name]) -> list[TargetReference]:
    """The foreign keys of tables of the restore to other tables."""
    return [found for found in facts.references if found.child in targets and found.parent not in targets]


def reference_remarks(facts: TargetFacts, tables: Sequence[TableRestore]) -> Iterator[Remark]:
    """What has to be said about foreign keys of tables that are there already."""
    by_target = {table.target: table for table in tables if table.action is not Action.CREATE}
    targets = set(by_target)
    for found in inside(facts, targets):
        for name in {found.child, found.parent}:
            relation = facts.relations.get(name)
            if relation is not None and not relation.owned:
                what = f"Foreign key {found.name} is made anew after the rows; only the owner of {'.'.join(name)} may."
                yield Remark(Severity.REFUSAL, what, by_target[name].name, "Connect as the owner of the tables.")
    for found in outbound(facts, targets):
        parent = ".".join(found.parent)
        what = f"{'.'.join(found.child)} refers to {parent}, which is not restored: its rows must be there."
        do = f"A row that refers to a missing one stops the restore; add --table for {parent} then."
        yield Remark(Severity.INFO, what, by_target[found.child].name, do)
    for found in inbound(facts, targets):
        table = by_target[found.parent]
        if table.action in _CHANGING and table.rows_now:
            child = ".".join(found.child)
            what = f"{child} refers to {table.target_name} (ON DELETE {found.on_delete}), and is not restored."
            do = "If one of its rows would lose what it refers to, the restore stops and changes nothing."
            yield Remark(Severity.INFO, what, table.name, do)
