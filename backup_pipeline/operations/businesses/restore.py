"""Restore of one business to how a backup of it shows it: first a backup of now, then one transaction, verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from backup_pipeline.core.businesses.paths import registry_of
from backup_pipeline.core.businesses.restores import (
    EVERY_CHOICE,
    BusinessDiff,
    RowChange,
    check_confirmed_diff,
    parents_first,
)
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.ticks import BusinessRestore, BusinessTable, BusinessTarget, KeyStates
from backup_pipeline.core.relations import Relation
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.businesses import TickRequest, run_tick
from backup_pipeline.operations.businesses.chain import BusinessState, read_state
from backup_pipeline.operations.businesses.changes import business_tables, declared_businesses


@dataclass(frozen=True)
class BusinessRestoreRequest:
    """Which backup of a business, of which tables (none: all), which changes; who, and why.

    `confirmed` is the digest of the plan that somebody has seen; None: it is only planned.
    """

    catalog: Catalog
    backup: Attempt
    actor: Actor
    tables: tuple[str, ...] = ()
    choices: frozenset[RowChange] = EVERY_CHOICE
    confirmed: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class BusinessRestoreReport:
    """What would be done, or was: then `safety` is the backup of how it was before, where a row of then was changed."""

    diff: BusinessDiff
    done: bool
    safety: str | None = None


def restore_business(
    request: BusinessRestoreRequest, target: BusinessTarget, states: KeyStates, ports: Ports
) -> BusinessRestoreReport:
    """Find what differs between now and the backup, or do it, if what was confirmed is still what would be done.

    Nothing of any other business changes: their rows are counted and hashed before and after, in the transaction. What
    people write meanwhile is never lost: where it is in the way, the plan is stale. A manual backup of now comes first,
    unless rows are only added: then all that is there now stays.
    """
    business = request.backup.scope.business
    if business is None:
        message = f"Backup {request.backup.backup_id} is not of one business."
        raise UsageError(message, do="`backup-pipeline businesses protection` shows theirs.")
    wish = _wish(request, business, ports)
    planned = target.restore(wish, None)
    if request.confirmed is None:
        return BusinessRestoreReport(planned, done=False)
    if planned.rows == 0:
        message = f"Business {business} is as backup {request.backup.backup_id} shows it: there is nothing to restore."
        raise RefusedError(message, do="Nothing was changed.")
    check_confirmed_diff(planned, request.confirmed)
    safety = _back_up_now(request, business, states, ports) if planned.touches else None
    diff = target.restore(_wish(request, business, ports), request.confirmed)
    _audit(request, diff, safety, ports)
    return BusinessRestoreReport(diff, done=True, safety=safety)


def _back_up_now(request: BusinessRestoreRequest, business: str, states: KeyStates, ports: Ports) -> str:
    """A manual backup of how it is before, also of a business that is closed; its id. RefusedError where it fails."""
    reason = f"before the restore of {request.backup.backup_id}"
    wish = TickRequest(
        request.catalog, request.actor, only=frozenset({business}), apart=True, inactive=True, reason=reason
    )
    report = run_tick(wish, states, ports)
    if not report.stored:
        why = report.tick.misses[0].reason if report.tick.misses else "nothing was written"
        message = f"Business {business} was not restored: the backup of how it is now failed: {why}"
        raise RefusedError(message, do="Nothing was changed.")
    return report.stored[0].attempt.backup_id


def _audit(request: BusinessRestoreRequest, diff: BusinessDiff, safety: str | None, ports: Ports) -> None:
    counts = {t.name: [t.create, t.update, t.delete] for t in diff.tables if t.create or t.update or t.delete}
    detail = {
        "business": diff.business,
        "plan": diff.digest,
        "rows": counts,
        "before": safety,
        "reason": request.reason,
    }
    ports.ledger.audit(AuditEvent(ports.clock(), request.actor, "business restored", request.backup.backup_id, detail))


def _wish(request: BusinessRestoreRequest, business: str, ports: Ports) -> BusinessRestore:
    state = read_state(request.backup, ports)
    tables, others = _tables(request, ports)
    chosen = {name: table for name, table in tables.items() if not request.tables or name in request.tables}
    if unknown := set(request.tables) - set(tables):
        message = f"Catalog {request.catalog.catalog} has no table of businesses called {', '.join(sorted(unknown))}."
        raise NotFoundError(message, do=f"It has: {', '.join(tables)}.")
    lacking = sorted(set(chosen) - set(state.tables))
    if lacking:
        message = f"Backup {request.backup.backup_id} has no table {', '.join(lacking)}."
        raise RefusedError(message, do="Choose tables that it has, or another backup.")
    columns = {name: _columns(state, table) for name, table in chosen.items()}
    return BusinessRestore(
        catalog=request.catalog.catalog,
        business=business,
        backup_id=request.backup.backup_id,
        tables=chosen,
        columns=columns,
        rows={name: _Rows(state.tables[name].rows.select(columns[name])) for name in chosen},
        choices=request.choices,
        others=[*others, *(table.plan.relation for name, table in tables.items() if name not in chosen)],
    )


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


def _tables(request: BusinessRestoreRequest, ports: Ports) -> tuple[Mapping[str, BusinessTable], Sequence[Relation]]:
    """The tables of businesses, parents first, without views; and those whose rows must stay.

    These are the shared ones, and what the catalog leaves out but refers to its tables: rows there may go with others.
    """
    catalog = request.catalog
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
