"""Restore of one business to how a backup of it shows it: planned by doing it and rolling back, then done and verified.

What every restore has in common, its request, approval and end, is in `operations/restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from backup_pipeline.core.businesses.paths import registry_of
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content.masking import masked_value
from backup_pipeline.core.errors import NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.ports import Ports, StageStarted
from backup_pipeline.core.ports.ticks import (
    BusinessRecord,
    BusinessRestore,
    BusinessTable,
    BusinessTarget,
    KeyStates,
    RowChoice,
)
from backup_pipeline.core.relations import Relation
from backup_pipeline.core.restore import RestoreRequest, Selection
from backup_pipeline.core.restore.businesses import (
    BusinessDiff,
    BusinessPlan,
    BusinessReport,
    BusinessTableReport,
    RestoreConflict,
    RowExample,
    check_no_conflict,
    parents_first,
    parse_key,
)
from backup_pipeline.core.restore.requests import Address
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.browse import find_sound_backup
from backup_pipeline.operations.businesses import TickRequest, run_tick
from backup_pipeline.operations.businesses.chain import BusinessState, read_state
from backup_pipeline.operations.businesses.changes import business_tables, declared_businesses


@dataclass(frozen=True)
class BusinessWork:
    """What a restore of a business takes beside its ports: the catalog, the database, and a backup of how it is now.

    `back_up` backs a business up by hand, in the name of somebody, for a reason, also one that is closed; the backup's
    id. RefusedError where that fails.
    """

    catalog: Catalog
    target: BusinessTarget
    back_up: Callable[[str, Actor, str], str]


def plan_business(request: RestoreRequest, work: BusinessWork, address: Address, ports: Ports) -> BusinessPlan:
    """What a restore of a business would do now, with what is in the way. Everything is really done, and rolled back.

    NotFoundError without such a backup, table or row; UsageError for a backup that is not of one business.
    """
    attempt, record = _of_business(request, ports)
    wish, sensitive = _wish(request, attempt, work.catalog, ports)
    diff = _without_secrets(work.target.restore(wish, None), sensitive)
    account = ports.ledger.businesses.get(work.catalog.catalog, wish.business)
    name = " ".join(account.name.split()) if account else ""
    return BusinessPlan(
        request=replace(request, backup_id=attempt.backup_id),
        diff=diff,
        name=name or wish.business,
        snapshot_at=record.snapshot_at,
        confirmed_until=record.confirmed_until,
        target=address.url,
        database=address.database,
    )


def run_business(plan: BusinessPlan, work: BusinessWork, ports: Ports, number: int) -> BusinessReport:
    """Do what a plan says, if it is still what would be done: all of it, verified, or nothing.

    Nothing of any other business changes: their rows are counted and hashed before and after, in the transaction. What
    people write meanwhile is never lost: where it is in the way, the plan is stale. A manual backup of now comes first,
    unless rows are only added: then all that is there now stays.
    """
    started = ports.clock()
    attempt, _ = _of_business(plan.request, ports)
    check_no_conflict(plan.diff)
    safety = None
    if plan.safety_backup:
        ports.progress.tell(StageStarted("safety backup"))
        safety = work.back_up(plan.diff.business, plan.request.actor, f"before restore {number}")
    wish, _ = _wish(plan.request, attempt, work.catalog, ports)
    ports.progress.tell(StageStarted("restore"))
    diff = work.target.restore(wish, plan)
    return BusinessReport(
        backup_id=plan.backup_id,
        catalog=plan.catalog,
        business=diff.business,
        name=plan.name,
        snapshot_at=plan.snapshot_at,
        target=plan.target,
        database=plan.database,
        tables=tuple(BusinessTableReport(each.name, each.create, each.update, each.delete) for each in diff.tables),
        others=diff.others,
        seconds=round((ports.clock() - started).total_seconds(), 3),
        safety_backup_id=safety,
    )


def back_up_now(catalog: Catalog, business: str, actor: Actor, reason: str, states: KeyStates, ports: Ports) -> str:
    """A manual backup of how a business is before something, also of one that is closed; its id.

    RefusedError where it fails: then nothing may be changed.
    """
    wish = TickRequest(catalog, actor, only=frozenset({business}), apart=True, inactive=True, reason=reason)
    report = run_tick(wish, states, ports)
    if not report.stored:
        why = report.tick.misses[0].reason if report.tick.misses else report.tick.message or "nothing was written"
        message = f"Business {business} was not restored: the backup of how it is now failed: {why}"
        raise RefusedError(message, do="Nothing was changed.")
    return report.stored[0].attempt.backup_id


def backup_of_moment(catalog: str, business: str, at: datetime, ports: Ports) -> BusinessRecord:
    """The backup that shows a business as it was at a moment: the newest whose rows are of then, or earlier.

    It is exact up to its `confirmed_until`; what changed between that and the moment is in no backup. UsageError for a
    moment that is still to come, NotFoundError where there is none.
    """
    if at > ports.clock():
        message = f"{at:%Y-%m-%d %H:%M:%S %Z} is still to come."
        raise UsageError(message, do="Name a moment that is over.")
    record = ports.ledger.ticks.record_at(catalog, business, at)
    if record is None:
        message = f"There is no backup of business {business} of {at:%Y-%m-%d %H:%M:%S %Z} or earlier."
        raise NotFoundError(message, do="Choose a later moment; its page lists the backups that there are.")
    return record


def _of_business(request: RestoreRequest, ports: Ports) -> tuple[Attempt, BusinessRecord]:
    attempt = find_sound_backup(request.backup_id, ports.ledger, store=request.store)
    business, taken = attempt.scope.business, attempt.snapshot_at
    if business is None or taken is None:
        message = f"Backup {attempt.backup_id} is not of one business."
        raise UsageError(message, do="`backup-pipeline businesses protection` shows theirs.")
    record = ports.ledger.ticks.record_at(attempt.scope.catalog, business, taken)
    if record is None or record.backup_id != attempt.backup_id:
        record = BusinessRecord(business, attempt.backup_id, attempt.kind.value, taken, taken)
    return attempt, record


def _without_secrets(diff: BusinessDiff, sensitive: Mapping[str, frozenset[str]]) -> BusinessDiff:
    """The difference as it may be kept and shown: values of sensitive columns masked in examples and messages."""
    tables = []
    for table in diff.tables:
        hidden = sensitive.get(table.name, frozenset())
        tables.append(replace(table, examples=tuple(_masked(row, hidden) for row in table.examples)))
    conflicts = tuple(_discreet(each, sensitive) for each in diff.conflicts)
    return replace(diff, tables=tuple(tables), conflicts=conflicts)


def _masked(row: RowExample, hidden: frozenset[str]) -> RowExample:
    values = {
        name: (masked_value(now), masked_value(then)) if name in hidden else (now, then)
        for name, (now, then) in row.values.items()
    }
    return replace(row, values=values)


def _discreet(conflict: RestoreConflict, sensitive: Mapping[str, frozenset[str]]) -> RestoreConflict:
    names = sensitive.get(conflict.table or "", frozenset())
    return replace(conflict, detail="") if any(name in conflict.detail for name in names) else conflict


def _wish(
    request: RestoreRequest, attempt: Attempt, catalog: Catalog, ports: Ports
) -> tuple[BusinessRestore, Mapping[str, frozenset[str]]]:
    """What the database is to do, and the sensitive columns of each table."""
    selection = request.selection or Selection()
    state = read_state(attempt, ports)
    tables, others = _tables(catalog, ports)
    wanted = {*request.tables, *selection.rows} if request.tables or selection.rows else set(tables)
    if unknown := sorted((wanted | set(selection.but)) - set(tables)):
        message = f"Catalog {catalog.catalog} has no table of businesses called {', '.join(unknown)}."
        raise NotFoundError(message, do=f"It has: {', '.join(tables)}.")
    if lacking := sorted(wanted - set(state.tables)):
        message = f"Backup {attempt.backup_id} has no table {', '.join(lacking)}."
        raise RefusedError(message, do="Choose tables that it has, or another backup.")
    chosen = {name: table for name, table in tables.items() if name in wanted}
    columns = {name: _columns(state, table) for name, table in chosen.items()}
    wish = BusinessRestore(
        catalog=catalog.catalog,
        business=str(attempt.scope.business),
        backup_id=attempt.backup_id,
        tables=chosen,
        columns=columns,
        rows={name: _Rows(state.tables[name].rows.select(columns[name])) for name in chosen},
        changes=frozenset(selection.changes),
        others=[*others, *(table.plan.relation for name, table in tables.items() if name not in chosen)],
        chosen={name: choice for name, table in chosen.items() if (choice := _choice(selection, table)) is not None},
    )
    declared = {name: catalog.tables[name].sensitive if name in catalog.tables else () for name in chosen}
    return wish, {name: frozenset({*declared[name], *state.tables[name].entry.sensitive}) for name in chosen}


def _choice(selection: Selection, table: BusinessTable) -> RowChoice | None:
    """The rows of a table that are meant; None: all of them. UsageError where its rows have no key to be named by."""
    name, key = table.plan.name, table.plan.key
    alone = name in selection.rows
    texts = selection.rows.get(name) or selection.but.get(name)
    if not texts:
        return None
    if alone and name in selection.but:
        message = f"Rows of {name} are chosen and left out at once."
        raise UsageError(message, do="Name those that are to come back, or those that are not.")
    if not table.tracked:
        message = f"Rows of {name} have no key that they could be named by."
        raise UsageError(message, do="Restore the whole table, or leave it out.")
    return RowChoice([parse_key(text, key, name) for text in texts], alone)


@dataclass(frozen=True)
class _Rows:
    """The rows of a table, as often as they are wanted."""

    rows: pa.Table

    def __iter__(self) -> Iterator[Sequence[object]]:
        return iter(zip(*(column.to_pylist() for column in self.rows.columns), strict=True))


def _columns(state: BusinessState, table: BusinessTable) -> Sequence[str]:
    """What the backup has and the table takes: nothing that is masked, and nothing that the database computes."""
    there = {column.name for column in table.plan.relation.columns if not column.generated}
    entry = state.tables[table.plan.name].entry
    return [column.name for column in entry.columns if column.name in there and not column.masked]


def _tables(catalog: Catalog, ports: Ports) -> tuple[Mapping[str, BusinessTable], Sequence[Relation]]:
    """The tables of businesses, parents first, without views; and those whose rows must stay.

    These are the shared ones, and what the catalog leaves out but refers to its tables: rows there may go with others.
    """
    with ports.source.snapshot(ports.progress) as snapshot:
        database = snapshot.database()
    plan = plan_catalog(catalog, database)
    for error in plan.failed.values():
        raise error
    tables = dict(
        business_tables(catalog, plan, registry_of(catalog, declared_businesses(catalog), database), database)
    )
    own = {name: table for name, table in tables.items() if table.versioned}
    shared = [table.relation for name, table in plan.tables.items() if name not in tables]
    planned = {table.relation.id for table in plan.tables.values()}
    beside = [
        each
        for each in database.relations.values()
        if each.holds_rows
        and each.readable
        and not each.is_partition
        and each.id not in planned
        and any(key.target in planned for key in each.foreign_keys)
    ]
    return {name: own[name] for name in parents_first(own)}, [*shared, *beside]
