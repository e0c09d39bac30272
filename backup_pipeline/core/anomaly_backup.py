"""Anomalies of a backup as a whole: tables that are new or gone, and references that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline.core.anomaly_entries import finding, settled_against
from backup_pipeline.core.anomaly_history import History
from backup_pipeline.core.anomaly_kinds import AnomalyKind
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.manifest import AnomalyEntry, TableEntry
from backup_pipeline.core.shape import Shape

_FULL = "full"


@dataclass(frozen=True)
class Contents:
    """What a backup holds and what it leaves out. `orphans` has, by reference, the rows that it leads nowhere.

    A reference is written `table(column) → other(column)`, and begins with the name of its table.
    """

    kind: str
    tables: tuple[TableEntry, ...]
    unlisted: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    orphans: Mapping[str, int] = field(default_factory=dict)

    def knows(self, relation: str) -> bool:
        """Whether somebody decided about the relation: it is read, stood for, or left out with a reason."""
        read = {table.relation for table in self.tables}
        covered = {".".join(name) for table in self.tables for name in table.covers}
        return relation in read | covered | set(self.excluded)


def judge_backup(now: Contents, history: History, catalog: Catalog) -> tuple[AnomalyEntry, ...]:
    """What is unusual against the last full backup. Tables are compared when this one is a full one too."""
    before = history.full
    if before is None or not catalog.anomalies.trailing:
        return ()
    told = history.open(before.anomalies)
    found = list(_orphans(now, before, told, catalog))
    if now.kind == _FULL:
        found += [*_new_tables(now, before), *_vanished_tables(now, before), *(o for o in told if _still(o, now))]
    wanted = [one for one in found if AnomalyKind(one.kind) not in catalog.anomalies_of(one.table).allow]
    return tuple(settled_against(one, _of(told, one.table), before.backup_id) for one in wanted)


def _new_tables(now: Contents, before: Shape) -> Iterator[AnomalyEntry]:
    """Tables that nobody has decided about. One that the catalog listed or excluded until now is no new one."""
    known = {*before.unlisted, *before.excluded, *(table.relation for table in before.tables.values())}
    for relation in now.unlisted:
        if relation not in known:
            yield finding(relation, AnomalyKind.NEW_TABLE, f"table {relation} is new, and not in the backup", now="new")


def _vanished_tables(now: Contents, before: Shape) -> Iterator[AnomalyEntry]:
    here = {table.name for table in now.tables}
    for name, table in before.tables.items():
        if name not in here and not now.knows(table.relation):
            told = f"table {table.relation} ({table.rows:,} rows) is not in the backup any more"
            yield finding(name, AnomalyKind.VANISHED_TABLE, told, subject=table.relation, usual=table.rows)


def _still(one: AnomalyEntry, now: Contents) -> bool:
    """Whether what was told of a table before is still so."""
    match one.kind:
        case AnomalyKind.NEW_TABLE:
            return one.table in now.unlisted
        case AnomalyKind.VANISHED_TABLE:
            return not now.knows(one.subject) and all(table.name != one.table for table in now.tables)
    return False


def _orphans(now: Contents, before: Shape, told: tuple[AnomalyEntry, ...], catalog: Catalog) -> Iterator[AnomalyEntry]:
    """Rows that refer to none, where there were none before, or far fewer; what was never counted is no change."""
    open_before = {one.subject: one.usual for one in told if one.kind == AnomalyKind.ORPHANS}
    for reference, rows in now.orphans.items():
        table = reference.partition("(")[0]
        usual = open_before.get(reference, before.orphans.get(reference))
        rule = catalog.anomalies_of(table)
        if not isinstance(usual, int) or rows <= usual:
            continue
        if usual == 0 or (usual <= rows * rule.ratio and rows - usual > rule.floor_rows):
            change = f"{rows:,} rows refer to no row: {reference}, usually {usual:,}"
            yield finding(table, AnomalyKind.ORPHANS, change, subject=reference, now=rows, usual=usual)


def _of(told: tuple[AnomalyEntry, ...], table: str) -> tuple[AnomalyEntry, ...]:
    return tuple(one for one in told if one.table == table)
