"""Prune: carry out a plan of retention, step by step, so that it can be stopped anywhere and run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.prune_facts import records_first
from backup_pipeline.core.prune_plan import DayVerdict, PrunePlan
from backup_pipeline.core.removal import Left, Versions
from backup_pipeline.core.statuses import Status
from backup_pipeline.operations.prune_copies import remove_copies
from backup_pipeline.operations.prune_look import PrunePorts, PruneWish
from backup_pipeline.operations.prune_report import PruneReport
from backup_pipeline.operations.remove_backup import Removal, Removed, finish_removal, remove_backup


def prune(plan: PrunePlan, wish: PruneWish, ports: PrunePorts) -> PruneReport:
    """Do what `plan` says: interrupted removals, backups, partitions, debris; then note when the others expire.

    The plan is in the audit before anything goes. Each removal is looked at once more, so a plan that is no longer true
    removes too little and never too much. LockedError when somebody else writes the catalog; StoreError or LedgerError
    when one of the two goes away: run it again.
    """
    with ports.alone(wish.catalog) as still_alone:
        _note("prune", ports, **_essence(plan))
        removed = (*_finished(plan, wish, ports), *_removed(plan, wish, ports, still_alone))
        left = [left for each in removed for left in each.left]
        left += remove_copies(wish, ports)
        still_alone()
        days, of_days = _remove_days(plan, removed, wish, ports)
        left += [*of_days, *_sweep(plan, wish, ports)]
        _note_expiry(plan, removed, ports)
        debris = len(plan.debris) + len(plan.unfinished) + len(plan.hidden)
        report = PruneReport(plan, removed, tuple(days), debris, tuple(left))
        _note("pruned", ports, **_in_short(report))
    return report


def _finished(plan: PrunePlan, wish: PruneWish, ports: PrunePorts) -> Iterator[Removed]:
    for backup_id, to in plan.begun.items():
        row = ports.ledger.get(backup_id)
        if row is not None and row.status.good:
            yield finish_removal(row, to, wish.versions, ports)


def _removed(plan: PrunePlan, wish: PruneWish, ports: PrunePorts, still_alone: Callable[[], None]) -> Iterator[Removed]:
    for verdict in plan.removed:
        still_alone()
        why = "; ".join(verdict.reasons)
        removal = Removal(why, wish.versions, plan.successors.get(verdict.attempt.backup_id))
        yield remove_backup(verdict.attempt, Status.EXPIRED, removal, ports)


def _remove_days(
    plan: PrunePlan, removed: tuple[Removed, ...], wish: PruneWish, ports: PrunePorts
) -> tuple[list[date], list[Left]]:
    """Remove the partitions of dates, but for those whose backup stayed after all, or that somebody makes anew."""
    kept = {each.backup_id for each in removed if each.kept}
    busy = {verdict.attempt.partition_date for verdict in plan.removed if verdict.attempt.backup_id in kept}
    busy |= {row.partition_date for row in ports.ledger.list(catalog=wish.catalog, status=[Status.RUNNING])}
    days = [day for day in plan.removed_days if day.day not in busy]
    return [day.day for day in days], [left for day in days for left in _remove_day(day, wish, ports)]


def _remove_day(day: DayVerdict, wish: PruneWish, ports: PrunePorts) -> Iterator[Left]:
    """The records first: a partition exists when its record does. Where they stay, so do the files."""
    records, files = records_first([stored.key for stored in day.objects])
    refused = list(ports.removals.remove(records, wish.versions))
    yield from refused
    if all(left.hidden for left in refused):
        yield from ports.removals.remove(files, wish.versions)


def _sweep(plan: PrunePlan, wish: PruneWish, ports: PrunePorts) -> Iterator[Left]:
    for debris in plan.debris:
        yield from ports.removals.remove(debris.folder.data, wish.versions)
    yield from ports.removals.remove([found.key for found in plan.hidden], Versions.REMOVE)
    for unfinished in plan.unfinished:
        left = ports.removals.discard(unfinished)
        if left is not None:
            yield left


def _note_expiry(plan: PrunePlan, removed: tuple[Removed, ...], ports: PrunePorts) -> None:
    """The rules may have changed since a backup was made."""
    gone = {each.backup_id for each in removed if not each.kept}
    for verdict in plan.verdicts:
        if verdict.attempt.backup_id not in gone and verdict.expires_at != verdict.attempt.expires_at:
            ports.ledger.expires(verdict.attempt.backup_id, verdict.expires_at)


def _essence(plan: PrunePlan) -> dict[str, object]:
    """The plan as the audit keeps it: what goes and why; of what stays, the number."""
    told = plan.as_json()
    going = [verdict.as_json() for verdict in plan.removed]
    days = [day.day.isoformat() for day in plan.removed_days]
    return {**told, "backups": going, "kept": len(plan.verdicts) - len(going), "partitions": days}


def _in_short(report: PruneReport) -> dict[str, object]:
    return {
        "catalog": report.plan.catalog,
        "removed": [each.backup_id for each in report.removed if not each.kept],
        "partitions": len(report.days),
        "debris": report.debris,
        "bytes": report.bytes,
        "left": [f"{left.key}: {left.message}" for left in report.left],
    }


def _note(action: str, ports: PrunePorts, **detail: object) -> None:
    ports.ledger.audit(AuditEvent(ports.clock(), ports.actor, action, None, detail))
