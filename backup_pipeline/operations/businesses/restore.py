"""Restore of one business to how a backup of it shows it: first a backup of now, then one transaction, verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from backup_pipeline.core.businesses.paths import registry_of
from backup_pipeline.core.businesses.restores import EVERY_CHOICE, BusinessDiff, RowChange, parents_first
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
    """What would be done, or was: then `safety` is the backup of how it was before."""

    diff: BusinessDiff
    done: bool
    safety: str | None = None


def restore_business(
    request: BusinessRestoreRequest, target: BusinessTarget, states: KeyStates, ports: Ports
) -> BusinessRestoreReport:
    """Find what differs between now and the backup, or do it, if what was confirmed is still what would be done.

    Nothing of any other business changes: their rows are counted and hashed before and after, in the transaction. What
    people write meanwhile is never lost: where it is in the way, the plan is stale. A manual backup of now comes first.
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
    safety = run_tick(
        TickRequest(
            request.catalog,
            request.actor,
            only=frozenset({business}),
            apart=True,
            reason=f"before the restore of {request.backup.backup_id}",
        ),
        states,
        ports,
    )
    if not safety.stored:
        why = safety.tick.misses[0].reason if safety.tick.misses else "nothing was written"
        message = f"Business {business} was not restored: the backup of how it is now failed: {why}"
        raise RefusedError(message, do="Nothing was changed.")
    diff = target.restore(_wish(request, business, ports), request.confirmed)
    _audit(request, diff, safety.stored[0].attempt.backup_id, ports)
    return BusinessRestoreReport(diff, done=True, safety=safety.stored[0].attempt.backup_id)


def _audit(request: BusinessRestoreRequest, diff: BusinessDiff, safety: str, ports: Ports) -> None:
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
    """The tables of businesses, parents first, without views; and the shared ones."""
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
    return {name: own[name] for name in parents_first(own)}, shared
